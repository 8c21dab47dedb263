"""What the tracking room needs of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stellwerk.core.search import Clause, Order
from stellwerk.ledger.ports import Reader, Transaction
from stellwerk.tracking.model import Run


class Finder(Protocol):
    """An index of runs by what they logged."""

    def enter(self, tx: Transaction, run: Run) -> None:
        """Make a run found by what it has now, and no longer by what it had."""
        ...

    def find(
        self, reader: Reader, *, where: Sequence[Clause], order: Sequence[Order], limit: int, offset: int
    ) -> list[str]:
        """Ids of the runs that meet all conditions, in order; then the newest first."""
        ...
