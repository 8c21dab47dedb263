"""Opening, listing and deciding cases."""

from __future__ import annotations

from collections.abc import Sequence

from stellwerk.core import canonical
from stellwerk.core.clock import Clock
from stellwerk.core.errors import Conflict, Invalid
from stellwerk.ledger.ports import Book
from stellwerk.ledger.shelf import evolve
from stellwerk.reviews.model import Case
from stellwerk.reviews.shelves import CASES


class Inbox:
    """The cases of one workspace."""

    def __init__(self, book: Book, clock: Clock) -> None:
        self._book, self._clock = book, clock

    def open(self, cases: Sequence[Case]) -> int:
        """Open cases together; those that exist already stay as they are. Returns how many are new."""
        with self._book.write() as tx:
            fresh = [case for case in cases if CASES.find(tx, case.id) is None]
            if not fresh:
                return 0
            for case in fresh:
                CASES.insert(tx, case)
            counts = {kind: sum(case.kind == kind for case in fresh) for kind in sorted({c.kind for c in fresh})}
            for endpoint in sorted({case.endpoint for case in fresh}):
                ids = [case.id for case in fresh if case.endpoint == endpoint]
                tx.record(
                    "cases.opened",
                    f"endpoint:{endpoint}",
                    {"count": len(ids), "kinds": counts, "ids": canonical.digest(ids)},
                )
        return len(fresh)

    def list(self, *, status: str = "open", endpoint: str | None = None, limit: int = 50) -> list[Case]:
        """Cases, the most urgent first."""
        equal = {"status": status} if endpoint is None else {"status": status, "endpoint": endpoint}
        with self._book.read() as reader:
            return CASES.select(reader, order="due_at", limit=limit, **equal)  # type: ignore[arg-type]

    def count(self, endpoint: str, status: str = "open") -> int:
        """How many cases an endpoint has in a state."""
        with self._book.read() as reader:
            return CASES.count(reader, endpoint=endpoint, status=status)

    def decide(self, case_id: str, decision: str, reason: str = "") -> Case:
        """Decide a case once. Raises `Conflict` where somebody was first."""
        if not decision.strip():
            raise Invalid("a decision cannot be empty", code="missing-decision")
        with self._book.write() as tx:
            case = CASES.get(tx, case_id)
            if case.status == "decided":
                raise Conflict(f"case {case_id} was decided by {case.decided_by!r}", code="case-decided")
            decided = evolve(
                case,
                status="decided",
                decision=decision,
                reason=reason,
                decided_by=tx.actor,
                decided_at=self._clock.now(),
            )
            CASES.put(tx, decided)
            tx.record(
                "case.decided",
                f"case:{case_id}",
                {"endpoint": case.endpoint, "subject": case.subject, "decision": canonical.digest(decision)},
            )
        return decided
