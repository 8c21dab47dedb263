"""One thread that does everything an executor has to do while others work: reads, keeps times, takes calls in turn.

Because all of it happens in one thread, what is called here needs no locks.
"""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import threading
from collections import deque
from collections.abc import Callable

from stellwerk.core.clock import monotonic


class Pump:
    """A thread with a selector.

    Args:
        broken: Is told what a callback raised; the thread goes on.
    """

    def __init__(self, broken: Callable[[BaseException], None]) -> None:
        self._broken = broken
        self._calls: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._awake, self._waker = os.pipe()
        os.set_blocking(self._awake, False)
        os.set_blocking(self._waker, False)
        self._selector.register(self._awake, selectors.EVENT_READ, self._woken)
        self._going = True
        self._lock = threading.Lock()  # around the waker, whose number is somebody else's once it is closed
        self._thread = threading.Thread(target=self._run, name="stellwerk-executor", daemon=True)
        self._thread.start()

    def call(self, callback: Callable[[], None]) -> None:
        """Have something done in the thread, after what was asked for before. From any thread."""
        self._calls.append(callback)
        with self._lock:
            if self._waker >= 0:
                try:
                    os.write(self._waker, b"!")
                except BlockingIOError:  # it is awake
                    pass

    def stop(self, seconds: float) -> None:
        """End the thread after what was asked for before. From any other thread."""
        self.call(self._end)
        self._thread.join(seconds)

    # From within the thread

    def read(self, fd: int, callback: Callable[[], None]) -> None:
        """Call back whenever a descriptor has something to read, or is at its end."""
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def forget(self, fd: int) -> None:
        """Read no more; to be called before the descriptor is closed."""
        try:
            self._selector.unregister(fd)
        except (KeyError, ValueError):
            pass

    def after(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back once, after some time."""
        heapq.heappush(self._timers, (monotonic() + seconds, next(self._numbers), callback))

    def _run(self) -> None:
        while self._going:
            left = max(0.0, self._timers[0][0] - monotonic()) if self._timers else None
            for key, _ in self._selector.select(left):
                # An earlier callback of this round may have forgotten it, and another may have its number by now.
                if self._selector.get_map().get(key.fd) is key:
                    self._do(key.data)
            while self._timers and self._timers[0][0] <= monotonic():
                self._do(heapq.heappop(self._timers)[2])
        self._selector.close()
        os.close(self._awake)
        with self._lock:
            waker, self._waker = self._waker, -1
            os.close(waker)

    def _woken(self) -> None:
        try:
            os.read(self._awake, 1 << 16)
        except BlockingIOError:
            pass
        while self._calls and self._going:
            self._do(self._calls.popleft())

    def _do(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except BaseException as error:  # noqa: BLE001  # told to whoever waits
            self._broken(error)

    def _end(self) -> None:
        self._going = False
