"""The stat cache: what the files of a folder held when they were last read (`docs/formats/working-copy.md`).

One file per working copy, one section per folder. An unchanged folder is recognised by comparing two pieces of memory,
and its section is copied to the next cache as it is. Losing the file costs reading the working copy again, nothing
else, so it is not synced; its checksum tells a whole file from a torn one.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import mmap
import os
import secrets
import struct
import sys
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

from stellwerk.core.digest import Digest
from stellwerk.store.model import TreeEntry

MAGIC = b"STWSTAT1"
_HEAD = struct.Struct("<IIII32sBQQ")
"""Bytes of the path, files, bytes of the names, bytes of the sub-folders' names, tree, kept, files and bytes below."""
_FOOT = struct.Struct("<QQI8s")
"""Where the index begins, how many folders, checksum of everything before, magic."""
_NUMBERS = 5
_WORD = 8
_DIGEST = 32
_MASK = (1 << 63) - 1
_TRIES = 100_000
RACY = -(1 << 62)
"""A time of change that no file has: the file may have changed since without a trace, so it is read again."""


class Stat(NamedTuple):
    """What the system says about a file without reading it."""

    size: int
    mtime: int
    ctime: int
    inode: int
    mode: int


def stat_of(found: os.stat_result) -> Stat:
    """The part of it that changes when the content does."""
    # A link to the same file elsewhere, made or removed, changes the time of change and nothing else.
    changed = found.st_ctime_ns if found.st_nlink == 1 else 0
    return Stat(found.st_size, found.st_mtime_ns, changed, found.st_ino & _MASK, found.st_mode)


def settled(stat: Stat, before: int) -> Stat:
    """The stat as it may be remembered by somebody who read the file after the moment `before`.

    As in git's index: a file changed in the same tick of the clock as it was read may change again without a trace.
    """
    coarse = 2_000_000_000 if stat.mtime % 1_000_000_000 == 0 else 0
    return stat if stat.mtime + coarse < before else stat._replace(mtime=RACY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One folder: its files in order of their names, what they held, and the tree that they make with its folders.

    Attributes:
        stats: Five numbers a file, as `Stat`, packed.
        digests: 32 bytes a file.
        kept: One byte a file: 1 if the store was given its bytes.
        tree_kept: Whether the store was given the tree.
        below_files: Files here and in all folders below; `below_bytes` their size.
    """

    path: str
    names: bytes
    stats: bytes
    digests: bytes
    kept: bytes
    folders: bytes
    tree: Digest
    tree_kept: bool
    below_files: int
    below_bytes: int
    raw: bytes = b""

    def file_names(self) -> list[str]:
        """Names of the files, in order."""
        return self.names.decode().split("\0") if self.names else []

    def folder_names(self) -> list[str]:
        """Names of the folders, in order."""
        return self.folders.decode().split("\0") if self.folders else []

    def files(self) -> Iterator[tuple[str, Stat, Digest]]:
        """Name, stat and content of each file, in order."""
        numbers = array("q", self.stats)
        one = iter(_little(numbers))
        stats = map(Stat._make, zip(one, one, one, one, one, strict=True))
        text = self.digests.hex()
        for at, (name, stat) in enumerate(zip(self.file_names(), stats, strict=True)):
            yield name, stat, Digest(f"sha256:{text[at * 2 * _DIGEST : (at + 1) * 2 * _DIGEST]}")

    def entries(self, cache: Cache) -> Iterator[TreeEntry]:
        """The folder as the entries of a tree, folders after files."""
        for name, stat, digest in self.files():
            yield TreeEntry(name=name, kind="file", size=stat.size, digest=digest, executable=bool(stat.mode & 0o100))
        for name in self.folder_names():
            below = cache.find(f"{self.path}/{name}" if self.path else name)
            if below is not None:
                yield TreeEntry(name=name, kind="tree", size=below.below_bytes, digest=below.tree)


def pack_stats(files: Sequence[tuple[str, Stat]]) -> bytes:
    """Stats of files as they stand in a section."""
    return _little(array("q", itertools.chain.from_iterable(map(itemgetter(1), files)))).tobytes()


def _little(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _key(path: bytes) -> int:
    return int.from_bytes(hashlib.sha256(path).digest()[:_WORD], "little")


class Cache:
    """What was remembered last. A file that is missing, torn or of another format remembers nothing, nor does None."""

    def __init__(self, path: Path | None) -> None:
        self._memory: mmap.mmap | None = None
        self._keys, self._places = array("Q"), array("Q")
        with contextlib.suppress(OSError, ValueError, struct.error, OverflowError):
            if path is not None:
                self._open(path)

    def _open(self, path: Path) -> None:
        with path.open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        index, count, checksum, magic = _FOOT.unpack(memory[-_FOOT.size :])
        body = memoryview(memory)[: len(memory) - _FOOT.size]
        whole = (
            magic == MAGIC
            and memory[: len(MAGIC)] == MAGIC
            and index + count * 2 * _WORD == len(body)
            and zlib.crc32(body) == checksum
        )
        body.release()
        if not whole:
            memory.close()
            return
        self._keys.frombytes(memory[index : index + count * _WORD])
        self._places.frombytes(memory[index + count * _WORD : index + count * 2 * _WORD])
        _little_unsigned(self._keys, self._places)
        self._memory = memory

    def find(self, path: str) -> Section | None:
        """What is known of a folder; the empty path is the working copy itself."""
        encoded = path.encode()
        key = _key(encoded)
        at = bisect_left(self._keys, key)
        while at < len(self._keys) and self._keys[at] == key:
            section = self._read(self._places[at])
            if section.path == path:
                return section
            at += 1
        return None

    def entries(self, path: str, _tree: Digest) -> Iterator[TreeEntry]:
        """Entries of the tree of a folder, for `comparing`."""
        section = self.find(path)
        return iter(()) if section is None else section.entries(self)

    def __iter__(self) -> Iterator[Section]:
        """All sections, folders before those that hold them."""
        return (self._read(place) for place in sorted(self._places))

    def __len__(self) -> int:
        return len(self._places)

    def _read(self, place: int) -> Section:
        if self._memory is None:
            raise LookupError(place)
        memory = self._memory
        path, files, names, folders, tree, tree_kept, below, size = _HEAD.unpack_from(memory, place)
        bounds = [place + _HEAD.size]
        for length in (path, names, folders, files * _NUMBERS * _WORD, files * _DIGEST, files):
            bounds.append(bounds[-1] + length)
        parts = [memory[start:stop] for start, stop in itertools.pairwise(bounds)]
        return Section(
            path=parts[0].decode(),
            names=parts[1],
            folders=parts[2],
            stats=parts[3],
            digests=parts[4],
            kept=parts[5],
            tree=Digest("sha256:" + tree.hex()),
            tree_kept=bool(tree_kept),
            below_files=below,
            below_bytes=size,
            raw=memory[place : bounds[-1]],
        )

    def close(self) -> None:
        """Let go of the file."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None


def _little_unsigned(*arrays: array[int]) -> None:
    if sys.byteorder == "big":
        for numbers in arrays:
            numbers.byteswap()


def alive(process: int) -> bool:
    """Whether a process of this machine exists."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


class Writer:
    """The next cache, written beside the old one and put in its place by `finish`. Use it in a `with` statement."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f"{path.name}.*.*"):
            process = left.name.removeprefix(f"{path.name}.").partition(".")[0]
            if process.isdigit() and not alive(int(process)):
                left.unlink(missing_ok=True)
        self._path = path
        self._temporary = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        self._file: BinaryIO = self._temporary.open("xb")
        self._checksum, self._at = 0, 0
        self._keys: array[int] = array("Q")
        self._places: array[int] = array("Q")
        self._write(MAGIC)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def now(self) -> int:
        """The time by which the file system stamps its files."""
        os.utime(self._file.fileno())
        return os.fstat(self._file.fileno()).st_mtime_ns

    def later_than(self, moment: int) -> bool:
        """Wait until the file system's time is past a moment that was just now; False if it does not come."""
        return any(self.now() > moment for _ in range(_TRIES))

    def add(self, section: Section) -> None:
        """Remember a folder."""
        path = section.path.encode()
        self._keys.append(_key(path))
        self._places.append(self._at)
        if section.raw:
            self._write(section.raw)
            return
        head = _HEAD.pack(
            len(path),
            len(section.kept),
            len(section.names),
            len(section.folders),
            bytes.fromhex(section.tree.removeprefix("sha256:")),
            section.tree_kept,
            section.below_files,
            section.below_bytes,
        )
        parts = (head, path, section.names, section.folders, section.stats, section.digests, section.kept)
        self._write(b"".join(parts))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._checksum = zlib.crc32(data, self._checksum)
        self._at += len(data)

    def finish(self) -> None:
        """Put it in place of the old one."""
        index = self._at
        order = sorted(range(len(self._keys)), key=self._keys.__getitem__)
        for numbers in (self._keys, self._places):
            ordered = array("Q", (numbers[at] for at in order))
            _little_unsigned(ordered)
            self._write(ordered.tobytes())
        self._file.write(_FOOT.pack(index, len(order), self._checksum, MAGIC))
        self._file.close()
        self._temporary.replace(self._path)
