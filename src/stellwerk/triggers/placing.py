"""Putting causes into the queue of a trigger, within one transaction, and telling the ledger what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from stellwerk.core.errors import Refused
from stellwerk.ledger.ports import Transaction
from stellwerk.triggers import rules
from stellwerk.triggers.model import Cause, Firing, Trigger
from stellwerk.triggers.ports import Calendar
from stellwerk.triggers.shelves import FIRINGS, TRIGGERS

NAMED = 20
"""Causes that one entry of the ledger names; it counts the others."""


@dataclass
class _Dropped:
    """Causes that led to nothing for one reason."""

    count: int = 0
    keys: list[str] = field(default_factory=list)


class Placing:
    """One trigger's queue while causes are put into it. `close` writes what became of them."""

    def __init__(self, tx: Transaction, trigger: Trigger, calendar: Calendar, now: datetime) -> None:
        self._tx, self.trigger, self._calendar, self._now = tx, trigger, calendar, now
        self._waiting = sorted(FIRINGS.select(tx, trigger=trigger.id, status="queued"), key=rules.in_turn)
        last = FIRINGS.select(tx, trigger=trigger.id, order="-due_at", limit=1)
        self._last = last[0] if last else None
        self._new: dict[str, Firing] = {}
        self._grown: dict[str, tuple[Firing, list[str]]] = {}
        self._dropped: dict[str, _Dropped] = {}

    @property
    def room(self) -> int:
        """How many firings more may wait."""
        return max(0, self.trigger.limits.queue - len(self._waiting))

    def put(
        self, cause: Cause, *, due_at: datetime | None = None, expires_at: datetime | None = None
    ) -> rules.Fires | rules.Joins | rules.Drops:
        """Decide what becomes of a cause. The newest comes last."""
        placed = rules.place(
            self.trigger,
            cause,
            now=self._now,
            waiting=self._waiting,
            last=self._last,
            due_at=due_at,
            expires_at=expires_at,
            params=rules.filled(self.trigger, cause, self._calendar),
        )
        if isinstance(placed, rules.Drops):
            self.drop(placed.why, cause.key)
        elif isinstance(placed, rules.Joins):
            self._waiting[-1] = placed.firing
            if placed.firing.id in self._new:
                self._new[placed.firing.id] = placed.firing
            else:
                _, keys = self._grown.get(placed.firing.id, (placed.firing, []))
                self._grown[placed.firing.id] = (placed.firing, [*keys, cause.key])
        else:
            self._new[placed.firing.id] = self._last = placed.firing
            self._waiting.append(placed.firing)
        return placed

    def drop(self, why: str, key: str, count: int = 1) -> None:
        """Note that causes led to nothing."""
        known = self._dropped.setdefault(why, _Dropped())
        known.count += count
        known.keys = [*known.keys, key][-NAMED:]

    def close(self, changed: Trigger | None = None) -> Sequence[Firing]:
        """Write everything, with how far the trigger was judged; returns the new firings."""
        about = f"trigger:{self.trigger.name}"
        for firing in self._new.values():
            FIRINGS.insert(self._tx, firing)  # which fails where the same cause has fired already
            self._tx.record("trigger.fired", about, _told(firing))
        for firing, keys in self._grown.values():
            FIRINGS.put(self._tx, firing)
            told = {"firing": firing.id, "causes": keys[-NAMED:], "count": len(keys)}
            self._tx.record("trigger.joined", about, told)
        for why, dropped in self._dropped.items():
            told = {"why": why, "causes": dropped.keys, "count": dropped.count}
            self._tx.record("trigger.dropped", about, told)
        if changed is not None and changed != self.trigger:
            TRIGGERS.put(self._tx, changed)
        return tuple(self._new.values())

    def must(self, cause: Cause) -> Firing:
        """The firing of a cause that somebody asks for. Raises `Refused` where nothing comes of it."""
        placed = self.put(cause)
        if isinstance(placed, rules.Drops):
            raise Refused(
                f"the trigger {self.trigger.name!r} is not fired: {placed.why}",
                code="queue-full",
                hint="`stellwerk triggers run` runs what waits",
            )
        self.close()
        return placed.firing


def _told(firing: Firing) -> dict[str, object]:
    told: dict[str, object] = {
        "firing": firing.id,
        "pipeline": firing.pipeline,
        "params": firing.params,
        "cause": firing.cause.key,
        "text": firing.cause.text,
    }
    told |= {"digest": firing.cause.digest} if firing.cause.digest else {}
    told |= {"joined": list(firing.joined), "others": firing.others} if firing.others else {}
    return told | ({"depth": firing.cause.depth} if firing.cause.depth else {})
