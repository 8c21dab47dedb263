"""Lock files of packages as a value: pinned requirements with their hashes, and the options that say where they are.

Pure. Read are `requirements.txt` as pip, pip-tools and uv write it, `pylock.toml` (PEP 751) and `uv.lock`. Making an
environment of them is in `adapters.environments`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Invalid, Refused

_PINNED = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?P<extras>\[[A-Za-z0-9,._ -]*\])?\s*"
    r"(?:===?\s*(?P<version>[A-Za-z0-9.!+_-]+)|@\s*(?P<url>\S+))\s*(?P<marker>;.*)?"
)
_HASH = re.compile(r"--hash[= ]([a-z0-9]+:[0-9a-f]+)")
_COMMENT = re.compile(r"(^|\s+)#.*$")
_OPTIONS = (
    "--index-url", "--extra-index-url", "--find-links", "--no-index", "--no-binary", "--only-binary",
    "--prefer-binary", "--require-hashes", "-i", "-f",
)  # fmt: skip
_SECRET = re.compile(r"://[^/\s@]+@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One package in one version.

    Args:
        text: The requirement without its hashes: `polars==1.30.0 ; python_version < '3.13'`.
        hashes: `sha256:…` of its files; empty where the lock has none.
    """

    name: str
    version: str
    text: str
    hashes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """What is to be installed. `options` are lines of a requirements file that say where packages are looked for."""

    pins: tuple[Pin, ...]
    options: tuple[str, ...] = ()

    @property
    def hashed(self) -> bool:
        """Whether every package's files are named by their hashes."""
        return bool(self.pins) and all(pin.hashes for pin in self.pins)

    @property
    def text(self) -> str:
        """The lock as a requirements file in normal form: one line each, sorted, hashes sorted."""
        lines = [
            " ".join([pin.text, *(f"--hash={one}" for one in sorted(pin.hashes))])
            for pin in sorted(self.pins, key=lambda pin: (pin.name, pin.text))
        ]
        return "".join(f"{line}\n" for line in (*self.options, *lines))

    @property
    def digest(self) -> Digest:
        return of_bytes(self.text.encode())

    def beside(self, folder: PurePath) -> Lock:
        """The lock with folders of packages as they are seen from the folder that it lies in."""
        return replace(self, options=tuple(_seen_from(folder, line) for line in self.options))

    def without(self, names: Iterable[str]) -> Lock:
        """The lock without some packages."""
        left = {normal(name) for name in names}
        return replace(self, pins=tuple(pin for pin in self.pins if pin.name not in left))

    def with_hashes(self, known: Mapping[tuple[str, str], tuple[str, ...]]) -> Lock:
        """The lock with hashes that other locks know of the same versions."""
        return replace(
            self,
            pins=tuple(
                replace(pin, hashes=pin.hashes or known.get((pin.name, pin.version), ())) for pin in self.pins
            ),
        )


def _seen_from(folder: PurePath, line: str) -> str:
    option, _, place = line.replace("=", " ", 1).partition(" ")
    local = option in ("--find-links", "-f") and "://" not in place
    return f"--find-links {folder / place.strip()}" if local else line


def normal(name: str) -> str:
    """The one spelling of a package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def exactly(distributions: Iterable[str]) -> Lock:
    """The lock of `name==version` texts, as an environment lock has them."""
    split = [text.partition("==") for text in distributions]
    return Lock(pins=tuple(Pin(name=normal(n), version=v, text=f"{normal(n)}=={v}") for n, _, v in split))


def read(name: str, data: bytes) -> Lock:
    """The lock in a file of this name.

    Raises:
        Invalid: `not-a-lock`: something is not pinned, or the file is of no known kind.
        Refused: `secret-in-lock`: an address with a password, which would be kept for ever.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise Invalid(f"{name} is not UTF-8", code="not-a-lock") from cause
    file = PurePath(name).name
    if not file.endswith(".toml") and file != "uv.lock":
        return _requirements(name, text)
    try:
        body = tomllib.loads(text)
    except tomllib.TOMLDecodeError as cause:
        raise Invalid(f"{name} is no TOML: {cause}", code="not-a-lock") from cause
    if "lock-version" in body:
        return _pylock(name, body)
    if file == "uv.lock":
        return _uv(body)
    raise Invalid(f"{name} is no lock (expected lock-version, as pylock.toml has)", code="not-a-lock")


def _requirements(name: str, text: str) -> Lock:
    pins, options = [], []
    for number, line in _lines(text):
        if line.startswith("-"):
            option = re.split(r"[= ]", line, maxsplit=1)[0]
            if option not in _OPTIONS:
                raise Invalid(
                    f"line {number} of {name}: {option} cannot stand in a lock (expected pinned packages, or one of "
                    f"{', '.join(_OPTIONS[:7])})",
                    code="not-a-lock",
                )
            _no_secret(name, number, line)
            options += [line] if option != "--require-hashes" else []
            continue
        hashes = tuple(_HASH.findall(line))
        bare = " ".join(_HASH.sub("", line).split())
        found = _PINNED.fullmatch(bare)
        if found is None or (found["url"] and not hashes and "#sha256=" not in found["url"]):
            raise Invalid(
                f"line {number} of {name}: {bare[:60]!r} is not pinned (expected name==version)",
                code="not-a-lock",
                hint="`uv pip compile --generate-hashes requirements.in -o requirements.txt` makes a lock",
            )
        _no_secret(name, number, bare)
        pins.append(_written(found, hashes))
    return Lock(pins=tuple(pins), options=tuple(options))


def _written(found: re.Match[str], hashes: tuple[str, ...]) -> Pin:
    name, version = normal(found["name"]), found["version"] or ""
    place = f"=={version}" if version else f" @ {found['url']}"
    marker = f" ; {found['marker'].removeprefix(';').strip()}" if found["marker"] else ""
    text = f"{name}{(found['extras'] or '').replace(' ', '')}{place}{marker}"
    return Pin(name=name, version=version, text=text, hashes=hashes)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    whole, first = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = _COMMENT.sub("", raw).strip()
        first = first or number
        whole += line.removesuffix("\\").rstrip() + " "
        if not line.endswith("\\"):
            if whole.strip():
                yield first, whole.strip()
            whole, first = "", 0
    if whole.strip():
        yield first, whole.strip()


def _no_secret(name: str, number: int, line: str) -> None:
    if _SECRET.search(line):
        raise Refused(
            f"line {number} of {name} holds an address with a user or password, which would be kept with every run",
            code="secret-in-lock",
            hint="say it in the environment (UV_INDEX_URL, PIP_INDEX_URL) or in ~/.netrc",
        )


def _pylock(name: str, body: Mapping[str, Any]) -> Lock:
    pins = []
    for package in body.get("packages", ()):
        version = package.get("version")
        if not version:
            raise Invalid(
                f"{name}: {package.get('name')!r} has no version, so it comes from a folder or a repository",
                code="not-a-lock",
                hint="lock published packages; the project's own code is kept by itself",
            )
        marker = f" ; {package['marker']}" if package.get("marker") else ""
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]
        hashes = tuple(f"{kind}:{value}" for one in files for kind, value in one.get("hashes", {}).items())
        pins.append(_pin(package["name"], version, marker, hashes))
    return Lock(pins=tuple(pins))


def _uv(body: Mapping[str, Any]) -> Lock:
    """What `uv.lock` knows of hashes. Which of its packages belong to an extra is `uv export`'s business."""
    pins = []
    for package in body.get("package", ()):
        source = package.get("source", {})
        if "version" in package and not {"editable", "virtual", "directory"} & set(source):
            files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]
            pins.append(_pin(package["name"], package["version"], "", tuple(f["hash"] for f in files if "hash" in f)))
    return Lock(pins=tuple(pins))


def _pin(name: str, version: str, marker: str, hashes: tuple[str, ...]) -> Pin:
    return Pin(name=normal(name), version=version, text=f"{normal(name)}=={version}{marker}", hashes=hashes)


def known_hashes(locks: Iterable[Lock]) -> dict[tuple[str, str], tuple[str, ...]]:
    """The hashes of versions in some locks."""
    return {(pin.name, pin.version): pin.hashes for lock in locks for pin in lock.pins if pin.hashes}
