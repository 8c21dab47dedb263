"""What lies in a version of files: its tree, the files and folders in it, and one of them to be read."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import IO, Any

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.core.names import name as checked_name
from stellwerk.data.model import DatasetVersion
from stellwerk.store.model import TreeEntry
from stellwerk.store.ports import Blobs
from stellwerk.store.rules import parse_tree

_VERSIONED = re.compile(r"([^@]+)(?:@([1-9][0-9]{0,8}))?")
_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file or folder of a version."""

    path: str
    kind: str
    size: int
    digest: Digest
    executable: bool = False


def parse_reference(text: str) -> tuple[str, int | None]:
    """`name` or `name@3`. Raises `Invalid`."""
    found = _VERSIONED.fullmatch(text)
    if found is None:
        raise Invalid(
            f"{text[:80]!r} is no dataset (expected a name, or name@version such as images@3)",
            code="invalid-reference",
        )
    return checked_name(found[1], what="dataset"), int(found[2]) if found[2] else None


def tree_of(version: DatasetVersion) -> Digest:
    """The files of a version. Raises `Invalid` for one whose rows live elsewhere."""
    if version.kind == "reference":
        raise Invalid(
            f"{version.name}@{version.version} has no files here: its rows live at {version.source}",
            code="is-reference",
            hint=f"`stellwerk data export {version.name} FILE.parquet` writes them; `stellwerk data import` copies them",
        )
    return version.digest


def find_entry(blobs: Blobs, tree: Digest, path: str) -> TreeEntry:
    """The file or folder at a path of a tree; the empty path is the whole. Raises `NotFound`."""
    here = TreeEntry(name="", kind="tree", size=0, digest=tree)
    for part in path.rstrip("/").split("/") if path else ():
        entries = parse_tree(blobs.get(here.digest)).entries if here.kind == "tree" else ()
        found = next((entry for entry in entries if entry.name == part), None)
        if found is None:
            raise NotFound(
                f"the version has no {path[:200]!r}", code="file-not-found", hint="`stellwerk data ls NAME` lists it"
            )
        here = found
    return here


def shown(path: str, entry: TreeEntry) -> FileEntry:
    """An entry of a tree, as it is listed."""
    kind = "folder" if entry.kind == "tree" else "file"
    return FileEntry(path=path, kind=kind, size=entry.size, digest=entry.digest, executable=entry.executable)


def opened(blobs: Blobs, entry: TreeEntry) -> IO[bytes]:
    """A file to be read and sought in; only what is read is fetched."""
    return io.BufferedReader(_Reader(blobs, entry), buffer_size=_BUFFER)


class _Reader(io.RawIOBase):
    """One blob as a file; each read fetches a range."""

    def __init__(self, blobs: Any, entry: TreeEntry) -> None:
        self._blobs, self._entry, self._at = blobs, entry, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._entry.size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._entry.size)
        if self._at >= stop:
            return 0
        data = b"".join(self._blobs.stream(self._entry.digest, start=self._at, stop=stop))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
