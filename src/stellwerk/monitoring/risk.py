"""Losses, metrics and the risk tracker: predictions judged by labels. Which predictions those are is in `rules`.

Arrays are aligned by prediction: scores (n, k) of probabilities or (n,) of values, labels (n,) of class numbers or
values. The statistics themselves are in `evidence`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stellwerk.core.errors import Invalid
from stellwerk.evidence.metrics import METRICS, losses
from stellwerk.evidence.statistics.betting import betting_lower, e_process
from stellwerk.evidence.statistics.bounds import mean_bounds
from stellwerk.evidence.statistics.calibration import expected_accuracy, expected_auc
from stellwerk.evidence.statistics.clusters import clustered_mean
from stellwerk.evidence.statistics.samples import Bounds
from stellwerk.evidence.statistics.sequential import EmpiricalBernstein
from stellwerk.monitoring.model import Baseline, LabelFree, Measure, RiskState, Task
from stellwerk.monitoring.outcomes import instant
from stellwerk.releases.model import Goal

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MIN_MEASURED = 30
"""Fewer labels than this are not measured."""
_LARGEST_EXPONENT = 700.0


def metrics(task: Task, goals: Sequence[Goal]) -> list[str]:
    """What is measured: the owner's metrics that labels can measure; the first one is shown over time."""
    named = [goal.metric for goal in goals if measurable(goal.metric, task)]
    return list(dict.fromkeys(named)) or [{"binary": "auroc", "multiclass": "accuracy", "regression": "mae"}[task]]


def loss_values(task: Task, scores: Floats, labels: Floats, scale: float) -> Floats:
    """Loss per case, within [0, 1]: Brier, or the absolute error in units of `scale`, cut off at 1."""
    if task == "regression":
        return np.minimum(np.abs(scores - labels) / scale, 1.0)
    # Rounding must not push a loss out of [0, 1], where no bound holds.
    return np.clip(losses("brier", labels, scores), 0.0, 1.0)


def error_scale(scores: Floats, labels: Floats) -> float:
    """The absolute error that counts as loss 1: twice what 99 of 100 predictions stay below."""
    errors = np.abs(scores - labels)
    scale = 2 * float(np.quantile(errors, 0.99))
    return scale or float(np.std(labels)) or 1.0


def mean_loss(values: Floats, *, alpha: float, groups: Integers | None = None) -> Measure | None:
    """The mean of losses with bounds; None below two."""
    if len(values) < 2:
        return None
    if groups is not None:
        return _measure("loss", clustered_mean(values, groups, alpha=alpha))
    return _measure("loss", mean_bounds(values, alpha=alpha, support=(0.0, 1.0)))


def measured(
    name: str, scores: Floats, labels: Floats, *, alpha: float, groups: Integers | None = None
) -> Measure | None:
    """One metric with bounds; None where these cases cannot give it, such as an AUROC of one class."""
    if len(labels) < MIN_MEASURED:
        return None
    try:
        return _measure(name, METRICS[name].bounds(labels, scores, alpha, groups))
    except Invalid as cause:
        if cause.code in {"one-class", "too-few-cases"}:
            return None
        raise


def measurable(name: str, task: Task) -> bool:
    """Whether labels can measure a goal of this name; latency, for example, they cannot."""
    return name in METRICS and task in METRICS[name].tasks


def track(
    values: Floats,
    at: Integers,
    *,
    limit: float,
    delta: float,
    alpha: float,
    restarts: Sequence[int],
    blocks: Integers | None = None,
) -> RiskState:
    """Judge "the mean loss is within the limit" by betting against it, at every label, in the order given.

    The wealth of one bet that runs since the release and of one begun at each restart are averaged with the weights
    6/(π²j²), which keeps P(false alarm) <= δ however long it runs (Ville) and sees a late harm fast. Alarm at 1/δ.
    A bet that is won is the same as a lower confidence bound L_t above the limit; `lower` is the Bernstein one.

    Args:
        values: Losses of labelled predictions, ordered by prediction time.
        at: When these predictions were given, in microseconds since 1970, rising.
        limit: U_S + ε.
        alpha: Level of the upper bound.
        restarts: When each further bet begins, in microseconds since 1970.
        blocks: Number of the block of each value; the mean of a block is then one bet.
    """
    if blocks is None:
        lower = EmpiricalBernstein.begin(alpha=delta).update(values).lower
        bets, times, counted = values, at, np.arange(1, len(values) + 1)
    else:
        bets, times, counted = _block_means(values, at, blocks)
        lower = betting_lower(bets, alpha=delta) if len(bets) else 0.0
    wealth = _wealth(bets, times, limit=limit, restarts=restarts)
    alarms = np.flatnonzero(wealth >= 1.0 / delta)
    first = int(alarms[0]) if len(alarms) else None
    found = mean_loss(values, alpha=alpha, groups=blocks)
    return RiskState(
        labels=len(values),
        estimate=float(values.mean()) if len(values) else None,
        lower=lower,
        upper=1.0 if found is None or found.upper is None else found.upper,
        limit=limit,
        delta=delta,
        evidence=float(wealth.max()) if len(bets) else 1.0,
        alarm_label=None if first is None else int(counted[first]),
        alarm_at=None if first is None else instant(int(times[first])),
    )


def _block_means(values: Floats, at: Integers, blocks: Integers) -> tuple[Floats, Integers, Integers]:
    """Mean loss of each block in the order of their ends, when these were, and the labels up to there."""
    found, codes, counts = np.unique(blocks, return_inverse=True, return_counts=True)
    ends = np.zeros(len(found), dtype=np.int64)
    np.maximum.at(ends, codes, np.arange(len(values)))
    order = np.argsort(ends)
    means = np.bincount(codes, weights=values, minlength=len(found)) / counts
    return np.clip(means[order], 0.0, 1.0), at[ends[order]], np.cumsum(counts[order])


def label_free(baseline: Baseline, scores: Floats, *, margin: float) -> LabelFree | None:
    """What the scores alone let expect (CBPE), as a change since release; None for regression and too few scores."""
    metric = baseline.metric
    at_release = next((measure.estimate for measure in baseline.measures if measure.metric == metric), None)
    now = expected(metric, scores)
    if now is None or baseline.expected is None or at_release is None:
        return None
    # Three standard deviations of what the past and the sample size make of it.
    noise = 3 * math.hypot(baseline.expected_spread, _expected_error(metric, scores))
    estimate = min(1.0, max(0.0, at_release + now - baseline.expected))
    allowed = max(margin, noise)
    return LabelFree(
        metric=metric,
        estimate=estimate,
        at_release=at_release,
        margin=allowed,
        fell=estimate < at_release - allowed,
        n=len(scores),
    )


def expected(metric: str, scores: Floats) -> float | None:
    """The label-free estimate of a metric from calibrated probabilities; None where there is none."""
    if scores.ndim != 2 or len(scores) < MIN_MEASURED:
        return None
    if metric == "auroc" and scores.shape[1] == 2:
        try:
            return expected_auc(scores[:, 1])
        except Invalid:
            return None
    if metric == "accuracy":
        # P(the likeliest class is right) is what `expected_accuracy` means, for any number of classes.
        return expected_accuracy(scores.max(axis=1), threshold=0.0)
    return None


def _expected_error(metric: str, scores: Floats) -> float:
    """A standard error of `expected`, for AUROC the largest that Mann–Whitney can have."""
    if metric == "accuracy":
        return float(scores.max(axis=1).std()) / math.sqrt(len(scores))
    positives = float(scores[:, 1].sum())
    return math.sqrt((1 / positives + 1 / (len(scores) - positives)) / 12)


def _wealth(values: Floats, at: Integers, *, limit: float, restarts: Sequence[int]) -> Floats:
    if limit >= 1.0 or not len(values):
        return np.ones(len(values))
    starts = [0, *np.searchsorted(at, np.asarray(restarts, dtype=np.int64), side="left").tolist()]
    wealth, kept = np.zeros(len(values)), 1.0
    for number, start in enumerate(starts, start=1):
        weight = 6.0 / (math.pi * number) ** 2
        kept -= weight
        wealth[:start] += weight
        if start < len(values):
            wealth[start:] += weight * np.exp(np.minimum(e_process(values[start:], limit=limit), _LARGEST_EXPONENT))
    # What is kept for restarts still to come has not been bet.
    return wealth + max(0.0, kept)


def _measure(name: str, bounds: Bounds) -> Measure:
    return Measure(
        metric=name,
        estimate=bounds.estimate,
        lower=bounds.lower,
        upper=bounds.upper,
        se=bounds.se,
        n=bounds.n,
        alpha=bounds.alpha,
        method=bounds.method,
    )
