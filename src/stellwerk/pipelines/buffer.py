"""What an execution has made and done, kept in batches: bytes first, then the entries that name them.

A commit costs more than many a step, so what short steps give is kept together. The promise stays: results are
committed in the order in which they came, each with everything that it was made from, so that whatever ends the
execution loses the last moments of work at most, and never the middle of it. Nothing waits longer than `patience`,
even while a step runs, because a thread of its own looks after that.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from stellwerk.core import failpoints
from stellwerk.core.clock import monotonic
from stellwerk.core.digest import Digest, of_bytes

if TYPE_CHECKING:
    from stellwerk.pipelines.model import Event, StepResult
    from stellwerk.pipelines.ports import Blobs, Journal

failpoints.declare("step-stored", "step-committed")

PATIENCE = 0.1
MAX_BYTES = 8 << 20
MAX_EVENTS = 1000
CACHED_BYTES = 32 << 20
BEAT = 20.0
"""Seconds after which the journal hears from an execution that has nothing to tell."""


class Buffer:
    """Blobs and journal of one execution, written behind.

    Args:
        patience: Seconds that something may wait to be kept; 0 keeps everything at once.
    """

    def __init__(self, blobs: Blobs, journal: Journal, *, patience: float = PATIENCE) -> None:
        self._blobs, self._journal, self._patience = blobs, journal, patience
        self._bytes: dict[Digest, bytes] = {}
        self._events: list[Event] = []
        self._since: float | None = None
        self._size = 0
        self._recent: OrderedDict[Digest, bytes] = OrderedDict()
        self._recent_size = 0
        self._first: dict[str, StepResult] = {}
        self._error: BaseException | None = None
        self._closed = False
        self._lock = threading.Lock()  # around what is pending
        self._writing = threading.RLock()  # around a batch that is being kept, so that batches keep their order
        self._wake = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None

    def put(self, data: bytes) -> Digest:
        """Name bytes, and keep them with the next batch."""
        digest = of_bytes(data)
        with self._lock:
            self._bytes.setdefault(digest, data)
            self._size += len(data)
            self._touch()
        return digest

    def get(self, digest: Digest) -> bytes:
        """The bytes of a name, kept or about to be."""
        with self._lock:
            found = self._bytes.get(digest, self._recent.get(digest))
        return self._remember(digest, self._blobs.get(digest)) if found is None else found

    def lookup(self, key: Digest) -> StepResult | None:
        """The result committed under a key."""
        return self._journal.lookup(key)

    def note(self, *events: Event) -> None:
        """Write down what happened, with the next batch."""
        with self._lock:
            self._events += events
            self._touch()

    def settle(self) -> dict[str, StepResult]:
        """Keep what is due; by task the results that others had committed first."""
        with self._lock:
            waited = 0.0 if self._since is None else monotonic() - self._since
            due = waited >= self._patience or self._size > MAX_BYTES or len(self._events) > MAX_EVENTS
            pending = bool(self._bytes or self._events)
        if pending and due:
            self.flush()
        with self._lock:
            self._raise()
            first, self._first = self._first, {}
        return first

    def flush(self) -> None:
        """Keep everything now."""
        with self._writing:
            with self._lock:
                self._raise()
                data, self._bytes = self._bytes, {}
                events, self._events = self._events, []
                self._since, self._size = None, 0
                for digest, one in data.items():
                    self._keep_recent(digest, one)
            if data:
                self._blobs.put_many(data.values())
                failpoints.hit("step-stored")
            if events:
                first = self._journal.write(events)
                if any(event.kind == "node-finished" for event in events):
                    failpoints.hit("step-committed")
                with self._lock:
                    self._first.update(first)

    def close(self) -> None:
        """Keep everything, and end the thread."""
        with self._lock:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def abandon(self) -> None:
        """End the thread, and keep nothing more."""
        with self._lock:
            self._closed = True
            self._bytes, self._events = {}, []
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    # Inside; with the lock held

    def _touch(self) -> None:
        if self._since is None:
            self._since = monotonic()
            if self._patience and self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._look_after, name="stellwerk-journal", daemon=True)
                self._thread.start()
            else:
                self._wake.notify()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _keep_recent(self, digest: Digest, data: bytes) -> None:
        if len(data) > CACHED_BYTES // 4 or digest in self._recent:
            return
        self._recent[digest] = data
        self._recent_size += len(data)
        while self._recent_size > CACHED_BYTES:
            self._recent_size -= len(self._recent.popitem(last=False)[1])

    def _remember(self, digest: Digest, data: bytes) -> bytes:
        with self._lock:
            self._keep_recent(digest, data)
        return data

    # The thread

    def _look_after(self) -> None:
        """Keep what is pending while the engine is busy with a step."""
        while True:
            with self._lock:
                while not self._closed:
                    left = None if self._since is None else self._since + self._patience - monotonic()
                    if left is not None and left <= 0:
                        break
                    if not self._wake.wait(BEAT if left is None else left) and left is None:
                        break
                if self._closed:
                    return
                alive = self._since is None
            try:
                if alive:
                    self._journal.request()
                else:
                    self.flush()
            except BaseException as error:  # noqa: BLE001  # the engine hears of it as soon as it looks
                with self._lock:
                    self._error = error
                return
