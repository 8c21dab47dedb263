"""Installing a lock into a virtual environment: by uv where it is there, else by venv and pip.

What is kept of it is in `environments`.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stellwerk.core.errors import Corrupt, Invalid, StellwerkError, Unavailable
from stellwerk.pipelines.locks import Lock, read

_SHORT = re.compile(r"\d+\.\d+(\.\d+)?")
_UNREACHABLE = (
    "failed to fetch", "error sending request", "dns error", "network is unreachable", "connection refused",
    "name resolution", "could not resolve", "newconnectionerror", "connecttimeout", "timed out", "connection reset",
)  # fmt: skip
_ASK = "import json,platform,sys;print(json.dumps([platform.python_version(),sys.implementation.name]))"
MOST_NAMES = 10
MOST_QUESTIONS = 60
"""How often the installer is asked to find out which packages it cannot get."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """An interpreter to make environments with."""

    path: Path
    version: str
    implementation: str


def find_python(version: str = "") -> Base:
    """An interpreter of a version. None is ever downloaded. Raises `Unavailable` where there is none."""
    own = Path(getattr(sys, "_base_executable", sys.executable))
    if version and not _SHORT.fullmatch(version):
        raise Invalid(f"not a version of Python: {version[:20]!r} (expected 3.12 or 3.12.4)", code="invalid-version")
    candidates: list[Path] = [own]
    if version:
        found = _uv_python(version) or shutil.which(f"python{'.'.join(version.split('.')[:2])}")
        candidates += [Path(found)] if found else []
    for path in candidates:
        base = _asked(str(path))
        if base is not None and (not version or f"{base.version}.".startswith(f"{version}.")):
            return base
    raise Unavailable(
        f"there is no Python {version} on this machine",
        code="no-python",
        hint=f"`uv python install {version}`, or another version in the environment",
    )


@functools.cache
def _asked(path: str) -> Base | None:
    try:
        said = subprocess.run([path, "-I", "-c", _ASK], capture_output=True, check=True, timeout=60).stdout
        version, implementation = json.loads(said)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Base(path=Path(path), version=version, implementation=implementation)


@functools.cache
def _uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.is_file() else shutil.which("uv")


def _uv_python(version: str) -> str | None:
    uv = _uv()
    if uv is None:
        return None
    said = _run([uv, "python", "find", "--no-python-downloads", "--no-project", version])
    return said.stdout.strip() or None if said.returncode == 0 else None


class Installer:
    """Makes one environment."""

    def __init__(self, target: Path, base: Base, *, offline: bool) -> None:
        self._target, self._base, self._offline, self._uv = target, base, offline, _uv()
        if self._uv is None and offline:
            raise Unavailable(
                "without a network only uv can install what it has cached", code="no-installer", hint="install uv"
            )

    def make(self) -> None:
        python = str(self._base.path)
        where = str(self._target)
        made = (
            _run([self._uv, "venv", "-q", "--no-project", "--no-python-downloads", "--python", python, where])
            if self._uv
            else _run([python, "-I", "-m", "venv", where])
        )
        if made.returncode:
            raise Unavailable(f"no environment can be made: {_last(made.stderr)}", code="no-installer")

    def install(self, lock: Lock) -> None:
        if not lock.pins:
            return
        file = self._target / "lock.txt"
        file.write_text(lock.text, "utf-8")
        said = _run([*self._command("install"), *(["--require-hashes"] if lock.hashed else []), "-r", str(file)])
        if said.returncode:
            raise self._why(said.stderr + said.stdout, lock)

    def check(self) -> None:
        said = _run([self._uv, "pip", "check", "--python", str(python_in(self._target))]) if self._uv else _run(
            [str(python_in(self._target)), "-I", "-m", "pip", "check"]
        )  # fmt: skip
        if said.returncode:
            lines = [line.strip() for line in (said.stdout + said.stderr).splitlines() if "requires" in line]
            raise Invalid(
                f"the lock does not name all that its packages need: {'; '.join(lines[:5])}",
                code="lock-incomplete",
                hint="`uv pip compile --generate-hashes` writes a complete one",
            )

    def _command(self, verb: str) -> list[str]:
        python = str(python_in(self._target))
        if self._uv:
            return [self._uv, "pip", verb, "--python", python, "--no-deps", *(["--offline"] if self._offline else [])]
        quiet = ["--disable-pip-version-check", "--no-input", "-q"]
        return [python, "-I", "-m", "pip", verb, *quiet, "--no-deps"]

    def _why(self, said: str, lock: Lock) -> StellwerkError:
        low = said.lower()
        if "hash mismatch" in low or "do not match the hashes" in low:
            return Corrupt(
                f"a package's file is not the one that the lock names: {_named(said, lock) or _last(said)}",
                code="package-changed",
                hint="somebody replaced a published file, or the lock is of another index",
            )
        if any(words in low for words in _UNREACHABLE):
            hint = "without a network: `--offline` uses what is cached"
            return Unavailable(
                f"the package index cannot be reached: {_last(said)}", code="packages-unreachable", hint=hint
            )
        missing = self._missing(lock)
        if missing or "not found" in low or "no matching distribution" in low:
            more = ", …" if len(missing) > MOST_NAMES else ""
            names = ", ".join(missing[:MOST_NAMES]) + more or _named(said, lock) or _last(said)
            where = "is cached here" if self._offline else "is in the package index"
            return Invalid(f"no such package {where}: {names}", code="package-not-found")
        return Unavailable(f"the packages cannot be installed: {_last(said)}", code="packages-unreachable")

    def _missing(self, lock: Lock) -> tuple[str, ...]:
        """Which packages cannot be had, by halves. Only uv can say it without installing."""
        if self._uv is None:
            return ()
        left = [MOST_QUESTIONS]

        def search(pins: Sequence[Any]) -> Iterator[str]:
            left[0] -= 1
            if left[0] < 0 or not pins:
                return
            file = self._target / "asked.txt"
            file.write_text(Lock(pins=tuple(pins), options=lock.options).text, "utf-8")
            if _run([*self._command("install"), "--dry-run", "-r", str(file)]).returncode == 0:
                return
            if len(pins) == 1:
                yield pins[0].text.partition(" ")[0]
                return
            half = len(pins) // 2
            yield from search(pins[:half])
            yield from search(pins[half:])

        return tuple(search(lock.pins))


def export(lock: Path, extra: str = "") -> Lock:
    """What `uv.lock` says of a project's dependencies, with those of an extra. Nothing is resolved anew."""
    uv = _uv()
    if uv is None:
        raise Unavailable(f"{lock.name} can only be read by uv", code="no-installer", hint="install uv")
    command = [uv, "export", "--frozen", "--no-dev", "--no-emit-workspace", "--no-annotate", "--no-header"]
    command += ["--format", "requirements-txt", "--project", str(lock.parent), *(["--extra", extra] if extra else [])]
    said = _run(command)
    if said.returncode:
        raise Invalid(f"{lock.name} cannot be exported: {_last(said.stderr)}", code="not-a-lock")
    return read(lock.name + ".txt", said.stdout.encode())


def _named(said: str, lock: Lock) -> str:
    found = [pin.text.partition(" ")[0] for pin in lock.pins if re.search(rf"\b{re.escape(pin.name)}\b", said)]
    return ", ".join(found[:5])


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"://[^/\s@]+@", "://…@", lines[-1])[:300] if lines else "no reason was given"


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    # A virtual environment that is active here must not be taken for the one that is meant.
    environment = {
        name: text for name, text in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    }
    try:
        return subprocess.run(
            command,
            capture_output=True,
            check=False,
            text=True,
            errors="replace",
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except OSError as cause:
        raise Unavailable(
            f"{Path(command[0]).name} cannot be started: {cause.strerror}", code="no-installer"
        ) from cause


def python_in(target: Path) -> Path:
    return target / "bin" / "python"
