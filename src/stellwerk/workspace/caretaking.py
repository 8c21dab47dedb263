"""What happens by itself while a server runs: sealing, assessing, signing, renewing in the last fifth of a lease."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING

from stellwerk.core.errors import StellwerkError
from stellwerk.releases.rules import due_for_renewal
from stellwerk.store.scrubbing import ROUND
from stellwerk.workspace import scrubbing, watching

if TYPE_CHECKING:
    from stellwerk.workspace.rooms import Rooms

LOGGER = logging.getLogger("stellwerk.caretaker")
EVERY_SECONDS = 30.0
ASSESS_EVERY = timedelta(hours=6)
RENEW_EVERY = timedelta(days=1)
SCRUB_EVERY = timedelta(hours=1)


class Caretaker:
    """A thread beside the server. Its errors are logged and never stop it."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._assessed: dict[str, datetime] = {}
        self._asked: dict[str, datetime] = {}
        self._scrubbed = rooms.clock.now()
        self._end = Event()
        self._thread = Thread(target=self._work, name="caretaker", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the round under way."""
        self._end.set()
        self._thread.join(timeout=10)

    def round(self) -> None:
        """Look after every endpoint once, read on in the store, and sign what was written since the last time."""
        now = self._rooms.clock.now()
        for endpoint in self._rooms.interlocking.endpoints():
            self._attempt(endpoint.name, partial(self._look_after, endpoint.name, now))
        self._attempt("store", partial(self._scrub, now))
        self._rooms.sign_off()

    def _attempt(self, what: str, act: Callable[[], None]) -> None:
        try:
            act()
        except StellwerkError as problem:
            LOGGER.warning("%s: %s (%s)", what, problem, problem.code)
        except Exception:  # one of them must not keep the others waiting
            LOGGER.exception("%s: looking after it failed", what)

    def _scrub(self, now: datetime) -> None:
        """A portion of the store so large that all of it is read within the time of a round."""
        if now - self._scrubbed < SCRUB_EVERY or self._rooms.layout.bucket:
            return  # to list and read a bucket costs money: that is for somebody to decide
        self._scrubbed = now
        folder = self._rooms.layout.blobs
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        found = scrubbing.portion(self._rooms, int(size * (SCRUB_EVERY / ROUND)) + 1)
        if found.damaged:
            LOGGER.error("%d damaged blobs: `stellwerk fsck` lists them", len(found.damaged))

    def _look_after(self, endpoint: str, now: datetime) -> None:
        self._rooms.predictions.seal(endpoint)
        release = self._rooms.interlocking.active(endpoint)
        if release is None or now >= release.expires_at:
            return
        due = due_for_renewal(release.granted_at, release.expires_at, now)
        if due and now - self._asked.get(endpoint, datetime.min.replace(tzinfo=now.tzinfo)) >= RENEW_EVERY:
            self._asked[endpoint] = self._assessed[endpoint] = now
            watching.renew(self._rooms, endpoint)
        elif now - self._assessed.get(endpoint, release.granted_at) >= ASSESS_EVERY:
            self._assessed[endpoint] = now
            watching.assess(self._rooms, endpoint)

    def _work(self) -> None:
        while not self._end.wait(EVERY_SECONDS):
            try:
                self.round()
            except Exception:  # the next round tries again: a thread that dies in silence renews and stops nothing
                LOGGER.exception("a round failed")
