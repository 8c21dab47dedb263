"""The graded verdict of a rebuild (`methods` 2.10): how much of a model came out again when its run was repeated.

Pure: what was recorded and what came out goes in, a level with its reasons comes out. Repeating the run is elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.evidence.model import CheckOutcome, CheckResult

Level = Literal["B", "P", "M", "S", "X"]
LEVELS: tuple[Level, ...] = ("B", "P", "M", "S", "X")
"""The best first."""
MEANING: dict[Level, str] = {
    "B": "bitwise: the same bytes",
    "P": "prediction-equal: other bytes, the same answers",
    "M": "metric-equivalent: other answers, a metric as any other seed would have",
    "S": "same procedure: the seeds scatter around the same metric",
    "X": "not reproducible",
}
PROBES = 512
SAME_HARDWARE, OTHER_HARDWARE = 1e-6, 1e-4
"""How far predictions may lie apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPair:
    """A step as the ledger has it, and as it came out now.

    Attributes:
        inputs: Digests of what it was given then.
        before: Digests of its outputs then, by name.
        now: Digests of its outputs now; empty where it did not come to an end.
        error: Why it did not.
    """

    task: str
    inputs: tuple[Digest, ...]
    before: Mapping[str, Digest]
    now: Mapping[str, Digest]
    error: str = ""

    @property
    def same(self) -> bool:
        return bool(self.before) and not self.error and dict(self.before) == dict(self.now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """What both models answer to the same rows.

    Attributes:
        largest: The largest difference of a probability or value.
        classes: How many rows got another class; 0 for regression.
        same_hardware: Whether both were trained on the same class of hardware; None where nobody recorded it.
    """

    rows: int
    largest: float
    classes: int
    same_hardware: bool | None

    @property
    def tolerance(self) -> float:
        # What nobody recorded is no excuse for a larger difference.
        return OTHER_HARDWARE if self.same_hardware is False else SAME_HARDWARE


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A metric of every seed, then and now, and the seed that was chosen."""

    metric: str
    before: tuple[float, ...]
    now: tuple[float, ...]
    chosen: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Whether the test of one level was passed, and its numbers in a sentence."""

    level: Level
    held: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """The verdict.

    Attributes:
        reasons: The test of each level up to the one that held.
        first: The first step that differs although it was given the same; empty where all steps came out again.
        differing: All such steps: where differences begin. What follows from them is not named.
    """

    level: Level
    reasons: tuple[Reason, ...]
    first: str = ""
    differing: tuple[str, ...] = field(default_factory=tuple)

    def reaches(self, demanded: Level) -> bool:
        return LEVELS.index(self.level) <= LEVELS.index(demanded)


def level(text: str) -> Level:
    """A level by its letter. X cannot be demanded."""
    found = next((one for one in LEVELS if one == text.upper() and one != "X"), None)
    if found is None:
        raise Invalid(f"there is no level {text[:20]!r} to demand (expected B, P, M or S)", code="unknown-level")
    return found


def beginnings(steps: Sequence[StepPair], given: frozenset[Digest]) -> tuple[str, ...]:
    """The steps where a difference begins: all they were given came out again, and what they made did not.

    Args:
        steps: In the order of the plan.
        given: Digests of what no step made, such as dataset versions.
    """
    again = given | {digest for step in steps for digest in step.now.values()}
    return tuple(step.task for step in steps if not step.same and set(step.inputs) <= again)


def grade(
    *,
    model: tuple[Digest, Digest | None],
    steps: Sequence[StepPair],
    given: frozenset[Digest],
    probes: Probes | None = None,
    measured: Measured | None = None,
    margin: float | None = None,
) -> Grade:
    """The best level whose test holds.

    Args:
        model: Digest of the model then and now; None where none came out.
        probes: None where the rebuilt model could not be asked.
        measured: None where the pipeline evaluates nothing.
        margin: By how much means of seeds may differ to count as the same procedure.
    """
    differing = beginnings(steps, given)
    reasons: list[Reason] = []
    for reason in _tests(model, probes, measured, margin):
        reasons.append(reason)
        if reason.held:
            break
    found: Level = reasons[-1].level if reasons[-1].held else "X"
    return Grade(level=found, reasons=tuple(reasons), first=differing[0] if differing else "", differing=differing)


def _tests(
    model: tuple[Digest, Digest | None], probes: Probes | None, measured: Measured | None, margin: float | None
) -> list[Reason]:
    before, now = model
    if now is None:
        return [Reason(level="B", held=False, text="no model came out")]
    said = "the model's files are the same bytes" if before == now else "the model's files are other bytes"
    bitwise = Reason(level="B", held=before == now, text=said)
    return (
        [bitwise]
        if bitwise.held
        else [bitwise, _predictions(probes), _metric(measured), _procedure(measured, margin)]
    )


def _predictions(probes: Probes | None) -> Reason:
    if probes is None or not probes.rows:
        return Reason(level="P", held=False, text="the two models could not be asked the same rows")
    held = probes.largest <= probes.tolerance and not probes.classes
    where = {True: "the same", False: "another", None: "an unknown"}[probes.same_hardware]
    text = (
        f"on {probes.rows:,} rows predictions differ by at most {probes.largest:.3g} (allowed {probes.tolerance:g} on "
        f"{where} class of hardware), and {probes.classes:,} rows get another class"
    )
    return Reason(level="P", held=held, text=text)


def _metric(measured: Measured | None) -> Reason:
    if measured is None or not measured.before or measured.chosen >= len(measured.now):
        return Reason(level="M", held=False, text="no metric was measured both times")
    if len(measured.before) < 2:
        text = f"one seed says nothing about how {measured.metric} scatters (at least 2 are needed)"
        return Reason(level="M", held=False, text=text)
    from stellwerk.evidence.statistics.reproduction import prediction_interval  # what is heavy, only where it is used

    low, high = prediction_interval(measured.before)
    value = measured.now[measured.chosen]
    inside = low <= value <= high
    text = (
        f"{measured.metric} {value:.6g} lies {'inside' if inside else 'outside'} the 99 % prediction interval "
        f"[{low:.6g}, {high:.6g}] of {len(measured.before)} seeds"
    )
    return Reason(level="M", held=inside, text=text)


def _procedure(measured: Measured | None, margin: float | None) -> Reason:
    if measured is None or min(len(measured.before), len(measured.now)) < 2:
        return Reason(level="S", held=False, text="fewer than two seeds were measured both times")
    if margin is None:
        return Reason(level="S", held=False, text=f"nobody said by how much the mean {measured.metric} may differ")
    from stellwerk.evidence.statistics.reproduction import equivalence

    found = equivalence(measured.before, measured.now, margin=margin)
    text = (
        f"the seeds' mean {measured.metric} differs by {found.difference:+.6g} ({found.lower:+.6g} to "
        f"{found.upper:+.6g}), {'within' if found.proven else 'not proven to be within'} ±{margin:g} (p = {found.p:.3g})"
    )
    return Reason(level="S", held=found.proven, text=text)


def checks(found: Grade) -> tuple[CheckResult, ...]:
    """The verdict as evidence: M or better passes, S proves too little, X fails."""
    outcome: CheckOutcome = "pass" if found.reaches("M") else "unproven" if found.level == "S" else "fail"
    said = "; ".join(reason.text for reason in found.reasons)
    first = f"; the first differing step is {found.first}" if found.first else ""
    return (
        CheckResult(
            name="rebuild",
            kind="requirement",
            outcome=outcome,
            text=f"rebuilt at level {found.level}, {MEANING[found.level]}: {said}{first}",
            method="rebuild and compare",
        ),
    )
