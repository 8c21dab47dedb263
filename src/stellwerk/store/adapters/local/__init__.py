"""Blobs in a folder of this machine (`docs/formats/store.md`): in packs if small, in chunks if large, else as files.

Write order: temporary file in the same tree → write while hashing → fsync → link to the name without overwriting →
fsync of the folder. A crash leaves at most a temporary file, which `sweep` removes, and bytes nobody refers to.
How blobs are written is in `keeping` and `adopting`, how they are read in `reading`.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from stellwerk.core.digest import Digest, of_bytes, parse, raw
from stellwerk.core.errors import Corrupt
from stellwerk.store.adapters.local import chunking, disk, packs
from stellwerk.store.adapters.local.adopting import PORTION, Adopting, changed, version
from stellwerk.store.adapters.local.filling import PackFilling, batches
from stellwerk.store.adapters.local.index import Index
from stellwerk.store.adapters.local.keeping import Keeping
from stellwerk.store.adapters.local.layout import Layout
from stellwerk.store.adapters.local.packs import PackReader
from stellwerk.store.adapters.local.quarantine import Quarantine
from stellwerk.store.adapters.local.reading import Reading
from stellwerk.store.adapters.local.removal import Removal
from stellwerk.store.packing import BLOB

if TYPE_CHECKING:
    from stellwerk.store.adapters.local.hand import SecondProcess

_MOST_HANDS = 4


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
        self._layout = Layout(root)
        self._layout.make()
        self._gate = disk.Gate(root / "gate.lock")
        self._index = Index(root / "index.db")
        self._reader = PackReader(root)
        self._reading = Reading(self._layout, self._index, self._reader)
        self._keeping = Keeping(self._layout, self._index, self._reader)
        self._adopting = Adopting(self._layout, self._index, self._keeping)
        self._catch_up()

    # Writing

    def put(self, data: bytes) -> Digest:
        if len(data) > self.large:
            return self.put_stream((data,))
        digest = of_bytes(data)
        with self._gate.writing():
            # Compared, not trusted: the caller may drop its own copy once this returns.
            if self._keeping.holds(digest, data):
                return digest
            self._keeping.as_file((data,))
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
                    return self._keeping.in_chunks(chunking.filling(chain(held, iterator)))
        with self._gate.writing():
            return self._keeping.as_file(held)

    def put_many(self, items: Iterable[bytes]) -> list[Digest]:
        result: list[Digest] = []
        with self._gate.writing():
            gathered = batches(items)
            first, second = next(gathered, []), next(gathered, [])
            if len(first) <= self.few and not second:
                return [self._put_one(data) for data in first]
            with self._keeping.filling() as writing:
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
                    adopted = self._adopting.adopt(path, file, before, large=self.large)
                    digest = adopted or self.put_stream(iter(lambda: file.read(PORTION), b""))
            elif before.st_size > self.large:
                with self._gate.writing():
                    digest = self._keeping.in_chunks(file.readinto)
            else:
                digest = self.put_stream(iter(lambda: file.read(PORTION), b""))
            if version(before) != version(os.fstat(file.fileno())):
                raise changed(path)
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
            return self._keeping.in_chunks(chunking.filling((data,)))
        digest = of_bytes(data)
        return digest if self._keeping.holds(digest, data) else self._keeping.as_file((data,))

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
            if not here or not self._keeping.holds(digest, data, known.get(name)):
                writing.add(name, BLOB, data)
        result = [Digest("sha256:" + name.hex()) for name in names]
        self._index.revive(result)  # also what is new may bear a mark, from a removal that was stopped
        return result

    # Reading

    def get(self, digest: Digest) -> bytes:
        return self._reading.get(digest)

    def stream(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        return self._reading.stream(digest, start=start, stop=stop)

    def has(self, digest: Digest) -> bool:
        if not self._index.any_marked():
            return self._reading.here(digest)
        with self._gate.writing():  # so that it is not removed between the look and the answer
            here = self._reading.here(digest)
            if here:
                self._index.revive([digest])
        return here

    def size(self, digest: Digest) -> int:
        return self._reading.size(digest)

    def lengths(self, digests: Collection[Digest]) -> dict[Digest, int]:
        """Those that are here, with their lengths; asked of the index at once. Marks of collection are taken away."""
        names = dict(zip(raw(digests), digests, strict=True))
        with self._gate.writing():
            found = {names[name]: size for name, size in self._index.sizes(names, BLOB).items()}
            for digest in digests:
                if digest not in found and self._reading.here(digest):
                    found[digest] = self.size(digest)
            self._index.revive(found)
        return found

    def get_many(self, digests: Collection[Digest]) -> Iterator[bytes]:
        """The bytes of many small blobs in order, each verified; their places are looked up at once."""
        return self._reading.get_many(digests)

    def path(self, digest: Digest) -> Path:
        """A file with the verified content: the blob's own, or a copy in `files/` that may be removed at any time."""
        return self._reading.path(digest)

    def head(self, digest: Digest, length: int) -> bytes:
        """The first bytes of a blob, not verified: only good enough to guess what it is."""
        return self._reading.head(digest, length)

    def __iter__(self) -> Iterator[Digest]:
        return self._reading.names()

    # Housekeeping

    def remove(self, digests: Iterable[Digest]) -> int:
        """Forget blobs and free their room; returns the bytes by which the store became smaller.

        Room in packs comes free when a fair share of the pack is dead; until then such blobs stay readable.
        """
        with disk.disk():
            return Removal(self._root, self._gate, self._index, self._reader).remove([parse(d) for d in digests])

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
        self._index.revive([digest for digest in wanted if not self._reading.here(digest)])
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
            for file in self._layout.incoming.iterdir():
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
            present = {f"{packs.FOLDER}/{path.name}": path for path in self._layout.packs.glob("*.pack")}
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
            for digest in self._adopting.adopted():
                pieces = self._reading.pieces(digest)
                if pieces:
                    self._adopting.enter(digest, pieces)
