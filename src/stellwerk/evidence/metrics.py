"""The metrics a goal may name: each with bounds on one model and bounds on the difference of two.

Labels are class indices (n,) or numbers (n,); scores are class probabilities (n, k) or predicted values (n,). Groups,
where given (n,), name what shares more than chance, such as the day: then bounds come from the spread between groups.
Differences are challenger − champion in the direction "larger is better" (`methods` 2.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stellwerk.core.errors import Invalid
from stellwerk.evidence.statistics.auc import auc_bounds, paired_delong
from stellwerk.evidence.statistics.bounds import clopper_pearson, mean_bounds
from stellwerk.evidence.statistics.clusters import clustered_auc, clustered_auc_difference, clustered_mean
from stellwerk.evidence.statistics.paired import paired_mean_difference, tango_bounds
from stellwerk.evidence.statistics.resampling import bca
from stellwerk.evidence.statistics.samples import Bounds

Array = NDArray[Any]
Groups = Array | None
Task = Literal["binary", "multiclass", "regression"]

LOG_FLOOR = 1e-6
"""Probabilities below this count as this in the log loss, which is then at most 13.8."""
RESAMPLES = 1999


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A way to measure predictions.

    Attributes:
        bounds: (labels, scores, alpha, groups or None) → `Bounds` of the metric itself.
        difference: (labels, challenger scores, champion scores, alpha, groups or None) → `Bounds` of the improvement.
    """

    name: str
    title: str
    larger_is_better: bool
    tasks: tuple[Task, ...]
    bounds: Callable[[Array, Array, float, Groups], Bounds]
    difference: Callable[[Array, Array, Array, float, Groups], Bounds]


def losses(name: str, labels: Array, scores: Array) -> Array:
    """Per-case losses (n,) of a mean-loss metric: brier, log_loss, mae, error."""
    if name == "mae":
        return np.asarray(np.abs(labels - scores))
    chosen = scores[np.arange(len(labels)), labels.astype(np.int64)]
    if name == "log_loss":
        return np.asarray(-np.log(np.clip(chosen, LOG_FLOOR, 1.0)))
    if name == "error":
        return np.asarray(scores.argmax(axis=1) != labels, dtype=np.float64)
    # Half the sum of squares over classes: for two classes the usual (p − y)², and always within [0, 1].
    return np.asarray(((scores**2).sum(axis=1) - 2 * chosen + 1.0) / 2)


_SUPPORT: dict[str, tuple[float, float] | None] = {
    "brier": (0.0, 1.0),
    "log_loss": (0.0, -float(np.log(LOG_FLOOR))),
    "mae": None,
}


def _mean_loss(name: str, title: str, tasks: tuple[Task, ...]) -> Metric:
    support = _SUPPORT[name]
    span = None if support is None else (support[0] - support[1], support[1] - support[0])

    def bounds(labels: Array, scores: Array, alpha: float, groups: Groups = None) -> Bounds:
        values = losses(name, labels, scores)
        if groups is not None:
            return clustered_mean(values, groups, alpha=alpha, support=support or (0.0, float("inf")))
        return mean_bounds(values, alpha=alpha, support=support)

    def difference(labels: Array, challenger: Array, champion: Array, alpha: float, groups: Groups = None) -> Bounds:
        old, new = losses(name, labels, champion), losses(name, labels, challenger)
        if groups is not None:
            return clustered_mean(old - new, groups, alpha=alpha, support=span or (-float("inf"), float("inf")))
        return paired_mean_difference(old, new, alpha=alpha, support=span)

    return Metric(name=name, title=title, larger_is_better=False, tasks=tasks, bounds=bounds, difference=difference)


def _auroc_bounds(labels: Array, scores: Array, alpha: float, groups: Groups = None) -> Bounds:
    if groups is not None:
        return clustered_auc(labels == 1, scores[:, 1], groups, alpha=alpha)
    return auc_bounds(labels == 1, scores[:, 1], alpha=alpha)


def _auroc_difference(
    labels: Array, challenger: Array, champion: Array, alpha: float, groups: Groups = None
) -> Bounds:
    if groups is not None:
        return clustered_auc_difference(labels == 1, challenger[:, 1], champion[:, 1], groups, alpha=alpha)
    return paired_delong(labels == 1, challenger[:, 1], champion[:, 1]).bounds(alpha)


def _accuracy_bounds(labels: Array, scores: Array, alpha: float, groups: Groups = None) -> Bounds:
    right = scores.argmax(axis=1) == labels
    if groups is not None:
        return clustered_mean(right.astype(np.float64), groups, alpha=alpha)
    return clopper_pearson(int(right.sum()), len(labels), alpha=alpha)


def _accuracy_difference(
    labels: Array, challenger: Array, champion: Array, alpha: float, groups: Groups = None
) -> Bounds:
    new, old = challenger.argmax(axis=1) == labels, champion.argmax(axis=1) == labels
    if groups is not None:
        gain = new.astype(np.float64) - old.astype(np.float64)
        return clustered_mean(gain, groups, alpha=alpha, support=(-1.0, 1.0))
    return tango_bounds(int((new & ~old).sum()), int((old & ~new).sum()), len(labels), alpha=alpha)


def _r2(labels: Array, scores: Array) -> float:
    spread = float(((labels - labels.mean()) ** 2).sum())
    return 1.0 - float(((labels - scores) ** 2).sum()) / spread if spread > 0 else 0.0


def _rmse(labels: Array, scores: Array) -> float:
    return float(np.sqrt(((labels - scores) ** 2).mean()))


def _resampled(name: str, title: str, value: Callable[[Array, Array], float], larger: bool) -> Metric:
    sign = 1.0 if larger else -1.0

    def bounds(labels: Array, scores: Array, alpha: float, groups: Groups = None) -> Bounds:
        return bca(value, [labels, scores], alpha=alpha, resamples=RESAMPLES)

    def difference(labels: Array, challenger: Array, champion: Array, alpha: float, groups: Groups = None) -> Bounds:
        return bca(
            lambda y, a, b: sign * (value(y, a) - value(y, b)),
            [labels, challenger, champion],
            alpha=alpha,
            resamples=RESAMPLES,
        )

    return Metric(
        name=name, title=title, larger_is_better=larger, tasks=("regression",), bounds=bounds, difference=difference
    )


_CLASSES: tuple[Task, ...] = ("binary", "multiclass")

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="auroc",
            title="AUROC",
            larger_is_better=True,
            tasks=("binary",),
            bounds=_auroc_bounds,
            difference=_auroc_difference,
        ),
        Metric(
            name="accuracy",
            title="accuracy",
            larger_is_better=True,
            tasks=_CLASSES,
            bounds=_accuracy_bounds,
            difference=_accuracy_difference,
        ),
        _mean_loss("brier", "Brier score", _CLASSES),
        _mean_loss("log_loss", "log loss", _CLASSES),
        _mean_loss("mae", "mean absolute error", ("regression",)),
        _resampled("rmse", "root mean squared error", _rmse, larger=False),
        _resampled("r2", "R²", _r2, larger=True),
    )
}

PROPER: dict[Task, str] = {"binary": "log_loss", "multiclass": "log_loss", "regression": "mae"}
"""The loss in which a model must beat the constant baseline."""


def metric(name: str, task: Task) -> Metric:
    """The metric of a name for a task. Raises `Invalid` naming those that exist."""
    found = METRICS.get(name)
    if found is None or task not in found.tasks:
        known = ", ".join(m.name for m in METRICS.values() if task in m.tasks)
        raise Invalid(
            f"no metric {name!r} for a {task} task (known: {known})", code="unknown-metric", hint="correct the goal"
        )
    return found


def constant_scores(task: Task, training: Array, rows: int, classes: int) -> Array:
    """What the constant baseline answers: the class shares, or the median, seen in training labels."""
    if task == "regression":
        return np.full(rows, float(np.median(training)))
    shares = np.bincount(training.astype(np.int64), minlength=classes) / len(training)
    return np.tile(shares, (rows, 1))
