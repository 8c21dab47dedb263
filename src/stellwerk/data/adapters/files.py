"""Table files in folders of this machine: one file, a pattern, or a folder with all table files below it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from stellwerk.core import digest as digests
from stellwerk.core.errors import Conflict, Invalid, NotFound, Unavailable
from stellwerk.data.adapters.places import Places, path_of
from stellwerk.data.sources.model import Content, Source

ENDINGS = (".parquet", ".pq", ".csv", ".tsv", ".psv", ".jsonl", ".ndjson")
MOST = 100_000
_PATTERN = frozenset("*?[")


class FileReader:
    """Reads files below some folders, or below any."""

    def __init__(self, folders: Sequence[Path] | None = None) -> None:
        self._admit = Places(folders).admit

    def list(self, source: Source) -> Sequence[str]:
        path = path_of(source)
        self._admit(_base(path))
        if path.is_dir():
            found = [file for file in path.rglob("*") if _counts(file, path)]
        elif path.exists():
            return [_plain(path.name)]
        elif _PATTERN & set(str(path)):
            # `?` in a name such as `a?.csv` is a pattern here, never the query of a URL.
            base = _base(path)
            matches = base.glob(str(path.relative_to(base))) if base.is_dir() else ()
            found = [file for file in matches if not _hidden(file, base) and file.is_file()]
        else:
            raise NotFound(f"there is no file {path.name!r}", code="file-not-found", hint="check the path")
        if len(found) > MOST:
            raise Invalid(f"{source} has more than {MOST:,} files", code="too-large", hint="name fewer")
        if not found:
            raise NotFound(
                f"{source} matches no table file",
                code="file-not-found",
                hint=f"files that count: {' '.join(ENDINGS)}",
            )
        base = _base(path)
        return sorted(_plain(file.relative_to(base).as_posix()) for file in found)

    def read(self, source: Source, part: str, version: str = "") -> Content:
        path, inside = path_of(source), PurePosixPath(part)
        if inside.is_absolute() or ".." in inside.parts:
            raise Invalid(f"{part[:60]!r} is no file of a source", code="invalid-source")
        if not (path.is_dir() or _PATTERN & set(str(path)) or part == path.name):
            raise NotFound(f"there is no folder {path.name!r}", code="file-not-found", hint="check the path")
        data = self._bytes(_base(path) / inside)
        if source.pin and digests.of_bytes(data) != f"sha256:{source.pin}":
            raise Conflict(f"{part!r} is not the file that the source names by digest", code="source-changed")
        return Content(data=data)

    def _bytes(self, path: Path) -> bytes:
        """A regular file, whole. What is opened is what was checked: the name may change hands in between."""
        self._admit(path)
        try:
            descriptor = os.open(os.path.realpath(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                opened = os.fstat(descriptor)
                if not stat.S_ISREG(opened.st_mode):
                    raise Invalid(f"{path.name!r} is no regular file", code="not-a-file")
                real = self._admit(path)
                if not os.path.samestat(opened, real.stat()):
                    raise Conflict(f"{path.name!r} was exchanged while it was opened", code="source-changed")
                return file.read()
        except FileNotFoundError as cause:
            raise NotFound(f"there is no file {path.name!r}", code="file-not-found", hint="check the path") from cause
        except OSError as cause:
            raise Unavailable(f"{path.name!r} cannot be read: {cause.strerror}", code="unreadable-file") from cause


def _base(path: Path) -> Path:
    """The folder that the names of parts begin at."""
    if path.is_dir():
        return path
    if path.exists() or not _PATTERN & set(str(path)):
        return path.parent
    first = next(at for at, part in enumerate(path.parts) if _PATTERN & set(part))
    return Path(*path.parts[:first])


def _counts(file: Path, below: Path) -> bool:
    """Whether a file of a folder is part of the table: hidden ones and those of table formats' books are not."""
    return not _hidden(file, below) and file.suffix.lower() in ENDINGS and file.is_file()


def _hidden(file: Path, below: Path) -> bool:
    return any(part.startswith((".", "_")) for part in file.relative_to(below).parts)


def _plain(name: str) -> str:
    if not name.isprintable() or "\\" in name:
        raise Invalid(f"the file name {name[:60]!r} cannot be part of a source", code="invalid-source")
    return name
