"""What the tracking room needs of others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from stellwerk.core.search import Clause, Order, Subject
from stellwerk.ledger.ports import Reader, Transaction
from stellwerk.tracking.model import Latest, Point, Run, Score
from stellwerk.tracking.segments import Series

THEN = (
    Order(Subject("attribute", "start_time"), descending=True),
    Order(Subject("attribute", "run_id"), descending=False),
)
"""What MLflow's clients expect of equals."""


class Finder(Protocol):
    """An index of runs by what they logged."""

    def enter(self, tx: Transaction, run: Run, before: Run | None = None) -> None:
        """Make a run found by what it has now, and no longer by what it had. Its metrics are left as they are.

        Args:
            before: The run as it was entered the last time, if the caller has it: then only what differs is written.
        """
        ...

    def enter_new(self, tx: Transaction, runs: Sequence[Run]) -> None:
        """Make many runs found that were never entered before."""
        ...

    def find(
        self,
        reader: Reader,
        *,
        where: Sequence[Clause],
        order: Sequence[Order],
        limit: int,
        offset: int,
        deleted: bool | None = False,
        without: Collection[str] = (),
    ) -> list[str]:
        """Ids of the runs that meet all conditions, in order; then the newest first.

        Args:
            deleted: Whether those in the bin are sought, or the others; None for both.
            without: Experiments that are in the bin themselves, and all of their runs with them.
        """
        ...

    def leave(self, tx: Transaction, run: str) -> None:
        """Forget everything about a run."""
        ...


class Points(Protocol):
    """The points of metrics, before they are sealed, and how each metric stands.

    Adding is free of the ledger (docs/decisions/0022): points are many, and sealed when their run ends.
    """

    def add(self, tx: Transaction, run: str, points: Sequence[Point]) -> None:
        """Keep points; what is there already is there once."""
        ...

    def score(self, tx: Transaction, scores: Sequence[Score]) -> None:
        """Keep points of logged models; what is there already is there once."""
        ...

    def scores(self, reader: Reader, model: str) -> list[Score]:
        """Points of a logged model, by metric, step and time."""
        ...

    def stand(self, tx: Transaction, run: str, metrics: Sequence[Latest]) -> None:
        """Say how metrics stand whose points are sealed already."""
        ...

    def latest(self, reader: Reader, runs: Collection[str]) -> Mapping[str, list[Latest]]:
        """How the metrics of runs stand, by run."""
        ...

    def history(self, reader: Reader, run: str, key: str, *, limit: int | None, offset: int) -> list[Point]:
        """Points of one metric that are not sealed, in the order of time, step and value."""
        ...

    def since(self, reader: Reader, run: str, key: str, *, at: int | None = None) -> Series:
        """The same as columns, from a time on."""
        ...

    def count(self, reader: Reader, run: str, key: str | None = None) -> int:
        """How many points are not sealed."""
        ...

    def open(self, reader: Reader, run: str) -> Mapping[str, Series]:
        """All points of a run that are not sealed, by metric."""
        ...

    def clear(self, tx: Transaction, run: str) -> None:
        """Forget the points of a run that were not sealed, after they were; how its metrics stand is kept."""
        ...


class Machine(Protocol):
    """Something that can be looked at while a run runs on it."""

    def look(self) -> Mapping[str, float]:
        """Readings by name, now. What cannot be read is left out."""
        ...
