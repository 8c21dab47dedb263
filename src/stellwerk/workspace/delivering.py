"""Webhooks are told what happened while a server runs, beside its requests, which never wait for them."""

from __future__ import annotations

import logging
import time
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stellwerk.workspace.rooms import Rooms

LOGGER = logging.getLogger("stellwerk.delivery")
EVERY_SECONDS = 1.0
AT_ONCE = 4
"""Webhooks that are told at the same time, so that one slow receiver does not keep all others waiting."""
STOP_SECONDS = 10.0


class Deliveries:
    """A thread that looks for news, and one for each webhook that is being told. Errors are logged and stop nothing."""

    def __init__(self, rooms: Rooms, every: float = EVERY_SECONDS) -> None:
        self._rooms, self._every = rooms, every
        self._end, self._lock = Event(), Lock()
        self._busy: dict[str, Thread] = {}
        self._thread = Thread(target=self._work, name="deliveries", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the deliveries under way. What was not told is told by the next server."""
        self._end.set()
        until = time.monotonic() + STOP_SECONDS
        with self._lock:
            threads = [self._thread, *self._busy.values()]
        for thread in threads:
            thread.join(timeout=max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        while not self._end.wait(self._every):
            try:
                for webhook in self._rooms.courier.due():
                    self._begin(webhook)
            except Exception:  # the next look tries again
                LOGGER.exception("looking for deliveries failed")

    def _begin(self, webhook: str) -> None:
        with self._lock:
            if webhook in self._busy or len(self._busy) >= AT_ONCE:
                return
            thread = Thread(target=self._serve, args=(webhook,), name="delivery", daemon=True)
            self._busy[webhook] = thread
            thread.start()

    def _serve(self, webhook: str) -> None:
        try:
            self._rooms.courier.serve(webhook)
        except Exception:  # tried again at the next look
            LOGGER.exception("a delivery failed")
        finally:
            with self._lock:
                self._busy.pop(webhook, None)
