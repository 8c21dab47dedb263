"""Writing blobs as files, as chunks, or into packs. What is there already is compared, and healed where it is damaged.

Whoever keeps something holds the gate against removals meanwhile.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stellwerk.core import failpoints
from stellwerk.core.digest import Digest, hex_of
from stellwerk.core.errors import Corrupt
from stellwerk.store import packing
from stellwerk.store.adapters.local import chunking, disk
from stellwerk.store.adapters.local.filling import PackFilling
from stellwerk.store.adapters.local.index import Index, Place
from stellwerk.store.adapters.local.layout import Layout
from stellwerk.store.adapters.local.packs import PackReader
from stellwerk.store.adapters.local.portions import intact
from stellwerk.store.packing import BLOB, CHUNK, Piece

failpoints.declare("blob.open", "blob.write", "blob.fsync", "blob.link", "blob.dirsync", "chunks.link")


class Keeping:
    """The ways in which blobs are written."""

    def __init__(self, layout: Layout, index: Index, reader: PackReader) -> None:
        self._layout, self._index, self._reader = layout, index, reader

    def holds(self, digest: Digest, data: bytes, place: Place | None = None) -> bool:
        """Whether exactly these bytes are here and durable."""
        target = self._layout.blob(digest)
        if disk.holds(target, io.BytesIO(data)):
            # Whoever wrote it may have been stopped before the folder was synced.
            with disk.disk():
                self._layout.make_durable(target.parent)
                disk.sync(target.parent)
        elif not self._packed_holds(place or self._index.find(bytes.fromhex(hex_of(digest)), BLOB), data):
            return False
        self._index.revive([digest])
        return True

    def _packed_holds(self, place: Place | None, data: bytes) -> bool:
        if place is None:
            return False
        try:
            return self._reader.content(place.pack, place.record) == data
        except (OSError, Corrupt):
            return False

    def as_file(self, chunks: Iterable[bytes]) -> Digest:
        """Write a blob as a file of its own."""
        temporary = self._layout.temporary()
        try:
            digest = self._write(temporary, chunks)
            with disk.disk():
                self._publish(temporary, self._layout.blob(digest))
        finally:
            with disk.disk():
                temporary.unlink(missing_ok=True)
        self._index.revive([digest])
        return digest

    def _write(self, temporary: Path, chunks: Iterable[bytes]) -> Digest:
        hasher = hashlib.sha256()
        with disk.disk():
            failpoints.hit("blob.open")
            descriptor = disk.create(temporary)
        try:
            for chunk in chunks:  # not inside `disk`: a source that cannot be read is no fault of the store
                hasher.update(chunk)
                with disk.disk():
                    failpoints.hit("blob.write")
                    disk.write_all(descriptor, chunk)
            with disk.disk():
                failpoints.hit("blob.fsync")
                disk.finish(descriptor)
        finally:
            with disk.disk():
                os.close(descriptor)
        return Digest("sha256:" + hasher.hexdigest())

    def _publish(self, source: Path, target: Path) -> None:
        self._layout.make_durable(target.parent)
        failpoints.hit("blob.link")
        try:
            os.link(source, target)
        except FileExistsError:
            with source.open("rb") as file:
                same = disk.holds(target, file)
            if not same:
                # The copy on disk is damaged and the caller just proved what it should be: heal it.
                source.replace(target)
        failpoints.hit("blob.dirsync")
        disk.sync(target.parent)

    def in_chunks(self, fill: chunking.Fill) -> Digest:
        """Write a blob as chunks, of which only new ones are written, and their list."""
        whole = hashlib.sha256()
        pieces: list[Piece] = []
        with self.filling() as writing:
            for piece, data in chunking.cut(fill, whole):
                pieces.append(piece)
                if piece.digest not in writing.names and not self._chunk_kept(piece, data):
                    writing.add(piece.digest, CHUNK, data)
        digest = Digest("sha256:" + whole.hexdigest())
        self.publish_list(digest, pieces)
        target = self._layout.blob(digest)
        with disk.disk():
            if target.is_file() and not intact(target):  # it would be read before the chunks
                target.unlink()
                disk.sync(target.parent)
        self._index.revive([digest])
        return digest

    def _chunk_kept(self, piece: Piece, data: memoryview) -> bool:
        place = self._index.find(piece.digest, CHUNK)
        return self._packed_holds(place, bytes(data))

    def publish_list(self, digest: Digest, pieces: list[Piece]) -> None:
        """Write which chunks a blob consists of."""
        target = self._layout.chunks(digest)
        data = packing.chunk_list(pieces)
        temporary = self._layout.temporary()
        try:
            with disk.disk():
                descriptor = disk.create(temporary)
                try:
                    disk.write_all(descriptor, data)
                    disk.finish(descriptor)
                finally:
                    os.close(descriptor)
                if not self._layout.chunked.is_dir():
                    disk.make(self._layout.chunked)
                self._layout.make_durable(target.parent)
                if not disk.publish(temporary, target, "chunks.link") and not disk.holds(target, io.BytesIO(data)):
                    temporary.replace(target)
                    disk.sync(target.parent)
        finally:
            with disk.disk():
                temporary.unlink(missing_ok=True)

    @contextmanager
    def filling(self) -> Iterator[PackFilling]:
        """Packs to fill, which are closed at the end; what went wrong before leaves none."""
        writing = PackFilling(self._layout.incoming, self._layout.packs, self._index, self._reader)
        try:
            yield writing
            writing.close()
        finally:
            writing.discard()
