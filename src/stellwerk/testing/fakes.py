"""Small real implementations of the ports of the ground floor, for tests that need no disk and no waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from stellwerk.core.digest import Digest, of_bytes, parse
from stellwerk.core.errors import Corrupt, NotFound
from stellwerk.store.rules import checked_range


class StandingClock:
    """A clock that moves only when told."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        """Move on (or back, as real clocks do)."""
        self._now += by


class MemoryBlobs:
    """Blobs in a dictionary: the `Blobs` port without a disk, verified like the others."""

    def __init__(self, chunk: int = 1 << 20) -> None:
        self._kept: dict[Digest, bytes] = {}
        self._lock = threading.Lock()
        self._chunk = chunk

    def put(self, data: bytes) -> Digest:
        digest = of_bytes(data)
        with self._lock:
            self._kept[digest] = bytes(data)
        return digest

    def put_stream(self, chunks: Iterable[bytes]) -> Digest:
        return self.put(b"".join(chunks))

    def put_many(self, items: Iterable[bytes]) -> list[Digest]:
        return [self.put(item) for item in items]

    def get(self, digest: Digest) -> bytes:
        data = self._find(digest)
        if of_bytes(data) != digest:
            raise Corrupt(f"blob {digest} has other content than its name says", code="corrupt-blob")
        return data

    def stream(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        data = self._find(digest)[checked_range(start, stop)]
        last = max(0, (len(data) - 1) // self._chunk * self._chunk)
        for position in range(0, last, self._chunk):
            yield data[position : position + self._chunk]
        self.get(digest)
        yield data[last:]

    def has(self, digest: Digest) -> bool:
        return parse(digest) in self._kept

    def size(self, digest: Digest) -> int:
        return len(self._find(digest))

    def __iter__(self) -> Iterator[Digest]:
        yield from sorted(self._kept)

    def remove(self, digests: Iterable[Digest]) -> int:
        with self._lock:
            return sum(len(self._kept.pop(digest, b"")) for digest in digests)

    def flip(self, digest: Digest, position: int) -> None:
        """Damage one byte of a blob, as a bad disk would."""
        data = bytearray(self._kept[digest])
        data[position] ^= 0x01
        self._kept[digest] = bytes(data)

    def _find(self, digest: Digest) -> bytes:
        try:
            return self._kept[parse(digest)]
        except KeyError as cause:
            raise NotFound(f"no blob {digest}") from cause
