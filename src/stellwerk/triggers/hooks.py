"""Deliveries from elsewhere: taken once each, if their signature holds. How they are signed is in `signing`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from stellwerk.core.clock import Clock
from stellwerk.core.errors import Refused
from stellwerk.ledger.ports import Book, Transaction
from stellwerk.triggers import rules, signing
from stellwerk.triggers.model import Arrival, Cause, OnWebhook, Taken, Trigger
from stellwerk.triggers.placing import Placing
from stellwerk.triggers.ports import Calendar
from stellwerk.triggers.service import Triggers
from stellwerk.triggers.shelves import ARRIVALS, TRIGGERS

KEPT = 2 * signing.WINDOW
"""After this an id need not be known any more: a delivery with its time is refused as too old."""
_NOBODY = signing.new_secret()
"""What deliveries for nobody are compared with, so that they take as long as others."""


class Hooks:
    """Takes deliveries for one workspace."""

    def __init__(self, book: Book, clock: Clock, calendar: Calendar, triggers: Triggers) -> None:
        self._book, self._clock, self._calendar, self._triggers = book, clock, calendar, triggers

    def take(self, hook: str, headers: Mapping[str, str], body: bytes) -> Taken:
        """Take a delivery; one that was taken before changes nothing.

        Args:
            headers: Names in lower case.

        Raises:
            Refused: `unauthenticated`: nobody has this address, or the signature does not hold, or its time is not now.
        """
        now = self._clock.now()
        trigger, on = self._of(hook)
        secret = self._triggers.secret(trigger) if trigger is not None else _NOBODY
        signed = signing.verified(secret, on.style, headers, body, now)
        if trigger is None or signed is None:
            raise Refused(
                "nothing is taken without a signature that holds, made within the last minutes",
                code="unauthenticated",
                hint="check the address, the secret and the clock of the sender",
            )
        with self._book.write() as tx:
            known = TRIGGERS.find(tx, trigger.name)
            if known is None or known.id != trigger.id:
                raise Refused("nobody has this address", code="unauthenticated")
            return self._put(tx, known, on, signed, now)

    def _of(self, hook: str) -> tuple[Trigger | None, OnWebhook]:
        with self._book.read() as reader:
            found = TRIGGERS.select(reader, id=hook, limit=1) if len(hook) <= 64 and "\0" not in hook else []
        if found and isinstance(found[0].on, OnWebhook):
            return found[0], found[0].on
        return None, OnWebhook()

    def _put(self, tx: Transaction, trigger: Trigger, on: OnWebhook, signed: signing.Signed, now: datetime) -> Taken:
        before = ARRIVALS.find(tx, trigger.id, signed.delivery)
        if before is not None:
            return Taken(status="seen", firing=before.firing)
        if trigger.paused:
            return Taken(status="paused", why="the trigger is paused; nothing was kept")
        placing = Placing(tx, trigger, self._calendar, now)
        placed = placing.put(
            Cause(
                key=f"delivery:{signed.delivery}",
                at=now,
                text=f"delivery {signed.delivery[:80]}",
                digest=f"sha256:{signed.digest}",
            )
        )
        placing.close()
        firing = "" if isinstance(placed, rules.Drops) else placed.firing.id
        if on.style == "standard":
            for old in ARRIVALS.select(tx, trigger=trigger.id, order="at", limit=50):
                if old.at < now - KEPT:
                    ARRIVALS.remove(tx, trigger.id, old.delivery)
        ARRIVALS.insert(tx, Arrival(trigger=trigger.id, delivery=signed.delivery, at=now, firing=firing))
        if isinstance(placed, rules.Drops):
            return Taken(status="dropped", why=placed.why)
        return Taken(status="queued" if isinstance(placed, rules.Fires) else "joined", firing=firing)
