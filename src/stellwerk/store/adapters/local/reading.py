"""Reading blobs wherever they lie: files, records of packs, chunks. What is read is verified before it is let go."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from heapq import merge
from itertools import chain
from pathlib import Path

from stellwerk.core.digest import Digest, hex_of, parse, raw
from stellwerk.core.errors import Corrupt
from stellwerk.store import packing
from stellwerk.store.adapters.local import disk, packs
from stellwerk.store.adapters.local.index import Index, Place
from stellwerk.store.adapters.local.layout import Layout
from stellwerk.store.adapters.local.packs import PackReader
from stellwerk.store.adapters.local.portions import chunks_of, cut, intact, names_in, verified
from stellwerk.store.packing import BLOB, CHUNK, Piece
from stellwerk.store.rules import checked_range


class Reading:
    """What can be learnt of blobs without changing any."""

    def __init__(self, layout: Layout, index: Index, reader: PackReader) -> None:
        self._layout, self._index, self._reader = layout, index, reader

    def get(self, digest: Digest) -> bytes:
        return b"".join(self.whole(digest))

    def stream(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes of a range, in portions."""
        wanted = checked_range(start, stop)
        if wanted == slice(0, None):
            yield from self.whole(digest)
            return
        yield from self._part(digest, start, stop)

    def whole(self, digest: Digest) -> Iterator[bytes]:
        """All bytes; the last portion is withheld until the digest of the whole was compared."""
        target = self._layout.blob(digest)
        try:
            file = disk.open_file(target)
        except FileNotFoundError:
            yield from self._elsewhere(digest)
            return
        except OSError as cause:
            raise disk.unreadable(digest, cause) from cause
        with file:
            yield from verified(digest, chunks_of(file, digest))

    def _elsewhere(self, digest: Digest) -> Iterator[bytes]:
        if (data := self._from_pack(digest)) is not None:
            yield data
            return
        pieces = self.pieces(digest)
        if pieces is None:
            data = self._from_any_pack(digest)
            if data is None:
                raise disk.missing(digest)
            yield data
            return
        yield from verified(digest, (self._chunk(piece, digest) for piece in pieces))

    def _part(self, digest: Digest, start: int, stop: int | None) -> Iterator[bytes]:
        pieces = None if self._layout.blob(digest).is_file() else self.pieces(digest)
        if pieces is None:
            # One file or record: as large as it is, it must be hashed as a whole to be trusted.
            wanted = cut(self.whole(digest), start, stop)
            held = b""
            for chunk in wanted:
                if held:
                    yield held
                held = chunk
            yield held
            return
        size = sum(piece.length for piece in pieces)
        for piece, begin, end in packing.overlap(pieces, start, size if stop is None else min(stop, size)):
            yield self._chunk(piece, digest)[begin:end]

    def here(self, digest: Digest) -> bool:
        """Whether the index or a name says that a blob is here."""
        with disk.disk():
            return (
                self.place(digest) is not None
                or self._layout.blob(digest).is_file()
                or self._layout.chunks(digest).is_file()
            )

    def size(self, digest: Digest) -> int:
        """Length in bytes, as the place says where it lies."""
        try:
            return self._layout.blob(digest).lstat().st_size
        except FileNotFoundError:
            pass
        except OSError as cause:
            raise disk.unreadable(digest, cause) from cause
        place = self.place(digest)
        if place is not None:
            return place.record.size
        try:
            with disk.open_file(self._layout.chunks(digest)) as file:
                return packing.list_size(file.read(packing.LIST_HEAD_BYTES))
        except FileNotFoundError:
            pass
        except OSError as cause:
            raise disk.unreadable(digest, cause) from cause
        for _, record in packs.search(self._layout.packs, bytes.fromhex(hex_of(digest)), BLOB):
            return record.size
        raise disk.missing(digest)

    def head(self, digest: Digest, length: int) -> bytes:
        """The first bytes of a blob, not verified: only good enough to guess what it is."""
        try:
            with disk.open_file(self._layout.blob(digest)) as file:
                return file.read(length)
        except OSError:
            return next(iter(self.stream(digest, start=0, stop=length)), b"")[:length]

    def get_many(self, digests: Collection[Digest]) -> Iterator[bytes]:
        """The bytes of many small blobs in order, each verified; their places are looked up at once."""
        places = self._index.known(raw(digests), BLOB)
        for digest in digests:
            place = places.get(bytes.fromhex(hex_of(digest)))
            try:
                data = None if place is None else self._content(place, digest)
            except Corrupt:
                data = None  # it may have been put again, as a file
            yield self.get(digest) if data is None else data

    def path(self, digest: Digest) -> Path:
        """A file with the verified content: the blob's own, or a copy in `files/` that may be removed at any time."""
        target = self._layout.blob(digest)
        if target.is_file():
            for _ in self.whole(digest):
                pass
            return target
        copy = self._layout.copy(digest)
        try:
            whole = intact(copy)
        except OSError:
            whole = False
        if not whole:
            self._copy_out(digest, copy)
        return copy

    def _copy_out(self, digest: Digest, copy: Path) -> None:
        temporary = self._layout.temporary()
        try:
            with disk.disk():
                copy.parent.mkdir(parents=True, exist_ok=True)
                descriptor = disk.create(temporary)
            try:
                for chunk in self.whole(digest):
                    with disk.disk():
                        disk.write_all(descriptor, chunk)
                with disk.disk():
                    os.fchmod(descriptor, 0o444)
            finally:
                os.close(descriptor)
            with disk.disk():
                temporary.replace(copy)
        finally:
            temporary.unlink(missing_ok=True)

    def names(self) -> Iterator[Digest]:
        """Every blob once, in order."""
        packed = self._index.digests(BLOB)
        last = b""
        for name in merge(packed, names_in(self._layout.objects), names_in(self._layout.chunked)):
            if name != last:
                yield Digest("sha256:" + name.hex())
            last = name

    def _from_pack(self, digest: Digest) -> bytes | None:
        place = self.place(digest)
        return None if place is None else self._content(place, digest)

    def _chunk(self, piece: Piece, digest: Digest) -> bytes:
        place = self._index.find(piece.digest, CHUNK)
        data = None if place is None else self._content(place, digest)
        if data is None:
            data = self._search(piece.digest, CHUNK)
        if data is None or len(data) != piece.length:
            raise disk.corrupt(digest, "one of its chunks is missing")
        return data

    def _content(self, place: Place, digest: Digest) -> bytes:
        try:
            return self._reader.content(place.pack, place.record)
        except (OSError, Corrupt) as cause:
            # The pack may have been rewritten or healed since it was opened, or the index may be wrong: ask the packs.
            self._reader.forget(place.pack)
            data = self._search(place.record.digest, place.record.kind)
            if data is not None:
                return data
            raise disk.corrupt(digest, "a pack does not hold it as written") from cause

    def _from_any_pack(self, digest: Digest) -> bytes | None:
        return self._search(bytes.fromhex(hex_of(digest)), BLOB)

    def _search(self, name: bytes, kind: int) -> bytes | None:
        again = self._index.find(name, kind)
        known = [(again.pack, again.record)] if again is not None else []
        for pack, record in chain(known, packs.search(self._layout.packs, name, kind)):
            try:
                data = self._reader.content(pack, record)
            except (OSError, Corrupt):
                continue
            if again is None or again.record != record:
                self._index.add(pack, [record], instead=True)
            return data
        return None

    def pieces(self, digest: Digest) -> list[Piece] | None:
        """The chunks of a blob that is kept in chunks."""
        try:
            with disk.open_file(self._layout.chunks(digest)) as file:
                return packing.read_chunk_list(file.read())
        except FileNotFoundError:
            return None
        except OSError as cause:
            raise disk.unreadable(digest, cause) from cause
        except Corrupt as cause:
            raise disk.corrupt(digest, "its chunk list is damaged") from cause

    def place(self, digest: Digest) -> Place | None:
        """Where a blob lies in a pack, as far as the index knows."""
        name = bytes.fromhex(hex_of(parse(digest)))
        return self._index.find(name, BLOB)
