"""Packs on disk: many small blobs or chunks in one file, written once and synced once."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import zlib
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from stellwerk.core import failpoints
from stellwerk.core.errors import Corrupt
from stellwerk.store import packing
from stellwerk.store.adapters.local import disk
from stellwerk.store.packing import BARE, RAW, ZSTD, Record

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

failpoints.declare("pack.open", "pack.write", "pack.fsync", "pack.link")

FOLDER = "packs"
TARGET_BYTES = 256 << 20
"""A pack is closed when it has reached this size."""
_HELD_BYTES, _HELD_PARTS = 4 << 20, 1000
"""How much is handed to the disk at once; the system takes no more than 1024 parts."""
_AHEAD = 2
"""How many portions may wait for the disk."""
_SAMPLE = 4 << 10
_WORTH = 0.9
"""A frame is kept when it needs at most this share of the content's bytes."""
_OPEN_FILES = 64


class PackWriter:
    """One pack under way in `incoming/`. Not for several threads."""

    def __init__(self, incoming: Path, folder: Path) -> None:
        self._folder = folder
        self._temporary = incoming / disk.temporary_name()
        self.records: list[Record] = []
        self.size = len(packing.PACK_HEAD)
        self._compressor = Compressor()
        self._disk = ThreadPoolExecutor(1)
        self._writing: deque[Future[None]] = deque()
        self._parts: list[bytes] = [packing.PACK_HEAD]
        self._held = 0
        with disk.disk():
            failpoints.hit("pack.open")
            self._descriptor = disk.create(self._temporary)

    def add(self, digest: bytes, kind: int, data: bytes | memoryview) -> None:
        """Append a record, compressed if that pays."""
        stored, codec = self._compressor(data)
        crc = zlib.crc32(stored) if codec == ZSTD else 0
        self.append(Record(digest, kind, codec, self.size, len(stored), len(data), crc), stored)

    def append(self, record: Record, stored: bytes | memoryview) -> None:
        """Append a record as it lies in another pack."""
        self.records.append(record if record.offset == self.size else record._replace(offset=self.size))
        self.size += len(stored)
        self._parts.append(stored if isinstance(stored, bytes) else bytes(stored))
        self._held += len(stored)
        if self._held >= _HELD_BYTES or len(self._parts) >= _HELD_PARTS:
            self._flush()

    def close(self) -> str:
        """Make it durable under its name, and return that name. The pack is not in any index yet."""
        end, name = packing.pack_end(self.records, self.size)
        self._parts.append(end)
        self._flush()
        self._settle()
        target = self._folder / f"{name.hex()}.pack"
        try:
            with disk.disk():
                failpoints.hit("pack.fsync")
                disk.finish(self._descriptor)
                if not disk.publish(self._temporary, target, "pack.link") and not self._same(target):
                    self._temporary.replace(target)  # equal by name, but damaged
                    disk.sync(self._folder)
        finally:
            self.discard()
        return f"{FOLDER}/{target.name}"

    def discard(self) -> None:
        """Leave nothing behind of what was not published."""
        if self._descriptor >= 0:
            self._disk.shutdown()
            with disk.disk():
                os.close(self._descriptor)
                self._descriptor = -1
                self._temporary.unlink(missing_ok=True)

    def _same(self, target: Path) -> bool:
        with self._temporary.open("rb") as mine:
            return disk.holds(target, mine)

    def _flush(self) -> None:
        """Hand to the disk what is held, while more is gathered."""
        self._settle(_AHEAD)
        self._writing.append(self._disk.submit(self._write, self._parts))
        self._parts, self._held = [], 0

    def _settle(self, most: int = 0) -> None:
        """Wait until at most so many portions are still to be written."""
        while len(self._writing) > most:
            self._writing.popleft().result()

    def _write(self, parts: list[bytes]) -> None:
        with disk.disk():
            failpoints.hit("pack.write")
            disk.write_parts(self._descriptor, parts)


class Compressor:
    """zstd where it pays: judged by a sample, and rarely asked again while nothing pays."""

    def __init__(self) -> None:
        self._compressor = zstd.ZstdCompressor(level=3)
        self._sampler = zstd.ZstdCompressor(level=1)
        self._failures = 0

    def __call__(self, data: bytes | memoryview) -> tuple[bytes | memoryview, int]:
        """The bytes to store, and their codec."""
        if len(data) < 128 or not self._promising(data):
            return data, RAW
        frame = self._compressor.compress(data, mode=zstd.ZstdCompressor.FLUSH_FRAME)
        return (frame, ZSTD) if len(frame) <= _WORTH * len(data) else (data, RAW)

    def _promising(self, data: bytes | memoryview) -> bool:
        # After n failures in a row only every (n/8)-th is looked at, up to every 32nd.
        patience = min(self._failures // 8, 31)
        if patience and self._failures % (patience + 1):
            self._failures += 1
            return False
        middle = max(0, len(data) // 2 - _SAMPLE // 2)
        sample = memoryview(data)[middle : middle + _SAMPLE]
        frame = self._sampler.compress(sample, mode=zstd.ZstdCompressor.FLUSH_FRAME)
        if len(frame) <= _WORTH * len(sample):
            self._failures = 0
            return True
        self._failures += 1
        return False


class PackReader:
    """Reads records out of packs by position. Keeps some files open; safe for many threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: OrderedDict[str, _OpenFile] = OrderedDict()
        self._lock = threading.Lock()

    def content(self, pack: str, record: Record) -> bytes:
        """The content of a record. Raises `OSError` where the file is gone, `Corrupt` where its bytes are others."""
        data = unpack(record, self.stored(pack, record))
        if hashlib.sha256(data).digest() != record.digest:
            raise Corrupt(f"a record of {pack} has other content than its name says", code="corrupt-pack")
        return data

    def stored(self, pack: str, record: Record) -> bytes:
        """The bytes of a record as they lie in the pack."""
        file = self._file(pack)
        return disk.read_at(file.descriptor, record.stored, record.offset)

    def forget(self, pack: str) -> None:
        """Close the file of a pack that was removed."""
        with self._lock:
            self._open.pop(pack, None)

    def close(self) -> None:
        with self._lock:
            self._open.clear()

    def _file(self, pack: str) -> _OpenFile:
        with self._lock:
            file = self._open.get(pack)
            if file is None:
                file = self._open[pack] = _OpenFile(self._root / pack)
                if len(self._open) > _OPEN_FILES:
                    self._open.popitem(last=False)
            self._open.move_to_end(pack)
            return file


class _OpenFile:
    """A descriptor that closes when nobody uses it any more, so that no reader reads from a number used again."""

    def __init__(self, path: Path) -> None:
        self.descriptor = disk.open_descriptor(path)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


def unpack(record: Record, stored: bytes) -> bytes:
    """The content of a record's bytes. Raises `Corrupt`."""
    if record.codec == BARE:
        return stored
    if len(stored) != record.stored or record.crc != (zlib.crc32(stored) if record.codec == ZSTD else 0):
        raise Corrupt("a record of a pack has other bytes than were written", code="corrupt-pack")
    if record.codec == RAW and record.size == record.stored:
        return stored
    if record.codec != ZSTD:
        raise Corrupt(f"a record has the unknown codec {record.codec}", code="corrupt-pack")
    try:
        reader = zstd.ZstdDecompressor()
        data = reader.decompress(stored, max_length=record.size + 1)
    except zstd.ZstdError as cause:
        raise Corrupt(f"a record cannot be decompressed: {cause}", code="corrupt-pack") from cause
    if len(data) != record.size or not reader.eof or reader.unused_data:
        raise Corrupt("a record has another length than its index says", code="corrupt-pack")
    return data


def read_records(path: Path) -> list[Record]:
    """The records that a pack itself names. Raises `Corrupt`, or `OSError` where it cannot be read."""
    descriptor = disk.open_descriptor(path)
    try:
        length = os.fstat(descriptor).st_size
        foot = disk.read_at(descriptor, packing.FOOT_BYTES, max(0, length - packing.FOOT_BYTES))
        offset, _, name = packing.read_foot(foot, length)
        index = disk.read_at(descriptor, length - packing.FOOT_BYTES - offset, offset)
        return packing.read_index(index, offset, name)
    finally:
        os.close(descriptor)


def search(folder: Path, digest: bytes, kind: int) -> Iterator[tuple[str, Record]]:
    """Every record of a digest, asked of the packs themselves: slow, for when the index does not know it."""
    for path in sorted(folder.glob("*.pack")) if folder.is_dir() else ():
        try:
            records = read_records(path)
        except (Corrupt, OSError):
            continue  # `fsck` reports it
        keys = [(record.digest, record.kind) for record in records]
        position = bisect_left(keys, (digest, kind))
        if position < len(keys) and keys[position] == (digest, kind):
            yield f"{FOLDER}/{path.name}", records[position]
