"""While a server runs, it looks for what fires triggers, and only that: what is due waits for a runner."""

from __future__ import annotations

import logging
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stellwerk.workspace.rooms import Rooms

LOGGER = logging.getLogger("stellwerk.triggers")
EVERY_SECONDS = 2.0
STOP_SECONDS = 5.0


class Looking:
    """A thread that looks. Errors are logged and stop nothing."""

    def __init__(self, rooms: Rooms, every: float = EVERY_SECONDS) -> None:
        self._rooms, self._every = rooms, every
        self._end = Event()
        self._thread = Thread(target=self._work, name="triggers", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the look under way."""
        self._end.set()
        self._thread.join(STOP_SECONDS)

    def _work(self) -> None:
        while not self._end.wait(self._every):
            try:
                self._rooms.queue.reconcile()
                self._rooms.lookout.look()
            except Exception:  # the next look tries again
                LOGGER.exception("looking for what fires triggers failed")
