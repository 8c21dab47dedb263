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
from stellwerk.store.packing import BLOB, CHUNK, Record

failpoints.declare("remove.unlink", "remove.rewritten", "remove.indexed")

DEAD_SHARE = 0.2
"""A pack with at least this share of dead bytes is rewritten."""


class Removal:
    """One removal. Writers wait while a pack is rewritten, and only so long."""

    def __init__(self, root: Path, gate: disk.Gate, index: Index, reader: PackReader) -> None:
        self._root, self._gate, self._index, self._reader = root, gate, index, reader
        self._needed: set[bytes] = set()
        self._read: set[Path] = set()

    def remove(self, digests: Collection[Digest], *, marked: bool = False) -> int:
        """Remove blobs, or those of them that are marked; returns the bytes by which the store became smaller."""
        freed = 0
        with self._gate.removing():
            doomed = self._doomed(digests, marked)
            for digest in doomed:
                freed += self._unlink(self._root / "chunked" / hex_of(digest)[:2] / hex_of(digest))
                freed += self._unlink(self._root / "files" / hex_of(digest)[:2] / hex_of(digest))
            freed += self._remove_files(doomed, self._chunks_needed())
        unwanted = {bytes.fromhex(hex_of(digest)): digest for digest in digests}
        for pack in sorted(name for name in self._index.packs() if name.startswith(packs.FOLDER)):
            with self._gate.removing():
                freed += self._shrink(pack, unwanted, marked)
        return freed

    def _doomed(self, digests: Collection[Digest], marked: bool) -> list[Digest]:
        # Whoever put a blob or asked for it meanwhile took its mark away; whoever comes later finds it gone.
        still = self._index.marked(digests) if marked else set(digests)
        return [digest for digest in digests if digest in still]

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

    def _shrink(self, pack: str, unwanted: dict[bytes, Digest], marked: bool) -> int:
        path = self._root / pack
        try:
            present = packs.read_records(path)
        except (OSError, Corrupt):
            return 0  # `fsck` reports it; nothing is thrown away that cannot be read
        here = [unwanted[record.digest] for record in present if record.kind == BLOB and record.digest in unwanted]
        doomed = {bytes.fromhex(hex_of(digest)) for digest in self._doomed(here, marked)}
        needed = self._chunks_needed() if any(record.kind == CHUNK for record in present) else set()
        read = {(record.digest, record.kind): record for record in self._index.records(pack)}
        live = [record for record in present if _same(read, record) and _wanted(record, doomed, needed)]
        total = sum(record.stored for record in present)
        dead = total - sum(record.stored for record in live)
        if live and (len(live) == len(present) or dead < DEAD_SHARE * total):
            return 0
        grown = self._rewrite(pack, live)
        failpoints.hit("remove.rewritten")
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
        for path in self._lists():
            if path not in self._read:  # lists never change, so only new ones are read again
                self._read.add(path)
                self._needed.update(piece.digest for piece in packing.read_chunk_list(path.read_bytes()))
        return self._needed

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
