"""The queue of firings: who takes one to run it, that its run begins once, and how it ended.

A claim is a lease with an epoch. Whoever lost theirs, because they were killed or too slow, begins nothing any more: the
run and its place in the firing are written in one transaction, which only the newest epoch passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from stellwerk.core import failpoints
from stellwerk.core.clock import Clock
from stellwerk.core.errors import Conflict, Invalid
from stellwerk.ledger.ports import Book, Transaction
from stellwerk.ledger.shelf import evolve
from stellwerk.tracking.model import OPEN, Run
from stellwerk.tracking.shelves import RUNS
from stellwerk.triggers import rules
from stellwerk.triggers.model import Firing, Outcome
from stellwerk.triggers.shelves import FIRINGS

failpoints.declare("trigger.claimed", "trigger.begun")

AT_ONCE = 500


class Queue:
    """Firings of one workspace. Safe for many processes and machines."""

    def __init__(self, book: Book, clock: Clock, budget: int) -> None:
        """Take what is asked.

        Args:
            budget: Runs that triggers may begin within an hour.
        """
        self._book, self._clock, self._budget = book, clock, budget

    def claim(self, runner: str, only: Sequence[str] = ()) -> Firing | None:
        """Take the next firing that is due; None where there is none, or the hour has seen enough runs."""
        while True:
            now = self._clock.now()
            with self._book.read() as reader:
                if self._next(reader, now, only) is None:
                    return None
            with self._book.write() as tx:
                found = self._next(tx, now, only)
                if found is None:
                    return None
                taken = rules.claimed(found, runner, now)
                FIRINGS.put(tx, taken)
                if taken.status == "ended":
                    _record_end(tx, taken)
                else:
                    told = {"firing": taken.id, "epoch": taken.epoch, "runner": runner}
                    tx.record("trigger.claimed", f"trigger:{taken.name}", told)
            if taken.status == "claimed":
                failpoints.hit("trigger.claimed")
                return taken

    def beginning(self, tag: str) -> Callable[[Transaction, Run], None]:
        """What is to be written with the run that a tag says it begins for. Raises `Invalid` for no such tag."""
        firing, dot, epoch = tag.partition(".")
        if not dot or not epoch.isdecimal() or len(epoch) > 9:
            raise Invalid(f"{tag[:60]!r} names no firing (expected id.epoch)", code="unknown-firing")
        return lambda tx, run: self._begin(tx, run, firing, int(epoch))

    def _begin(self, tx: Transaction, run: Run, firing: str, epoch: int) -> None:
        """Raises `Conflict` unless this run is the one and only of its firing."""
        found = FIRINGS.find(tx, firing)
        if found is None or found.status != "claimed" or found.epoch != epoch:
            raise Conflict(
                f"the firing {firing[:40]!r} is not this run's to begin any more",
                code="firing-taken",
                hint="another runner has it, or it has ended: `stellwerk triggers show NAME`",
            )
        begun = evolve(found, status="started", run=run.id, started_at=run.started_at, lease_until=None)
        FIRINGS.put(tx, begun)
        told = {"firing": found.id, "run": run.id, "cause": found.cause.key, "epoch": epoch}
        tx.record("trigger.started", f"trigger:{found.name}", told)
        failpoints.hit("trigger.begun")

    def settle(self, firing: str, epoch: int, *, problem: str = "", again: bool = False) -> Firing:
        """Say that the process which should run a firing has ended. What its run became is looked up.

        Args:
            problem: Why it began no run.
            again: What it lacked may be there later.
        """
        now = self._clock.now()
        with self._book.write() as tx:
            found = FIRINGS.get(tx, firing)
            if found.status == "started":
                return _close(tx, found, now)
            if found.status != "claimed" or found.epoch != epoch:
                return found  # it is another's by now
            why = problem or "it ended without a run"
            changed = rules.put_back(found, now, why) if again else rules.ended(found, "failed", now, why)
            FIRINGS.put(tx, changed)
            if changed.status == "ended":
                _record_end(tx, changed)
            else:
                told = {"firing": found.id, "epoch": epoch, "problem": why[:500]}
                tx.record("trigger.put-back", f"trigger:{found.name}", told)
        return changed

    def reconcile(self) -> int:
        """End firings whose runs have ended while nobody watched; returns how many."""
        with self._book.read() as reader:
            started = FIRINGS.select(reader, status="started")
            over = [one for one in started if not _goes_on(RUNS.find(reader, one.run))]
        now = self._clock.now()
        for firing in over:
            with self._book.write() as tx:
                found = FIRINGS.get(tx, firing.id)
                if found.status == "started":
                    _close(tx, found, now)
        return len(over)

    def _next(self, reader: object, now: datetime, only: Sequence[str]) -> Firing | None:
        open_ones = [
            firing
            for status in ("queued", "claimed", "started")
            for firing in FIRINGS.select(reader, status=status, order="due_at", limit=AT_ONCE)  # type: ignore[arg-type]
        ]
        open_ones.sort(key=rules.in_turn)
        recent = FIRINGS.select(reader, order="-started_at", limit=self._budget)  # type: ignore[arg-type]
        begun = sum(one.started_at is not None and one.started_at > now - rules.HOUR for one in recent)
        return rules.next_claim(open_ones, now=now, begun=begun, budget=self._budget, only=only)


def _goes_on(run: Run | None) -> bool:
    return run is not None and run.status in OPEN


def _close(tx: Transaction, firing: Firing, now: datetime) -> Firing:
    """End a firing as its run has ended; where that goes on, nothing is written."""
    run = RUNS.find(tx, firing.run)
    if _goes_on(run):
        return firing
    outcome: Outcome = "lost" if run is None else run.status  # type: ignore[assignment]
    ended = rules.ended(firing, outcome, now, "" if run is None else run.error)
    FIRINGS.put(tx, ended)
    _record_end(tx, ended)
    return ended


def _record_end(tx: Transaction, firing: Firing) -> None:
    told = {"firing": firing.id, "outcome": firing.outcome, "epoch": firing.epoch}
    told |= {"run": firing.run} if firing.run else {}
    told |= {"problem": firing.problem} if firing.problem and not firing.run else {}
    tx.record("trigger.ended", f"trigger:{firing.name}", told)
