"""Blobs in a folder of this machine (`docs/formats/store.md`): in packs if small, in chunks if large, else as files.

Write order: temporary file in the same tree → write while hashing → fsync → link to the name without overwriting →
fsync of the folder. A crash leaves at most a temporary file, which `sweep` removes, and bytes nobody refers to.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from heapq import merge
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from stellwerk.core import failpoints
from stellwerk.core.digest import Digest, hex_of, of_bytes, parse, raw
from stellwerk.core.errors import Conflict, Corrupt
from stellwerk.store import packing
from stellwerk.store.adapters.local import chunking, disk, packs
from stellwerk.store.adapters.local.filling import PackFilling, batches
from stellwerk.store.adapters.local.index import Index, Place
from stellwerk.store.adapters.local.packs import PackReader
from stellwerk.store.adapters.local.portions import chunks_of, cut, names_in, verified
from stellwerk.store.adapters.local.quarantine import Quarantine
from stellwerk.store.adapters.local.removal import Removal
from stellwerk.store.packing import BLOB, CHUNK, Piece
from stellwerk.store.rules import checked_range

if TYPE_CHECKING:
    from stellwerk.store.adapters.local.hand import SecondProcess

failpoints.declare("blob.open", "blob.write", "blob.fsync", "blob.link", "blob.dirsync", "chunks.link")

_PORTION = 5 << 19  # measured: larger ones cost page faults, smaller ones turns of threads
_MOST_HANDS = 4
_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK)


class LocalFolder:
    """A folder of blobs: `sha256/ab/<64 hex>`, `chunked/ab/<64 hex>`, `packs/`, and `incoming/` for writes under way.

    Attributes:
        small: `put_many` packs blobs of at most this many bytes.
        few: So few blobs at once are kept as files: a pack of their own would cost more than it saves.
        large: Blobs of more bytes are cut into chunks.
    """

    small = 1 << 20
    few = 4
    large = chunking.LARGE

    def __init__(self, root: Path) -> None:
        self._root = root
        self._objects = root / "sha256"
        self._chunked = root / "chunked"
        self._packs = root / packs.FOLDER
        self._incoming = root / "incoming"
        self._durable: dict[Path, set[str]] = {}
        """Sub-folders, by folder, that this process knows to survive a power cut."""
        with disk.disk():
            disk.make(self._objects)
            disk.make(self._incoming)
            disk.make(self._packs)
        self._gate = disk.Gate(root / "gate.lock")
        self._index = Index(root / "index.db")
        self._reader = PackReader(root)
        self._catch_up()

    # Writing

    def put(self, data: bytes) -> Digest:
        if len(data) > self.large:
            return self.put_stream((data,))
        digest = of_bytes(data)
        with self._gate.writing():
            # Compared, not trusted: the caller may drop its own copy once this returns.
            if self._kept(digest, data):
                return digest
            self._put_file((data,))
        return digest

    def put_stream(self, chunks: Iterable[bytes]) -> Digest:
        iterator = iter(chunks)
        held: list[bytes] = []
        size = 0
        for chunk in iterator:
            held.append(chunk)
            size += len(chunk)
            if size > self.large:
                with self._gate.writing():
                    return self._put_chunked(chunking.filling(chain(held, iterator)))
        with self._gate.writing():
            return self._put_file(held)

    def put_many(self, items: Iterable[bytes]) -> list[Digest]:
        result: list[Digest] = []
        with self._gate.writing(), ExitStack() as stack:
            gathered = batches(items)
            first, second = next(gathered, []), next(gathered, [])
            if len(first) <= self.few and not second:
                return [self._put_one(data) for data in first]
            writing = stack.enter_context(self._pack_writing())
            for batch in chain([first, second], gathered):
                result += self._put_batch(batch, writing)
        return result

    def put_file(self, path: Path, *, adopt: bool = False) -> Digest:
        """Keep the content of a file; with `adopt`, the file itself, which becomes read-only, and no copy of it.

        An adopted file must never be written again. Where it cannot be linked (another file system) it is copied.
        Raises `Conflict` where the file changed while it was read.
        """
        with disk.disk():
            file = disk.open_file(path)
        with file, disk.disk():
            before = os.fstat(file.fileno())
            if adopt:
                with self._gate.writing():
                    digest = self._adopt(path, file, before)
            elif before.st_size > self.large:
                with self._gate.writing():
                    digest = self._put_chunked(file.readinto)
            else:
                digest = self.put_stream(iter(lambda: file.read(_PORTION), b""))
            if _version(before) != _version(os.fstat(file.fileno())):
                raise _changed(path)
        return digest

    def hand(self, folder: int, hired: int) -> SecondProcess | None:
        """A process that keeps small files of an open folder here, if this machine has a processor for one more."""
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        # Each, and whoever asks, has a processor of its own.
        if (
            processors < 2
            or hired >= min(processors, _MOST_HANDS)
            or not Path(sys.executable).name.startswith("python")
        ):
            return None
        from stellwerk.store.adapters.local.hand import SecondProcess

        try:
            return SecondProcess(self._root, folder)
        except OSError:
            return None

    def _put_one(self, data: bytes) -> Digest:
        if len(data) > self.large:
            return self._put_chunked(chunking.filling((data,)))
        digest = of_bytes(data)
        return digest if self._kept(digest, data) else self._put_file((data,))

    def _put_batch(self, batch: list[bytes], writing: PackFilling) -> list[Digest]:
        names = [hashlib.sha256(data).digest() for data in batch]
        known = self._index.known(names, BLOB)
        for name, data in zip(names, batch, strict=True):
            digest = Digest("sha256:" + name.hex())
            if name in writing.names:
                continue
            if len(data) > self.small:
                self._put_one(data)
                continue
            here = name in known or writing.files.has(name.hex())
            if not here or not self._kept(digest, data, known.get(name)):
                writing.add(name, BLOB, data)
        result = [Digest("sha256:" + name.hex()) for name in names]
        self._index.revive(result)  # also what is new may bear a mark, from a removal that was stopped
        return result

    def _kept(self, digest: Digest, data: bytes, place: Place | None = None) -> bool:
        """Whether exactly these bytes are here and durable."""
        target = self._target(digest)
        if disk.holds(target, io.BytesIO(data)):
            # Whoever wrote it may have been stopped before the folder was synced.
            with disk.disk():
                self._make_durable(target.parent)
                disk.sync(target.parent)
        elif not self._packed_holds(place or self._place(digest), data):
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

    def _put_file(self, chunks: Iterable[bytes]) -> Digest:
        temporary = self._incoming / disk.temporary_name()
        try:
            digest = self._write(temporary, chunks)
            with disk.disk():
                self._publish(temporary, self._target(digest))
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
        self._make_durable(target.parent)
        failpoints.hit("blob.link")
        try:
            os.link(source, target)
        except FileExistsError:
            with source.open("rb") as file:
                intact = disk.holds(target, file)
            if not intact:
                # The copy on disk is damaged and the caller just proved what it should be: heal it.
                source.replace(target)
        failpoints.hit("blob.dirsync")
        disk.sync(target.parent)

    def _put_chunked(self, fill: chunking.Fill) -> Digest:
        whole = hashlib.sha256()
        pieces: list[Piece] = []
        with self._pack_writing() as writing:
            for piece, data in chunking.cut(fill, whole):
                pieces.append(piece)
                if piece.digest not in writing.names and not self._chunk_kept(piece, data):
                    writing.add(piece.digest, CHUNK, data)
        digest = Digest("sha256:" + whole.hexdigest())
        self._publish_list(digest, pieces)
        target = self._target(digest)
        with disk.disk():
            if target.is_file() and not _intact(target):  # it would be read before the chunks
                target.unlink()
                disk.sync(target.parent)
        self._index.revive([digest])
        return digest

    def _chunk_kept(self, piece: Piece, data: memoryview) -> bool:
        place = self._index.find(piece.digest, CHUNK)
        return self._packed_holds(place, bytes(data))

    def _publish_list(self, digest: Digest, pieces: list[Piece]) -> None:
        target = self._list(digest)
        data = packing.chunk_list(pieces)
        temporary = self._incoming / disk.temporary_name()
        try:
            with disk.disk():
                descriptor = disk.create(temporary)
                try:
                    disk.write_all(descriptor, data)
                    disk.finish(descriptor)
                finally:
                    os.close(descriptor)
                if not self._chunked.is_dir():
                    disk.make(self._chunked)
                self._make_durable(target.parent)
                if not disk.publish(temporary, target, "chunks.link") and not disk.holds(target, io.BytesIO(data)):
                    temporary.replace(target)
                    disk.sync(target.parent)
        finally:
            with disk.disk():
                temporary.unlink(missing_ok=True)

    def _adopt(self, path: Path, file: io.BufferedReader, before: os.stat_result) -> Digest:
        whole = hashlib.sha256()
        pieces: list[Piece] = []
        if os.fstat(file.fileno()).st_size > self.large:
            pieces = [piece for piece, _ in chunking.cut(file.readinto, whole)]
        else:
            for portion in iter(lambda: file.read(_PORTION), b""):
                whole.update(portion)
        digest = Digest("sha256:" + whole.hexdigest())
        target = self._target(digest)
        self._make_durable(target.parent)
        disk.finish(file.fileno())
        if not target.is_file() or not path.samefile(target):
            try:
                self._link(path, file, target, before)
            except OSError as cause:
                if cause.errno not in _CANNOT_LINK:
                    raise
                file.seek(0)
                return self.put_stream(iter(lambda: file.read(_PORTION), b""))
        if pieces:
            self._publish_list(digest, pieces)
            self._enter_adopted(digest, pieces)
        self._index.revive([digest])
        return digest

    def _link(self, path: Path, file: io.BufferedReader, target: Path, before: os.stat_result) -> None:
        """Give the file that was hashed its name in here: not one that took its place, nor one written to since."""
        if target.is_file():
            if _intact(target):
                return
            target.unlink()
        failpoints.hit("blob.link")
        os.link(path, target)
        found, hashed = target.lstat(), os.fstat(file.fileno())
        if not os.path.samestat(found, hashed) or _version(before) != _version(hashed):
            target.unlink()
            raise _changed(path)
        failpoints.hit("blob.dirsync")
        disk.sync(target.parent)

    @contextmanager
    def _pack_writing(self) -> Iterator[PackFilling]:
        writing = PackFilling(self._incoming, self._packs, self._index, self._reader)
        try:
            yield writing
            writing.close()
        finally:
            writing.discard()

    def _make_durable(self, folder: Path) -> None:
        parent = folder.parent
        if folder.name in self._durable.get(parent, ()):
            return
        folder.mkdir(exist_ok=True)
        present = {entry.name for entry in parent.iterdir()}
        if parent not in self._durable:
            disk.sync(self._root)
        disk.sync(parent)
        self._durable[parent] = present

    # Reading

    def get(self, digest: Digest) -> bytes:
        return b"".join(self._whole(digest))

    def stream(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        wanted = checked_range(start, stop)
        if wanted == slice(0, None):
            yield from self._whole(digest)
            return
        yield from self._part(digest, start, stop)

    def _whole(self, digest: Digest) -> Iterator[bytes]:
        """All bytes; the last portion is withheld until the digest of the whole was compared."""
        target = self._target(digest)
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
        pieces = self._pieces(digest)
        if pieces is None:
            data = self._from_any_pack(digest)
            if data is None:
                raise disk.missing(digest)
            yield data
            return
        yield from verified(digest, (self._chunk(piece, digest) for piece in pieces))

    def _part(self, digest: Digest, start: int, stop: int | None) -> Iterator[bytes]:
        pieces = None if self._target(digest).is_file() else self._pieces(digest)
        if pieces is None:
            # One file or record: as large as it is, it must be hashed as a whole to be trusted.
            wanted = cut(self._whole(digest), start, stop)
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

    def has(self, digest: Digest) -> bool:
        if not self._index.any_marked():
            return self._here(digest)
        with self._gate.writing():  # so that it is not removed between the look and the answer
            here = self._here(digest)
            if here:
                self._index.revive([digest])
        return here

    def _here(self, digest: Digest) -> bool:
        with disk.disk():
            return self._place(digest) is not None or self._target(digest).is_file() or self._list(digest).is_file()

    def size(self, digest: Digest) -> int:
        try:
            return self._target(digest).lstat().st_size
        except FileNotFoundError:
            pass
        except OSError as cause:
            raise disk.unreadable(digest, cause) from cause
        place = self._place(digest)
        if place is not None:
            return place.record.size
        try:
            with disk.open_file(self._list(digest)) as file:
                return packing.list_size(file.read(packing.LIST_HEAD_BYTES))
        except FileNotFoundError:
            pass
        except OSError as cause:
            raise disk.unreadable(digest, cause) from cause
        for _, record in packs.search(self._packs, bytes.fromhex(hex_of(digest)), BLOB):
            return record.size
        raise disk.missing(digest)

    def lengths(self, digests: Collection[Digest]) -> dict[Digest, int]:
        """Those that are here, with their lengths; asked of the index at once. Marks of collection are taken away."""
        names = dict(zip(raw(digests), digests, strict=True))
        with self._gate.writing():
            found = {names[name]: size for name, size in self._index.sizes(names, BLOB).items()}
            for digest in digests:
                if digest not in found and self._here(digest):
                    found[digest] = self.size(digest)
            self._index.revive(found)
        return found

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
        target = self._target(digest)
        if target.is_file():
            for _ in self._whole(digest):
                pass
            return target
        copy = self._root / "files" / target.parent.name / target.name
        try:
            whole = _intact(copy)
        except OSError:
            whole = False
        if not whole:
            self._copy_out(digest, copy)
        return copy

    def _copy_out(self, digest: Digest, copy: Path) -> None:
        temporary = self._incoming / disk.temporary_name()
        try:
            with disk.disk():
                copy.parent.mkdir(parents=True, exist_ok=True)
                descriptor = disk.create(temporary)
            try:
                for chunk in self._whole(digest):
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

    def __iter__(self) -> Iterator[Digest]:
        packed = self._index.digests(BLOB)
        last = b""
        for name in merge(packed, names_in(self._objects), names_in(self._chunked)):
            if name != last:
                yield Digest("sha256:" + name.hex())
            last = name

    def _from_pack(self, digest: Digest) -> bytes | None:
        place = self._place(digest)
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
        for pack, record in chain(known, packs.search(self._packs, name, kind)):
            try:
                data = self._reader.content(pack, record)
            except (OSError, Corrupt):
                continue
            if again is None or again.record != record:
                self._index.add(pack, [record], instead=True)
            return data
        return None

    def _pieces(self, digest: Digest) -> list[Piece] | None:
        try:
            with disk.open_file(self._list(digest)) as file:
                return packing.read_chunk_list(file.read())
        except FileNotFoundError:
            return None
        except OSError as cause:
            raise disk.unreadable(digest, cause) from cause
        except Corrupt as cause:
            raise disk.corrupt(digest, "its chunk list is damaged") from cause

    def _place(self, digest: Digest) -> Place | None:
        name = bytes.fromhex(hex_of(parse(digest)))
        return self._index.find(name, BLOB)

    # Housekeeping

    def remove(self, digests: Iterable[Digest]) -> int:
        """Forget blobs and free their room; returns the bytes by which the store became smaller.

        Room in packs comes free when a fair share of the pack is dead; until then such blobs stay readable.
        """
        with disk.disk():
            return Removal(self._root, self._gate, self._index, self._reader).remove([parse(d) for d in digests])

    def head(self, digest: Digest, length: int) -> bytes:
        """The first bytes of a blob, not verified: only good enough to guess what it is."""
        try:
            with disk.open_file(self._target(digest)) as file:
                return file.read(length)
        except OSError:
            return next(iter(self.stream(digest, start=0, stop=length)), b"")[:length]

    def marks(self) -> dict[str, tuple[str, int]]:
        return self._index.tombstones()

    def mark(self, digests: Iterable[Digest], at: str, sequence: int) -> None:
        self._index.bury(digests, at, sequence)

    def unmark(self, digests: Iterable[Digest]) -> None:
        self._index.revive(digests)

    def remove_marked(self, digests: Iterable[Digest]) -> int:
        """As `remove`, sparing those that somebody put or asked for since they were marked."""
        with disk.disk():
            wanted = list(digests)
            freed = Removal(self._root, self._gate, self._index, self._reader).remove(wanted, marked=True)
        self._index.revive([digest for digest in wanted if not self._here(digest)])
        return freed

    def quarantine(self, digest: Digest) -> bool:
        """Move damaged copies of a blob to `quarantine/`, which nobody reads; returns whether there was one."""
        parse(digest)
        with self._gate.removing(), disk.disk():
            return Quarantine(self._root, self._index, self._reader).isolate(digest)

    def sweep(self) -> int:
        """Remove temporary files of processes that are gone; returns how many."""
        removed = 0
        with disk.disk():
            for file in self._incoming.iterdir():
                if not disk.alive(file.name.partition("-")[0]):
                    file.unlink(missing_ok=True)
                    removed += 1
        return removed

    def close(self) -> None:
        """Release open files."""
        self._reader.close()
        self._index.close()

    def _catch_up(self) -> None:
        """Enter packs that the index does not know: a writer was stopped before it entered them, or the index is new."""
        known = self._index.packs()
        with disk.disk():
            present = {f"{packs.FOLDER}/{path.name}": path for path in self._packs.glob("*.pack")}
        for name in sorted(present.keys() - known):
            try:
                self._index.add(name, packs.read_records(present[name]))
            except FileNotFoundError:
                continue  # removed meanwhile
            except (OSError, Corrupt):
                continue  # `fsck` reports it; what it held is looked for elsewhere
        for name in known:
            if name.startswith(packs.FOLDER) and name not in present and not (self._root / name).is_file():
                self._index.forget(name)
        if not known:
            for digest in self._adopted():
                pieces = self._pieces(digest)
                if pieces:
                    self._enter_adopted(digest, pieces)

    def _enter_adopted(self, digest: Digest, pieces: list[Piece]) -> None:
        """Enter the chunks of an adopted file, so that later versions of it find what they share."""
        records, offset = [], 0
        for piece in pieces:
            records.append(packing.Record(piece.digest, CHUNK, packing.BARE, offset, piece.length, piece.length, 0))
            offset += piece.length
        self._index.add(str(self._target(digest).relative_to(self._root)), records)

    def _adopted(self) -> Iterator[Digest]:
        for name in names_in(self._chunked):
            digest = Digest("sha256:" + name.hex())
            if self._target(digest).is_file():
                yield digest

    def _target(self, digest: Digest) -> Path:
        name = hex_of(parse(digest))
        return self._objects / name[:2] / name

    def _list(self, digest: Digest) -> Path:
        name = hex_of(parse(digest))
        return self._chunked / name[:2] / name


def _changed(path: Path) -> Conflict:
    return Conflict(
        f"{path.name!r} changed while it was read", code="file-changed", hint="add it again when it rests"
    )


def _intact(target: Path) -> bool:
    """Whether a file holds the bytes that its name says."""
    hasher = hashlib.sha256()
    with disk.open_file(target) as file:
        while chunk := file.read(disk.CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest() == target.name


def _version(found: os.stat_result) -> tuple[int, int]:
    return found.st_mtime_ns, found.st_size
