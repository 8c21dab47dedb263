"""Objects of a DVC cache or a remote in a folder, of both layouts, verified while they are read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from stellwerk.data.dvc import hashing
from stellwerk.data.dvc.model import LEGACY


class Key(NamedTuple):
    """DVC's name of an object: the algorithm, and the hex with `.dir` for the list of a folder."""

    algorithm: str
    value: str


class Damaged(Exception):
    """The bytes are not those that the name says."""


class Object:
    """One copy of an object, opened."""

    def __init__(self, key: Key, path: Path, file: BinaryIO, size: int) -> None:
        self.key, self.path, self.size = key, path, size
        self._file = file

    def read(self) -> bytes:
        """All of it. Raises `Damaged`."""
        return b"".join(self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, once; the end comes only after the hash was checked. Raises `Damaged`.

        Can be called again, and then reads again.
        """
        self._file.seek(0)
        hashers = [hashing.hasher_of(self.key.algorithm)]
        if self.key.algorithm == LEGACY and self.size > hashing.CHUNK:
            hashers.append(hashing.OldLegacy())  # for smaller files both are the same
        while chunk := self._file.read(hashing.CHUNK):
            for hasher in hashers:
                hasher.update(chunk)
            yield chunk
        if self.key.value.removesuffix(".dir") not in [hasher.hexdigest() for hasher in hashers]:
            raise Damaged


class Objects:
    """The places where objects are looked for, in order."""

    def __init__(self, places: list[Path]) -> None:
        self._places = places

    def copies(self, key: Key) -> Iterator[Object]:
        """Every copy of an object that can be opened. Each is closed when the next is asked for."""
        for path in self.paths(key):
            try:
                # Links are followed, as DVC links caches: the content is checked, wherever it lies.
                descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                continue
            with os.fdopen(descriptor, "rb") as file:
                found = os.fstat(file.fileno())
                if stat.S_ISREG(found.st_mode):
                    yield Object(key, path, file, found.st_size)

    def paths(self, key: Key) -> Iterator[Path]:
        """Where an object may lie: in the layout of DVC 3, and in that of DVC 2."""
        for place in self._places:
            layouts = [place / "files" / "md5", place]
            for layout in reversed(layouts) if key.algorithm == LEGACY else layouts:
                yield layout / key.value[:2] / key.value[2:]
