"""Adopting files: a file becomes a blob where it lies, without a copy, and its chunks are found by later versions."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

from stellwerk.core import failpoints
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Conflict
from stellwerk.store import packing
from stellwerk.store.adapters.local import chunking, disk
from stellwerk.store.adapters.local.index import Index
from stellwerk.store.adapters.local.keeping import Keeping
from stellwerk.store.adapters.local.layout import Layout
from stellwerk.store.adapters.local.portions import intact, names_in
from stellwerk.store.packing import CHUNK, Piece

PORTION = 5 << 19  # measured: larger ones cost page faults, smaller ones turns of threads
_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK)


class Adopting:
    """Files that become blobs under the name that their content has. Whoever adopts one holds the gate."""

    def __init__(self, layout: Layout, index: Index, keeping: Keeping) -> None:
        self._layout, self._index, self._keeping = layout, index, keeping

    def adopt(self, path: Path, file: io.BufferedReader, before: os.stat_result, *, large: int) -> Digest | None:
        """Make an open file a blob; one of more bytes than `large` is found by its chunks, too.

        None where it cannot be linked; then it must be copied, from its beginning.
        """
        whole = hashlib.sha256()
        pieces: list[Piece] = []
        if os.fstat(file.fileno()).st_size > large:
            pieces = [piece for piece, _ in chunking.cut(file.readinto, whole)]
        else:
            for portion in iter(lambda: file.read(PORTION), b""):
                whole.update(portion)
        digest = Digest("sha256:" + whole.hexdigest())
        target = self._layout.blob(digest)
        self._layout.make_durable(target.parent)
        disk.finish(file.fileno())
        if not target.is_file() or not path.samefile(target):
            try:
                self._link(path, file, target, before)
            except OSError as cause:
                if cause.errno not in _CANNOT_LINK:
                    raise
                file.seek(0)
                return None
        if pieces:
            self._keeping.publish_list(digest, pieces)
            self.enter(digest, pieces)
        self._index.revive([digest])
        return digest

    def _link(self, path: Path, file: io.BufferedReader, target: Path, before: os.stat_result) -> None:
        """Give the file that was hashed its name in here: not one that took its place, nor one written to since."""
        if target.is_file():
            if intact(target):
                return
            target.unlink()
        failpoints.hit("blob.link")
        os.link(path, target)
        found, hashed = target.lstat(), os.fstat(file.fileno())
        if not os.path.samestat(found, hashed) or version(before) != version(hashed):
            target.unlink()
            raise changed(path)
        failpoints.hit("blob.dirsync")
        disk.sync(target.parent)

    def enter(self, digest: Digest, pieces: list[Piece]) -> None:
        """Enter the chunks of an adopted file, so that later versions of it find what they share."""
        records, offset = [], 0
        for piece in pieces:
            records.append(packing.Record(piece.digest, CHUNK, packing.BARE, offset, piece.length, piece.length, 0))
            offset += piece.length
        self._index.add(str(self._layout.blob(digest).relative_to(self._layout.root)), records)

    def adopted(self) -> Iterator[Digest]:
        """Every blob that is a file and has a list of chunks."""
        for name in names_in(self._layout.chunked):
            digest = Digest("sha256:" + name.hex())
            if self._layout.blob(digest).is_file():
                yield digest


def changed(path: Path) -> Conflict:
    """What it means that a file was written to meanwhile."""
    return Conflict(
        f"{path.name!r} changed while it was read", code="file-changed", hint="add it again when it rests"
    )


def version(found: os.stat_result) -> tuple[int, int]:
    """What is another after every write to a file."""
    return found.st_mtime_ns, found.st_size
