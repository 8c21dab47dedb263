"""Forgetting blobs: files are unlinked, packs that are dead to a fair share are written again without what is dead."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from stellwerk.core import failpoints
from stellwerk.core.digest import Digest, hex_of
from stellwerk.core.errors import Corrupt
from stellwerk.store import packing
from stellwerk.store.adapters.local import disk, packs
from stellwerk.store.adapters.local.index import Index
from stellwerk.store.adapters.local.packs import PackReader, PackWriter
from stellwerk.store.packing import CHUNK, Record

failpoints.declare("remove.unlink", "remove.rewritten", "remove.indexed")

DEAD_SHARE = 0.2
"""A pack with at least this share of dead bytes is rewritten."""


class Removal:
    """One removal. Writers wait while a pack is rewritten, and only so long."""

    def __init__(self, root: Path, gate: disk.Gate, index: Index, reader: PackReader) -> None:
        self._root, self._gate, self._index, self._reader = root, gate, index, reader

    def remove(self, digests: Collection[Digest]) -> int:
        """Remove blobs; returns the bytes by which the files of the store became smaller."""
        freed = 0
        unwanted = {bytes.fromhex(hex_of(digest)) for digest in digests}
        with self._gate.removing():
            for digest in digests:
                freed += self._unlink(self._root / "chunked" / hex_of(digest)[:2] / hex_of(digest))
                freed += self._unlink(self._root / "files" / hex_of(digest)[:2] / hex_of(digest))
            needed = self._chunks_needed()
            freed += self._remove_files(digests, needed)
        for pack in sorted(self._index.live_bytes()):
            if pack.startswith(packs.FOLDER):
                with self._gate.removing():
                    # Looked up again: a writer may have come to share a chunk since.
                    freed += self._shrink(pack, unwanted, self._chunks_needed())
        return freed

    def _remove_files(self, digests: Collection[Digest], needed: set[bytes]) -> int:
        freed, adopted = 0, self._index.packs()
        for digest in digests:
            name = f"sha256/{hex_of(digest)[:2]}/{hex_of(digest)}"
            if name in adopted:
                records = self._index.records(name)
                freed -= self._move_chunks(name, [record for record in records if record.digest in needed])
                self._index.forget(name)
                self._reader.forget(name)
            freed += self._unlink(self._root / name)
        return freed

    def _move_chunks(self, name: str, records: list[Record]) -> int:
        """Chunks that others need and that lie in an adopted file alone go into a pack."""
        if not records:
            return 0
        writer = PackWriter(self._root / "incoming", self._root / packs.FOLDER)
        try:
            for record in records:
                writer.add(record.digest, CHUNK, self._reader.content(name, record))
            pack = writer.close()
        finally:
            writer.discard()
        self._index.add(pack, writer.records, instead=True)
        return (self._root / pack).stat().st_size

    def _shrink(self, pack: str, unwanted: set[bytes], needed: set[bytes]) -> int:
        path = self._root / pack
        try:
            present = packs.read_records(path)
        except (OSError, Corrupt):
            return 0  # `fsck` reports it; nothing is thrown away that cannot be read
        read = {(record.digest, record.kind): record for record in self._index.records(pack)}
        live = [record for record in present if _same(read, record) and _wanted(record, unwanted, needed)]
        total = sum(record.stored for record in present)
        dead = total - sum(record.stored for record in live)
        if live and (len(live) == len(present) or dead < DEAD_SHARE * total):
            return 0
        kept = {(record.digest, record.kind) for record in live}
        gone = [key for key in read if key not in kept]
        grown = self._rewrite(pack, live)
        failpoints.hit("remove.rewritten")
        self._index.forget(pack, gone)
        self._index.forget(pack)
        failpoints.hit("remove.indexed")
        freed = self._unlink(path)
        self._reader.forget(pack)
        return freed - grown

    def _rewrite(self, pack: str, live: list[Record]) -> int:
        if not live:
            return 0
        writer = PackWriter(self._root / "incoming", self._root / packs.FOLDER)
        try:
            for record in sorted(live, key=lambda record: record.offset):
                stored = self._reader.stored(pack, record)
                packs.unpack(record, stored)  # what is damaged is not copied as if it were whole
                writer.append(record, stored)
            name = writer.close()
        finally:
            writer.discard()
        self._index.add(name, writer.records, instead=True)
        return (self._root / name).stat().st_size

    def _chunks_needed(self) -> set[bytes]:
        """Chunks that any large blob consists of. A list that cannot be read stops the removal."""
        return {piece.digest for path in self._lists() for piece in packing.read_chunk_list(path.read_bytes())}

    def _lists(self) -> Iterator[Path]:
        folder = self._root / "chunked"
        for inner in sorted(folder.iterdir()) if folder.is_dir() else ():
            yield from sorted(inner.iterdir())

    def _unlink(self, path: Path) -> int:
        try:
            found = path.lstat()
            failpoints.hit("remove.unlink")
            path.unlink()
        except FileNotFoundError:
            return 0
        # Another name of the same bytes, such as a working copy, keeps them on the disk.
        return found.st_size if found.st_nlink == 1 else 0


def _same(read: dict[tuple[bytes, int], Record], record: Record) -> bool:
    known = read.get((record.digest, record.kind))
    return known is not None and known.offset == record.offset


def _wanted(record: Record, unwanted: set[bytes], needed: set[bytes]) -> bool:
    return record.digest in needed if record.kind == CHUNK else record.digest not in unwanted
