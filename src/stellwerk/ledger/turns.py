"""Taking turns: threads of one process in the order they came, and processes so that none waits for ever."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stellwerk.core.clock import monotonic


class Turn:
    """A lock that is handed over in the order of asking. Whoever has it decides whether to hand it over or to end it."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._taken = False
        self._owner: int | None = None
        self._queue: deque[threading.Lock] = deque()

    def mine(self) -> bool:
        """Whether this thread has the turn."""
        return self._owner == threading.get_ident()

    def take(self, seconds: float) -> bool:
        """Wait for the turn; False where it did not come in time.

        An interrupt passes through, and may leave this thread with the turn: ask `mine`.
        """
        with self._mutex:
            if not self._taken:
                self._taken, self._owner = True, threading.get_ident()
                return True
            gate = threading.Lock()
            gate.acquire()
            self._queue.append(gate)
        try:
            came = gate.acquire(timeout=seconds)
        finally:
            with self._mutex:
                if gate in self._queue:
                    self._queue.remove(gate)
                    came = False
                else:
                    self._owner, came = threading.get_ident(), True
        return came

    def hand_over(self) -> bool:
        """Give the turn to the next in line; False where nobody waits, and the turn stays."""
        with self._mutex:
            if not self._queue:
                return False
            self._owner = None
            self._queue.popleft().release()
            return True

    def end(self) -> None:
        """Give the turn to the next in line, or back."""
        with self._mutex:
            self._owner = None
            if self._queue:
                self._queue.popleft().release()
            else:
                self._taken = False


class Latch:
    """Closed until it is opened, once and for all. Who waits goes through one after the other, not all at once."""

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()
        self._opened = False

    def wait(self) -> None:
        """Wait until it is open."""
        # Each lets the next one through: waking all would have them fight for the interpreter.
        with self._gate:
            pass

    def open(self) -> None:
        """Let everybody through. For one thread at a time."""
        if not self._opened:
            self._opened = True
            self._gate.release()


class Queue:
    """One place before a lock that several processes want: only who holds the place may try for the lock.

    Who has just given the lock back must come here first, and finds the place taken by the one who waits: so a busy
    server cannot keep a command waiting for ever. It is a courtesy, not a guard: where files cannot be locked, all
    simply try.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @contextmanager
    def place(self, deadline: float) -> Iterator[None]:
        """Hold the place; past the deadline of the monotonic clock, go on without it."""
        held = self._take(deadline)
        try:
            yield
        finally:
            if held and self._descriptor is not None:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the file back."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _take(self, deadline: float) -> bool:
        pause = 0.0005
        while True:
            try:
                if self._descriptor is None:
                    self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if monotonic() > deadline:
                    return False
                time.sleep(pause)  # `flock` waits without a deadline, or not at all
                pause = min(pause * 1.5, 0.01)
            except OSError:
                return False
