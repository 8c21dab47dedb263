"""A change as values: two runs side by side, what differs, what may be said of their numbers, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from stellwerk.releases.model import Outcome, Reason

Judgement = Literal["better", "worse", "not distinguishable", ""]
StepStatus = Literal["ran", "cached", "failed", "interrupted", "running", "skipped", "not reached"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two: a run, and the model that came of it.

    Attributes:
        asked: What it was asked for as: a branch, a run or a model version.
        dirty: It ran from files that were not as the commit has them.
        model: `delay@3`; empty where none came of it.
    """

    run: str
    pipeline: str
    status: str
    started_at: datetime
    asked: str = ""
    commit: str = ""
    branch: str = ""
    dirty: bool = False
    model: str = ""
    digest: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One metric on both sides.

    Attributes:
        gain: after − before, or before − after where smaller is better: above zero is better. None without a before.
        lower: Of the gain. None where there is no interval.
        larger_is_better: None where nobody said so.
    """

    name: str
    title: str
    after: float | None
    before: float | None = None
    gain: float | None = None
    lower: float | None = None
    upper: float | None = None
    larger_is_better: bool | None = None
    judgement: Judgement = ""
    method: str = ""
    n: int = 0
    """So many cases were asked, where it is not those of the pairing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """On which rows the two models were asked the same questions, or why they were not.

    Attributes:
        rows: So many rows both kept for selection; 0 where nothing was paired.
        of: How many this side kept.
        columns: By so many they were matched, where the tables have not the same columns.
        why_not: Empty where they were paired.
        note: What must be known to read the numbers.
    """

    rows: int = 0
    of: int = 0
    columns: int = 0
    why_not: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """One thing with another value than before; empty where it is new or gone."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DataChange:
    """A dataset that differs: which versions, what differs between them, and what its contract now promises."""

    name: str
    before: str
    after: str
    lines: tuple[str, ...] = ()
    schema: tuple[str, ...] = ()
    contract: str = ""
    """`2 → 3`, where the promise changed."""
    promises: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeChange:
    """The parts of a step's code that differ."""

    step: str
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLine:
    """How one step ended."""

    name: str
    kind: str
    status: StepStatus
    seconds: float = 0.0
    key: str = ""
    run: str = ""
    error: str = ""
    function: str = ""
    log: str = ""
    """How the log of a failed step ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a proof said of the model on one endpoint."""

    endpoint: str
    outcome: Outcome
    why: str
    attempt: int = 0
    reasons: tuple[Reason, ...] = ()
    n_needed: int | None = None
    valid_until: datetime | None = None
    verdict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a drawing, with both axes from 0 to 1."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """How often each class (row) was called which class (column)."""

    label: str
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Everything that a merge request shows.

    Attributes:
        base: None where there is nothing to compare with; then `no_base` says why.
        outcome: The worst of all verdicts; a failed run is a stop, and no verdict is unproven.
        why: The reason of the outcome, in a sentence.
        paired: What proofs found by asking both models the same gate cases.
        next: The command that would settle it.
    """

    head: Side
    base: Side | None
    outcome: Outcome
    why: str
    made_at: datetime
    no_base: str = ""
    next: str = ""
    verdicts: tuple[Judged, ...] = ()
    metrics: tuple[Measured, ...] = ()
    pairing: Pairing = Pairing()
    paired: tuple[Measured, ...] = ()
    params: tuple[Changed, ...] = ()
    inputs: tuple[str, ...] = ()
    """What the model takes now and did not before (+), or no longer takes (-)."""
    data: tuple[DataChange, ...] = ()
    code: tuple[CodeChange, ...] = ()
    environment: tuple[Changed, ...] = ()
    steps: tuple[StepLine, ...] = ()
    curves: tuple[Line, ...] = ()
    confusions: tuple[Confusion, ...] = ()

    @property
    def failed(self) -> tuple[StepLine, ...]:
        """The steps that failed themselves."""
        return tuple(step for step in self.steps if step.status == "failed")
