"""What monitoring asks of whoever keeps the log of predictions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from stellwerk.core.digest import Digest


class Steered(Protocol):
    """Why one prediction was treated specially."""

    @property
    def withheld(self) -> bool:
        """Whether a person decided instead, so that it says nothing about what is decided automatically."""
        ...


class Batch(Protocol):
    """Predictions that one model gave at one instant. Prediction `row` is named `f"{id}-{row}"`."""

    @property
    def id(self) -> str: ...

    @property
    def at(self) -> datetime: ...

    @property
    def release(self) -> str: ...

    @property
    def model(self) -> Digest: ...

    @property
    def count(self) -> int: ...

    @property
    def columns(self) -> Mapping[str, Sequence[Any]]:
        """The inputs, `count` values per column: numbers, texts, booleans, None for missing. May be empty."""
        ...

    @property
    def scores(self) -> Sequence[Any]:
        """Per prediction: the probability of the second class, a tuple of all probabilities, or a number; or None."""
        ...

    @property
    def steered(self) -> Mapping[int, Steered]:
        """Rows that did not simply leave as they were predicted, and why."""
        ...


class PredictionSource(Protocol):
    """The log of predictions of one workspace."""

    def batches(self, endpoint: str, since: datetime, until: datetime) -> Iterator[Batch]:
        """Batches with since <= at < until, in any order."""
        ...

    def sizes(self, endpoint: str, batches: Collection[str]) -> Mapping[str, int]:
        """How many predictions each of these batches has; batches that are not in the log are left out."""
        ...
