"""Virtual environments made of locks: built once, kept in a folder of this machine's user, shared by processes.

An environment lies in a folder of its own for ever; a link names the one that counts and is replaced at once, so that
nobody sees a half-built one. uv installs where it is there, else venv and pip.
"""

from __future__ import annotations

import fcntl
import functools
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stellwerk._version import __version__
from stellwerk.core import canonical
from stellwerk.core.digest import Digest, hex_of, of_bytes
from stellwerk.core.errors import StellwerkError
from stellwerk.core.files import replace_bytes
from stellwerk.pipelines.adapters.installing import Base, Installer, find_python, python_in
from stellwerk.pipelines.locks import Lock

FORMAT = "stellwerk-venv/1"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What an environment is made of.

    Args:
        python: `3.12` or `3.12.4`; empty for the interpreter of this process.
        lock: What is installed, without dependencies that it does not name.
        complete: Whether a package that misses another is an error.
    """

    lock: Lock
    python: str = ""
    complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An environment that is there."""

    name: str
    packages: int
    used: datetime


def cache_folder() -> Path:
    """Where environments are kept: below `XDG_CACHE_HOME`, or `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if base.startswith("/") else Path.home() / ".cache") / "stellwerk" / "environments"


class Environments:
    """The environments of this machine's user.

    Args:
        offline: Nothing is fetched; what the installer has cached is used.
        say: Told what takes long, and what is not as safe as it could be.
    """

    def __init__(self, folder: Path | None = None, *, offline: bool = False, say: Say = lambda text: None) -> None:
        self._folder = folder or cache_folder()
        self._offline = offline
        self._say = say

    def interpreter(self, recipe: Recipe) -> Path:
        """The interpreter of the environment, which is built if it is not there or was damaged.

        Raises:
            Invalid: `package-not-found`, with the names; `lock-incomplete`.
            Corrupt: `package-changed`: a file is not the one that the lock names by its hash.
            Unavailable: `packages-unreachable`, `no-python`, `no-installer`.
        """
        base = find_python(recipe.python)
        name = hex_of(self._digest(recipe, base))
        home = self._folder / name
        _hold(home / "use.lock")
        os.utime(home / "use.lock")
        found = _current(home)
        if found is not None:
            return found
        with _locked(home / "build.lock"):
            return _current(home) or self._build(home, recipe, base)

    def _digest(self, recipe: Recipe, base: Base) -> Digest:
        return canonical.digest(
            {
                "format": FORMAT,
                "lock": recipe.lock.digest,
                "python": base.version,
                "implementation": base.implementation,
                "complete": recipe.complete,
                "stellwerk": __version__,
            }
        )

    def _build(self, home: Path, recipe: Recipe, base: Base) -> Path:
        for old in home.glob("v-*"):  # begun by a process that died; what counts is locked by nobody here
            if old.name != _linked(home):
                shutil.rmtree(old, ignore_errors=True)
        if not recipe.lock.hashed and recipe.lock.pins:
            self._say("the lock names no hashes, so the packages' files are taken as the index gives them")
        self._say(f"making an environment of {len(recipe.lock.pins)} packages for Python {base.version}")
        target = home / f"v-{secrets.token_hex(6)}"
        try:
            installer = Installer(target, base, offline=self._offline)
            installer.make()
            installer.install(recipe.lock)
            if recipe.complete:
                installer.check()
            _mark(target)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
        link = home / f".current-{secrets.token_hex(6)}"
        link.symlink_to(target.name)
        link.replace(home / "current")
        return python_in(target)

    def list(self) -> tuple[Kept, ...]:
        """Those that are whole, by name."""
        return tuple(
            Kept(
                name=home.name,
                packages=len(_records(home / _linked(home))),
                used=datetime.fromtimestamp((home / "use.lock").stat().st_mtime, UTC),
            )
            for home in (sorted(self._folder.glob("*")) if self._folder.is_dir() else ())
            if _linked(home) and (home / "use.lock").is_file()
        )

    def collect(self, *, now: datetime, unused: timedelta) -> tuple[str, ...]:
        """Remove environments that no process uses and none has used for a time; returns their names."""
        gone = []
        for home in sorted(self._folder.glob("*")) if self._folder.is_dir() else ():
            lock = home / "use.lock"
            if not lock.is_file() or now.timestamp() - lock.stat().st_mtime < unused.total_seconds():
                continue
            with lock.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                (home / "current").unlink(missing_ok=True)
                shutil.rmtree(home, ignore_errors=True)
            gone.append(home.name)
        return tuple(gone)


def _linked(home: Path) -> str:
    try:
        return str((home / "current").readlink())
    except OSError:
        return ""


def _mark(target: Path) -> None:
    """Say that the environment is complete, and what was installed."""
    records = {file.parent.name: of_bytes(file.read_bytes()) for file in _records(target)}
    replace_bytes(target / "environment.json", canonical.dumps({"format": FORMAT, "records": records}))


def _records(target: Path) -> list[Path]:
    return sorted(target.glob("lib/python*/site-packages/*.dist-info/RECORD"))


def _current(home: Path) -> Path | None:
    """The interpreter of the environment that counts, if it is whole."""
    name = _linked(home)
    target = home / name
    if not name or not _intact(str(target)):
        return None
    return python_in(target)


@functools.cache
def _intact_before(target: str) -> bool:
    return _whole(Path(target))


def _intact(target: str) -> bool:
    """Whether all that was installed is there; looked at once per process."""
    return python_in(Path(target)).exists() and _intact_before(target)


def _whole(target: Path) -> bool:
    try:
        marked = canonical.loads((target / "environment.json").read_bytes())
        records = {file.parent.name: file for file in _records(target)}
        if marked["format"] != FORMAT or set(records) != set(marked["records"]):
            return False
        for name, file in records.items():
            data = file.read_bytes()
            if of_bytes(data) != marked["records"][name] or not _files_there(file.parent.parent, data.decode()):
                return False
    except (OSError, StellwerkError, KeyError, TypeError, UnicodeDecodeError):
        return False
    return True


def _files_there(site: Path, record: str) -> bool:
    """Whether every file of a distribution has the size that it was installed with."""
    for line in record.splitlines():
        path, _, size = line.rsplit(",", 2) if line.count(",") >= 2 else ("", "", "")
        if size.isdigit() and not path.endswith(".pyc"):
            try:
                if (site / path.strip('"')).stat().st_size != int(size):
                    return False
            except OSError:
                return False
    return True


_HELD: dict[str, int] = {}


def _hold(path: Path) -> None:
    """Be one of those who use an environment, until this process ends."""
    known = _HELD.get(str(path))
    while known is None or not _is_there(path, known):
        if known is not None:  # of a file that was removed
            os.close(known)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        known = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(known, fcntl.LOCK_SH)  # waits for whoever removes it, and begins anew then
    _HELD[str(path)] = known


def _is_there(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except OSError:
        return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
