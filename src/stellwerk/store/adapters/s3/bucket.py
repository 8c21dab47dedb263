"""A bucket that holds a store, as one process uses it: its objects and marker, threads, and errors in our own words."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from threading import Lock
from typing import Any

from stellwerk.core.clock import monotonic
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Corrupt, NotFound, Unavailable
from stellwerk.store.adapters.objects import Head, Objects
from stellwerk.store.adapters.s3.marker import Marker

WORKERS = 16
AHEAD = 4
"""Chunks under way at once, for each stream."""
ATTEMPTS = 3
RECENT_SECONDS, MAX_RECENT = 60.0, 10_000


class Bucket:
    """What writing, reading and removing have in common.

    Attributes:
        recent: Blobs that were acknowledged a moment ago.
    """

    def __init__(self, objects: Objects, owner: str) -> None:
        self.objects = objects
        self.recent = Recent()
        self._marker = Marker(objects, owner)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="stellwerk-s3")
        self._offset: float | None = None

    def claim(self, owner: str) -> None:
        """Belong to one workspace from now on, which alone may remove blobs. Raises `Conflict` if another's."""
        with self.errors():
            self._marker.claim(owner)

    def must_be_ours(self) -> None:
        """Raises `Refused` where another workspace relies on what is here."""
        with self.errors():
            self._marker.must_be_ours()

    def recognise(self, *, make: bool = False) -> None:
        """Look once whether this is a store that we can read; a new one is begun by the first write."""
        if not self._marker.known:
            with self.errors():
                self._marker.recognise(make=make)

    def age(self, head: Head) -> timedelta:
        """How old an object is by the clock of the service, which wrote its time."""
        if self._offset is None:
            probe = f"incoming/{secrets.token_hex(16)}-clock"
            self.objects.put(probe, b"", create=False)
            there = self.objects.insist(lambda: self.objects.head(probe)).modified
            self.objects.delete([probe])
            self._offset = there.timestamp() - monotonic()
        return timedelta(seconds=self._offset + monotonic() - head.modified.timestamp())

    def ahead(self, work: Callable[[Any], Any], items: Iterable[Any], many: int) -> Iterator[Any]:
        """Results in order, some begun before they are asked for. After an error nothing more is begun."""
        under_way: deque[Future[Any]] = deque()
        try:
            for item in items:
                under_way.append(self._pool.submit(work, item))
                if len(under_way) >= many:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()

    @contextmanager
    def errors(self, digest: Digest | None = None) -> Iterator[None]:
        """What the service says of objects, said of blobs."""
        try:
            yield
        except FileNotFoundError as cause:
            if digest is not None and digest in self.recent:
                raise _not_yet(digest) from cause
            raise NotFound(f"no blob {digest}", hint="`stellwerk fsck` lists what is missing") from cause
        except FileExistsError as cause:
            raise Unavailable("somebody else wrote at the same time", code="s3-unavailable") from cause

    def close(self) -> None:
        """Release threads and connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Recent:
    """Blobs that were acknowledged a moment ago: one that is not seen yet is no missing one."""

    def __init__(self) -> None:
        self._until: dict[Digest, float] = {}
        self._lock = Lock()

    def add(self, digest: Digest) -> None:
        with self._lock:
            self._until[digest] = monotonic() + RECENT_SECONDS
            if len(self._until) > MAX_RECENT:
                del self._until[next(iter(self._until))]

    def discard(self, digest: Digest) -> None:
        with self._lock:
            self._until.pop(digest, None)

    def __contains__(self, digest: Digest) -> bool:
        return self._until.get(digest, 0.0) > monotonic()


def corrupt(digest: Digest, got: str) -> Corrupt:
    return Corrupt(
        f"blob {digest} has other content than its name says ({got})",
        code="corrupt-blob",
        hint="`stellwerk repair --from PLACE` fetches it from another store; the copy there was not changed",
    )


def _not_yet(digest: Digest) -> Unavailable:
    return Unavailable(
        f"blob {digest} was kept a moment ago and is not seen yet", code="s3-unavailable", hint="try again"
    )
