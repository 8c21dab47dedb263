"""What happens by itself while a server runs: sealing, assessing, signing, renewing in the last fifth of a lease."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING

from stellwerk.core.errors import StellwerkError
from stellwerk.releases.rules import due_for_renewal
from stellwerk.workspace import watching

if TYPE_CHECKING:
    from stellwerk.workspace.rooms import Rooms

LOGGER = logging.getLogger("stellwerk.caretaker")
EVERY_SECONDS = 30.0
ASSESS_EVERY = timedelta(hours=6)
RENEW_EVERY = timedelta(days=1)


class Caretaker:
    """A thread beside the server. Its errors are logged and never stop it."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._assessed: dict[str, datetime] = {}
        self._asked: dict[str, datetime] = {}
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
        """Look after every endpoint once, and sign what was written since the last time."""
        now = self._rooms.clock.now()
        for endpoint in self._rooms.interlocking.endpoints():
            try:
                self._look_after(endpoint.name, now)
            except StellwerkError as problem:
                LOGGER.warning("%s: %s (%s)", endpoint.name, problem, problem.code)
            except Exception:  # one endpoint must not keep the others waiting
                LOGGER.exception("%s: looking after it failed", endpoint.name)
        self._rooms.sign_off()

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
