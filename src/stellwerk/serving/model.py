"""Predictions as they are logged and answered. How they come about is in `rules` and `service`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from stellwerk.core.digest import Digest
from stellwerk.models.model import Task
from stellwerk.releases.model import Signal

Scalar: TypeAlias = str | int | float | bool | None
"""One value of a column; None means unknown."""
Score: TypeAlias = float | tuple[float | None, ...] | None
"""The probability of the second class, all probabilities by class, or a number; None where there is none."""

RECORD_FORMAT: Literal["stellwerk-prediction/1"] = "stellwerk-prediction/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request and one file of the log may hold: the one table for server, documentation and tests."""

    rows: int = 100_000
    columns: int = 2_000
    body_bytes: int = 32 * 2**20
    text: int = 10_000
    """Characters of one value."""
    key: int = 256
    """Characters of a caller's own reference."""
    concurrent: int = 64
    """Requests under way at once; more are told to come back."""
    segment_bytes: int = 64 * 2**20
    """Size at which the log begins a new file."""


LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Steer:
    """Why one row did not simply leave as predicted.

    `audit` and `caution` rows are still answered; `slice` and `stop` rows are not, a person decides them.
    `probability` is how likely this row was to be treated so, for weighting what people find out.
    """

    kind: Literal["audit", "slice", "caution", "stop"]
    reason: str
    probability: float

    @property
    def withheld(self) -> bool:
        """Whether the caller gets no automatic prediction."""
        return self.kind in ("slice", "stop")

    @property
    def to_people(self) -> bool:
        """Whether a person should see the row."""
        return self.kind != "caution"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionBatch:
    """What one request asked and was answered. Prediction `row` is named `f"{id}-{row}"`."""

    id: str
    at: datetime
    workspace: str
    endpoint: str
    release: str
    """Empty when no release held and people decided."""
    model: Digest
    """Empty when no model was asked."""
    signal: Signal
    audit_share: float
    """The probability with which each row that was not steered otherwise went to people (law 11)."""
    count: int
    columns: dict[str, tuple[Scalar, ...]]
    scores: tuple[Score, ...]
    """What the model said, also where the caller was not told."""
    answers: tuple[str | float | None, ...]
    """What the caller was told; None where a person decides."""
    steered: dict[int, Steer] = field(default_factory=dict)
    keys: tuple[str | None, ...] = ()
    """The caller's own reference of each row; empty when none were given."""
    format: Literal["stellwerk-prediction/1", "stellwerk-prediction/2"] = RECORD_FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedBatch(PredictionBatch):
    """A batch about people: inputs and references of each row are encrypted under that person's key."""

    sealed: dict[int, str] = field(default_factory=dict)
    """Row → id of the key, a dot, and base64 of what it opens. In a batch that was opened: rows that were erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One row's answer."""

    id: str
    prediction: str | float | None
    scores: tuple[float, ...]
    """Probabilities in the order of the classes, or one number; empty where the row is withheld."""
    steered: str
    """Why the row was steered; empty when it was not."""
    case: str
    """The queue in which a person will see it; empty when nobody will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAnswer:
    """What a caller gets: columns, because a thousand rows must not cost a thousand objects."""

    id: str
    model: Digest
    release: str
    signal: Signal
    why: str
    task: Task | None
    """None when no model was asked."""
    classes: tuple[str, ...]
    predictions: tuple[str | float | None, ...]
    scores: tuple[tuple[float, ...] | None, ...]
    steered: dict[int, Steer]
    queue: str

    @property
    def count(self) -> int:
        """How many rows were answered."""
        return len(self.predictions)

    def row(self, index: int) -> Answer:
        """One row's answer."""
        steer = self.steered.get(index)
        return Answer(
            id=f"{self.id}-{index}",
            prediction=self.predictions[index],
            scores=self.scores[index] or (),
            steered=steer.reason if steer else "",
            case=self.queue if steer and steer.to_people else "",
        )

    @property
    def answers(self) -> tuple[Answer, ...]:
        """All rows' answers."""
        return tuple(self.row(index) for index in range(self.count))


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentInfo:
    """A sealed file of the log: JSON Lines of batches, kept as a blob."""

    endpoint: str
    first: str
    """The smallest batch id in it."""
    last: str
    """The largest batch id in it."""
    digest: Digest
    batches: int
    predictions: int
    sealed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A prediction in the log: its batch, its row, and the segment it is sealed in (None when not yet)."""

    batch: PredictionBatch
    row: int
    segment: Digest | None
