"""Opening, listing and deciding cases."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from stellwerk.access.shelves import GRANTS
from stellwerk.core import canonical, names
from stellwerk.core.clock import Clock
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.ledger.ports import Book, Reader, Transaction
from stellwerk.ledger.shelf import evolve
from stellwerk.reviews import rules
from stellwerk.reviews.model import Case, Taken
from stellwerk.reviews.shelves import CASES, TAKEN

PORTION = 200
"""Cases that are read at a time."""


class Inbox:
    """The cases of one workspace."""

    def __init__(self, book: Book, clock: Clock) -> None:
        self._book, self._clock = book, clock

    def take(self, endpoint: str, source: Digest, cases: Sequence[Case]) -> int:
        """Open the cases of a sealed piece of the log, once, however often a crash makes one ask."""
        with self._book.write() as tx:
            if TAKEN.find(tx, source) is not None:
                return 0
            fresh = [case for case in cases if CASES.find(tx, case.id) is None]
            for case in fresh:
                CASES.insert(tx, case)
            TAKEN.insert(tx, Taken(source=source, endpoint=endpoint, cases=len(fresh), taken_at=self._clock.now()))
            tx.record(
                "cases.opened",
                f"endpoint:{endpoint}",
                {
                    "count": len(fresh),
                    "kinds": {kind: sum(c.kind == kind for c in fresh) for kind in sorted({c.kind for c in fresh})},
                    "ids": canonical.digest([case.id for case in fresh]),
                    "source": source,
                },
            )
        return len(fresh)

    def open(self, case: Case, *, after: str = "") -> Case:
        """Open one case, unless it is there already; the case as it is.

        Args:
            after: The case of the same question that was overdue, if any: it stays open no longer.
        """

        def also(tx: Transaction) -> None:
            before = CASES.find(tx, after) if after else None
            if before is not None and before.status == "open":
                self.close(tx, before, "expired", case.subject)
            facts = {"kind": case.kind, "subject": case.subject, "queue": case.queue}
            tx.record("case.opened", f"case:{case.id}", {**facts, "why": canonical.digest(case.why)})

        return CASES.insert_once(self._book, case, also)

    def get(self, case_id: str) -> Case:
        """One case. Raises `NotFound`."""
        with self._book.read() as reader:
            return CASES.get(reader, case_id)

    def asked(self, first: str) -> list[Case]:
        """The cases of one question, the oldest first; none where it was never asked."""
        with self._book.read() as reader:
            numbers = itertools.count(1)
            found = (CASES.find(reader, rules.numbered(first, number)) for number in numbers)
            return list(itertools.takewhile(lambda case: case is not None, found))  # type: ignore[arg-type]

    def close(self, tx: Transaction, case: Case, status: Literal["withdrawn", "expired"], cause: str) -> None:
        """Let nobody decide a case any more.

        Args:
            cause: What made it so, for the ledger.
        """
        CASES.put(tx, evolve(case, status=status))
        facts = {"endpoint": case.endpoint, "subject": case.subject, "cause": cause}
        tx.record(f"case.{status}", f"case:{case.id}", facts)

    def delegate(self, case_id: str, person: str, *, author: str = "", reason: str = "") -> Case:
        """Ask a person, and nobody else, to decide an open case: a second pair of eyes.

        Args:
            author: Who made what an approval is about.

        Raises:
            Conflict: `case-decided`, `case-withdrawn`, `case-overdue`.
            Refused: `may-not-decide`, `same-pair-of-eyes`.
        """
        with self._book.write() as tx:
            case = CASES.get(tx, case_id)
            rules.must_be_open(case, self._clock.now())
            grant = GRANTS.find(tx, person)
            return self._change(tx, case, rules.handed(case, person, by=tx.actor, grant=grant, author=author), reason)

    def move(self, case_id: str, queue: str, *, reason: str = "") -> Case:
        """Put an open case into another queue. Raises `Conflict` where it is not open any more."""
        names.name(queue, what="queue")
        with self._book.write() as tx:
            case = CASES.get(tx, case_id)
            rules.must_be_open(case, self._clock.now())
            return self._change(tx, case, rules.moved(case, queue), reason)

    def _change(self, tx: Transaction, case: Case, changed: Case, reason: str) -> Case:
        CASES.put(tx, changed)
        was = {"queue": case.queue, "asked": case.asked}
        facts = {"queue": changed.queue, "asked": changed.asked, "was": was, "reason": canonical.digest(reason)}
        tx.record("case.delegated", f"case:{case.id}", {**facts, "to": changed.asked or changed.queue})
        return changed

    def taken(self) -> set[Digest]:
        """The pieces of the log whose cases are open or decided."""
        with self._book.read() as reader:
            return {item.source for item in TAKEN.select(reader)}

    def list(self, *, status: str = "open", endpoint: str | None = None, limit: int = 50) -> list[Case]:
        """Cases as they stand now, the most urgent first: one whose deadline is over is not open any more."""
        equal: dict[str, Any] = {} if endpoint is None else {"endpoint": endpoint}
        with self._book.read() as reader:
            if status not in ("open", "expired"):
                return CASES.select(reader, order="due_at", limit=limit, status=status, **equal)
            found = self._undecided(reader, equal)
            if status == "open":
                return [*itertools.islice((case for case in found if case.status == "open"), limit)]
            late = itertools.islice((case for case in found if case.status == "expired"), limit)
            closed = CASES.select(reader, order="due_at", limit=limit, status=status, **equal)
            return sorted([*closed, *late], key=lambda case: case.due_at)[:limit]

    def _undecided(self, reader: Reader, equal: dict[str, Any]) -> Iterator[Case]:
        """Cases that nobody decided or closed, the most urgent first; expired where their deadline is over."""
        now = self._clock.now()
        for offset in itertools.count(0, PORTION):
            found = CASES.select(reader, order="due_at", limit=PORTION, offset=offset, status="open", **equal)
            yield from (evolve(case, status="expired") if rules.overdue(case, now) else case for case in found)
            if len(found) < PORTION:
                return

    def decide(self, case_id: str, decision: str, reason: str = "") -> Case:
        """Decide a case once. Raises `Conflict` where somebody was first, it was withdrawn, or its deadline is over."""
        if not decision.strip():
            raise Invalid("a decision cannot be empty", code="missing-decision")
        with self._book.write() as tx:
            case = CASES.get(tx, case_id)
            now = self._clock.now()
            rules.must_be_open(case, now)
            rules.must_decide(case, tx.actor)
            options = case.facts.get("options")
            if options and decision not in options:
                raise Invalid(
                    f"{decision!r} is none of the decisions of case {case_id} (expected {', '.join(options)})",
                    code="unknown-decision",
                )
            decided = evolve(
                case,
                status="decided",
                decision=decision,
                reason=reason,
                decided_by=tx.actor,
                decided_at=now,
            )
            CASES.put(tx, decided)
            tx.record(
                "case.decided",
                f"case:{case_id}",
                {"endpoint": case.endpoint, "subject": case.subject, "decision": canonical.digest(decision)},
            )
        return decided
