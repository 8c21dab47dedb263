"""Looking for what fires triggers: times that have come, and entries of the ledger since a trigger was last judged.

Each look judges what is new, in the order of the ledger, in one transaction with how far it got: nothing is judged
twice, however many look at once, and nothing is left out where one of them is killed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from stellwerk.core.clock import Clock
from stellwerk.core.errors import StellwerkError
from stellwerk.data.shelves import CONTRACTS, DATASETS
from stellwerk.ledger.model import Entry
from stellwerk.ledger.ports import Book, Reader, Transaction
from stellwerk.ledger.shelf import evolve
from stellwerk.triggers import events, rules
from stellwerk.triggers.events import Listens
from stellwerk.triggers.model import Cause, Firing, OnData, OnEvent, OnTime, OnWebhook, Trigger
from stellwerk.triggers.placing import Placing
from stellwerk.triggers.ports import Calendar
from stellwerk.triggers.shelves import FIRINGS, TRIGGERS

LOGGER = logging.getLogger("stellwerk.triggers")
AT_ONCE = 200
"""Entries that are judged in one transaction."""


class Lookout:
    """Looks for one workspace. Safe for many threads and processes."""

    def __init__(self, book: Book, clock: Clock, calendar: Calendar) -> None:
        self._book, self._clock, self._calendar = book, clock, calendar
        self._looked: dict[str, tuple[int, int]] = {}
        """Per trigger: where it stood, and up to where nothing was for it."""

    def look(self) -> int:
        """Judge every trigger by what is new; returns how many firings that made. What fails stops no other."""
        with self._book.read() as reader:
            active = [one for one in TRIGGERS.select(reader) if not one.paused]
        made = 0
        for trigger in active:
            try:
                made += len(self._judge(trigger))
            except StellwerkError as problem:
                LOGGER.warning("trigger %s: %s (%s)", trigger.name, problem, problem.code)
        return made

    def _judge(self, trigger: Trigger) -> Sequence[Firing]:
        if isinstance(trigger.on, OnTime):
            return self._by_time(trigger, trigger.on)
        return () if isinstance(trigger.on, OnWebhook) else self._by_entries(trigger, trigger.on)

    # Clocks

    def _by_time(self, trigger: Trigger, on: OnTime) -> Sequence[Firing]:
        now = self._clock.now()
        if rules.due(on, trigger.since, now, self._calendar, room=1) is None:
            return ()
        with self._book.write() as tx:
            known = _still(tx, trigger)
            if known is None:
                return ()
            placing = Placing(tx, known, self._calendar, now)
            due = rules.due(on, known.since, now, self._calendar, room=placing.room)
            if due is None:
                return ()
            for instant in due.instead:
                # They are what the newest stands for, and so come before it in its firing.
                self._tick(placing, known, on, instant)
            for instant in due.fire:
                self._tick(placing, known, on, instant)
            if due.missed:
                why = "nobody looked when its time came, and nothing is caught up"
                placing.drop(why, rules.tick(on, due.since, self._calendar).key, due.missed)
            return placing.close(evolve(known, since=due.since))

    def _tick(self, placing: Placing, trigger: Trigger, on: OnTime, instant: datetime) -> None:
        due_at = rules.jittered(trigger, on, instant)
        expires = due_at + rules.LATE if on.catch_up == "none" else None
        placing.put(rules.tick(on, instant, self._calendar), due_at=due_at, expires_at=expires)

    # The ledger

    def _by_entries(self, trigger: Trigger, on: OnData | OnEvent) -> Sequence[Firing]:
        wanted = events.listens(on)
        stood, looked = self._looked.get(trigger.id, (trigger.next, trigger.next))
        start = looked if stood == trigger.next else trigger.next
        made: list[Firing] = []
        heard: list[Entry] = []
        while True:
            entries = self._book.entries(kinds=wanted.kinds, start=start, limit=AT_ONCE)
            heard += filter(wanted.hears, entries)
            if heard and not wanted.count:
                made += self._write(trigger, on, wanted, heard)
                heard = []
            if entries:
                start = entries[-1].sequence + 1
            if len(entries) < AT_ONCE:
                break
        if heard and _reaches(trigger, heard, wanted.count):
            return self._write(trigger, on, wanted, heard)
        if not made and not heard:
            self._looked[trigger.id] = (trigger.next, start)
        return made

    def _write(
        self, trigger: Trigger, on: OnData | OnEvent, wanted: Listens, entries: Sequence[Entry]
    ) -> Sequence[Firing]:
        with self._book.write() as tx:
            known = _still(tx, trigger)
            new = [entry for entry in entries if known is not None and entry.sequence >= known.next]
            if known is None or not new:
                return ()
            placing, tally = Placing(tx, known, self._calendar, self._clock.now()), dict(known.tally)
            counted = [entry for entry in new if not wanted.count or _full(tally, entry, wanted.count)]
            for entry in counted:
                obstacle = _unproven(tx, on, entry) if isinstance(on, OnData) else ""
                if obstacle:
                    placing.drop(obstacle, f"entry:{entry.sequence}")
                else:
                    placing.put(_cause(tx, entry))
            if not counted:
                return ()  # what was counted is counted again from where it stood
            return placing.close(evolve(known, next=new[-1].sequence + 1, tally=tally))


def _still(tx: Transaction, trigger: Trigger) -> Trigger | None:
    """The trigger as it stands now, if it may still be fired."""
    known = TRIGGERS.find(tx, trigger.name)
    return known if known is not None and known.id == trigger.id and not known.paused else None


def _reaches(trigger: Trigger, entries: Sequence[Entry], wanted: int) -> bool:
    tally = dict(trigger.tally)
    return any(_full(tally, entry, wanted) for entry in entries)


def _full(tally: dict[str, int], entry: Entry, wanted: int) -> bool:
    """Count an entry; whether so much has come together, which then begins anew."""
    group = events.group(entry)
    tally[group] = tally.get(group, 0) + events.amount(entry)
    if tally[group] < wanted:
        return False
    tally[group] = 0
    return True


def _cause(tx: Transaction, entry: Entry) -> Cause:
    firing = FIRINGS.find(tx, str(entry.body.get("caused_by", "")))
    digest = entry.body.get("digest")
    return Cause(
        key=f"entry:{entry.sequence}",
        at=entry.at,
        text=events.said(entry),
        subject=entry.subject[:200],
        digest=digest if isinstance(digest, str) else "",
        depth=0 if firing is None else firing.cause.depth + 1,
    )


def _unproven(reader: Reader, on: OnData, entry: Entry) -> str:
    """Why a version does not count; empty where it does."""
    if on.unchecked:
        return ""
    name, _, number = entry.subject.partition(":")[2].rpartition("@")
    version = DATASETS.find(reader, name, int(number)) if number.isdecimal() else None
    if version is None:
        return "the version is not known any more"
    if version.kind == "files":
        return "it holds files, which no contract is asked about"
    contracts = CONTRACTS.select(reader, name=name, order="-version", limit=1)
    if not contracts or contracts[0].status != "confirmed":
        return "its dataset has no confirmed contract"
    columns = {column for column, _ in version.columns}
    if {rule.name for rule in contracts[0].columns} != columns:
        return "it has other columns than the confirmed contract"
    return ""
