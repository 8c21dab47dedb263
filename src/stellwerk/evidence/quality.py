"""Judging predictions by a plan: floors, ceilings, guardrails, success and slices, each pass, fail or unproven.

The three-valued rule of `methods` 2.1: all floors, guardrails and slices must pass (an intersection–union test, so
each is tested at the full level); of S success metrics one must, so each is tested at a share of the level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stellwerk.core.errors import Invalid
from stellwerk.evidence.metrics import PROPER, Metric, Task, metric
from stellwerk.evidence.model import CheckKind, CheckOutcome, CheckResult, Plan, PlannedGoal
from stellwerk.evidence.statistics.power import n_needed
from stellwerk.evidence.statistics.samples import Bounds

Array = NDArray[Any]

MIN_SLICE = 30
"""Cases below which a slice's bounds are not even computed."""

UNMEASURABLE = ("one-class", "too-few-cases")
"""What a metric says of cases that are too few of a kind. Anything else that it refuses is an error."""
ROUNDING, SUM_ROUNDING = 1e-6, 1e-4
"""How far a probability may lie outside of 0 to 1, and their sum from 1, through rounding."""

SERVICE_METRICS = ("latency_p99_ms",)
"""Goals that are not about predictions; measured by the worker."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What is judged: labels and scores over the same gate cases."""

    task: Task
    labels: Array
    """Class indices (n,) or numbers (n,)."""
    scores: Array
    """(n, k) probabilities or (n,) values of the model."""
    champion: Array | None
    baseline: Array
    """Scores of the constant baseline."""
    slices: Mapping[str, Sequence[str]]
    """Slice column → value of each case."""
    groups: Array | None = None
    """What cases share, such as their day; None where they are independent."""


def quality(plan: Plan, cases: Judged, alpha: float) -> tuple[CheckResult, ...]:
    """All quality checks of a plan at the level of this attempt. Raises `Invalid` for scores that are no answers."""
    _check_scores(cases)
    results: list[CheckResult] = []
    for goal in plan.goals:
        if goal.metric in SERVICE_METRICS:
            continue
        measure = metric(goal.metric, cases.task)
        results += absolute(goal, measure, _bounds(measure, cases, alpha), plan.power)
        if cases.champion is not None:
            results += _guardrail(goal, measure, _gain(measure, cases, cases.champion, alpha), plan.power)
    results += _success(plan, cases, alpha)
    for column in plan.slice_by:
        results += _slices(plan, cases, column, alpha)
    return tuple(results)


def absolute(
    goal: PlannedGoal, measure: Metric | None, bounds: Bounds, power: float, *, suffix: str = ""
) -> list[CheckResult]:
    """Floor and ceiling of one goal from its bounds."""
    title = measure.title if measure else goal.metric
    results = []
    for kind, limit in (("floor", goal.floor), ("ceiling", goal.ceiling)):
        if limit is None:
            continue
        outcome = _judge(bounds, limit) if kind == "floor" else _judge(_mirror(bounds), -limit)
        sign = "at least" if kind == "floor" else "at most"
        results.append(
            _result(
                f"{kind}:{goal.metric}{suffix}",
                "floor" if kind == "floor" else "ceiling",
                outcome,
                f"{title} {_span(bounds)}, wanted {sign} {limit:g}",
                bounds,
                metric=goal.metric,
                limit=limit,
                power=power,
            )
        )
    return results


def _guardrail(goal: PlannedGoal, measure: Metric, gain: Bounds, power: float) -> list[CheckResult]:
    if goal.margin is None:
        return []
    limit = -goal.margin
    return [
        _result(
            f"guardrail:{goal.metric}",
            "guardrail",
            _judge(gain, limit, strict=True),
            f"{measure.title} against the champion on the same cases {_span(gain, signed=True)}, "
            f"wanted above {limit:g}",
            gain,
            metric=goal.metric,
            limit=limit,
            power=power,
        )
    ]


def _success(plan: Plan, cases: Judged, alpha: float) -> list[CheckResult]:
    """Better than the champion in one metric (at a share of the level), and than the constant baseline."""
    name = PROPER[cases.task]
    proper = metric(name, cases.task)
    gain = _gain(proper, cases, cases.baseline, alpha)
    results = [
        _result(
            "floor:baseline",
            "floor",
            _judge(gain, 0.0, strict=True),
            f"{proper.title} improvement on the best constant answer {_span(gain, signed=True)}, wanted above 0",
            gain,
            metric=name,
            limit=0.0,
            power=plan.power,
        )
    ]
    goals = [goal for goal in plan.goals if goal.metric not in SERVICE_METRICS]
    if cases.champion is None:
        return results
    for goal in goals:
        measure = metric(goal.metric, cases.task)
        gain = _gain(measure, cases, cases.champion, alpha / len(goals))
        results.append(
            _result(
                f"success:{goal.metric}",
                "success",
                _judge(gain, 0.0, strict=True),
                f"{measure.title} gain over the champion on the same cases {_span(gain, signed=True)}",
                gain,
                metric=goal.metric,
                limit=0.0,
                power=plan.power,
            )
        )
    return results


def _slices(plan: Plan, cases: Judged, column: str, alpha: float) -> list[CheckResult]:
    values = np.asarray(cases.slices[column], dtype=object)
    results = []
    for value in sorted({str(v) for v in values}):
        rows = np.flatnonzero(values == value)
        for goal in plan.slice_goals:
            results += _slice(goal, cases, column, value, rows, alpha, plan.power)
    return results


def _slice(
    goal: PlannedGoal, cases: Judged, column: str, value: str, rows: Array, alpha: float, power: float
) -> list[CheckResult]:
    measure = metric(goal.metric, cases.task)
    labels, scores = cases.labels[rows], cases.scores[rows]
    groups = None if cases.groups is None else cases.groups[rows]
    name = f"slice:{column}={value}:{goal.metric}"
    limit = goal.floor if goal.floor is not None else goal.ceiling
    single = cases.task != "regression" and len(set(labels.tolist())) < 2
    if len(rows) < MIN_SLICE or single:
        why = f"only {len(rows)} cases" if len(rows) < MIN_SLICE else "only one class occurs"
        return [
            CheckResult(
                name=name,
                kind="slice",
                outcome="unproven",
                text=f"{column} = {value}: {why}, too few for {measure.title}",
                metric=goal.metric,
                limit=limit,
                n=len(rows),
                # When the other class will turn up is not known.
                n_needed=MIN_SLICE - len(rows) if len(rows) < MIN_SLICE else None,
                slice=(column, value),
            )
        ]
    bounds = _or_none(lambda: measure.bounds(labels, scores, alpha, groups), len(rows), alpha)
    found = absolute(goal, measure, bounds, power)
    return [
        replace(
            result,
            name=name if len(found) == 1 else f"{name}:{result.kind}",
            kind="slice",
            text=f"{column} = {value}: {result.text}",
            slice=(column, value),
        )
        for result in found
    ]


def _check_scores(cases: Judged) -> None:
    """Whoever answers 1 to every class would have the best log loss of all."""
    for scores in (cases.scores, cases.champion):
        if scores is None:
            continue
        sound = bool(np.isfinite(scores).all())
        if cases.task != "regression":
            within = scores.min(initial=0.0) >= -ROUNDING and scores.max(initial=0.0) <= 1 + ROUNDING
            sound = sound and bool(within) and bool((np.abs(scores.sum(axis=1) - 1) <= SUM_ROUNDING).all())
        if not sound:
            wanted = "finite numbers" if cases.task == "regression" else "probabilities that sum to 1"
            raise Invalid(f"the model's answers are no {wanted}", code="outside-domain")


def _bounds(measure: Metric, cases: Judged, alpha: float) -> Bounds:
    n = len(cases.labels)
    return _or_none(lambda: measure.bounds(cases.labels, cases.scores, alpha, cases.groups), n, alpha)


def _gain(measure: Metric, cases: Judged, other: Array, alpha: float) -> Bounds:
    n = len(cases.labels)
    return _or_none(lambda: measure.difference(cases.labels, cases.scores, other, alpha, cases.groups), n, alpha)


def _or_none(measured: Callable[[], Bounds], n: int, alpha: float) -> Bounds:
    """Bounds; none at all where the cases are too few, or all of one class: nothing is proven then (law 3)."""
    try:
        return measured()
    except Invalid as cause:
        if cause.code not in UNMEASURABLE:
            raise
        return Bounds(estimate=math.nan, lower=None, upper=None, se=None, alpha=alpha, n=n, method=cause.message)


def _judge(bounds: Bounds, limit: float, *, strict: bool = False) -> CheckOutcome:
    """Pass, fail or unproven by the bound pair; `strict` asks for more than the limit, not for the limit."""
    low, high = bounds.lower, bounds.upper
    if low is not None and (low > limit or (low == limit and not strict)):
        return "pass"
    return "fail" if high is not None and high < limit else "unproven"


def _mirror(bounds: Bounds) -> Bounds:
    return Bounds(
        estimate=-bounds.estimate,
        lower=None if bounds.upper is None else -bounds.upper,
        upper=None if bounds.lower is None else -bounds.lower,
        se=bounds.se,
        alpha=bounds.alpha,
        n=bounds.n,
        method=bounds.method,
    )


def _span(bounds: Bounds, *, signed: bool = False) -> str:
    if math.isnan(bounds.estimate):
        return f"cannot be measured: {bounds.method}"
    form = "{:+.4f}" if signed else "{:.4f}"
    low = "?" if bounds.lower is None else form.format(bounds.lower)
    high = "?" if bounds.upper is None else form.format(bounds.upper)
    return f"{form.format(bounds.estimate)} ({low} to {high}, n = {bounds.n:,})"


def _result(
    name: str,
    kind: CheckKind,
    outcome: CheckOutcome,
    text: str,
    bounds: Bounds,
    *,
    metric: str,
    limit: float,
    power: float,
) -> CheckResult:
    needed = None
    if outcome == "unproven" and bounds.se:
        mirrored = kind == "ceiling"
        estimate, target = (-bounds.estimate, -limit) if mirrored else (bounds.estimate, limit)
        whole = n_needed(estimate, bounds.se, bounds.n, target, alpha=bounds.alpha, power=power)
        needed = None if whole is None else max(1, whole - bounds.n)
    return CheckResult(
        name=name,
        kind=kind,
        outcome=outcome,
        text=text,
        metric=metric,
        estimate=None if math.isnan(bounds.estimate) else bounds.estimate,
        lower=bounds.lower,
        upper=bounds.upper,
        limit=limit,
        n=bounds.n,
        n_needed=needed,
        method=bounds.method,
    )
