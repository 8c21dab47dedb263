"""Bounds for cases that come in groups (days, customers, patients), whose members share more than chance.

Treating such cases as independent claims too much: a day of bad weather is one event, not nine hundred.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from stellwerk.core.errors import Invalid
from stellwerk.evidence.statistics.auc import placements
from stellwerk.evidence.statistics.samples import Bounds, binary, level, same_length, vector, within

MIN_GROUPS = 2


def group_codes(groups: ArrayLike) -> NDArray[np.int64]:
    """Group of each case as numbers from 0."""
    return np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)


def clustered_mean(
    values: ArrayLike, groups: ArrayLike, *, alpha: float, support: tuple[float, float] = (0.0, 1.0)
) -> Bounds:
    """Mean over all cases with one-sided bounds from the spread between groups.

    The linearised ratio estimator with t on groups − 1 degrees of freedom (Cochran 1977, 6.13).

    Args:
        values: Shape (n,), within `support`.
        groups: Shape (n,), any hashable labels.
    """
    sample, codes = vector(values), group_codes(groups)
    same_length(sample, codes)
    mean = float(sample.mean())
    se, half = _error(np.bincount(codes, weights=(sample - mean) / len(sample)).astype(np.float64), alpha)
    return Bounds(
        estimate=mean,
        lower=within(None if half is None else mean - half, support),
        upper=within(None if half is None else mean + half, support),
        se=se,
        alpha=alpha,
        n=len(sample),
        method="clustered-mean",
    )


def clustered_auc(y: ArrayLike, score: ArrayLike, groups: ArrayLike, *, alpha: float) -> Bounds:
    """AUC with one-sided bounds from the spread between groups, on the logit scale (Obuchowski 1997).

    Each group contributes the sum of its cases' placement values around the AUC; with one case per group this is
    DeLong's variance.

    Raises:
        Invalid: `one-class` if only one label occurs.
    """
    labels, scores, codes = binary(y), vector(score), group_codes(groups)
    same_length(labels, scores, codes)
    area, share = _shares(labels, scores)
    se, half = _error(np.bincount(codes, weights=share).astype(np.float64), alpha)
    lower = upper = None
    if half is not None and 0.0 < area < 1.0:
        centre, step = math.log(area / (1.0 - area)), half / (area * (1.0 - area))
        lower, upper = _logistic(centre - step), _logistic(centre + step)
    return Bounds(
        estimate=area, lower=lower, upper=upper, se=se, alpha=alpha, n=len(labels), method="clustered-auc-logit"
    )


def clustered_auc_difference(y: ArrayLike, a: ArrayLike, b: ArrayLike, groups: ArrayLike, *, alpha: float) -> Bounds:
    """AUC of `a` minus AUC of `b` on the same cases, with one-sided bounds from the spread between groups."""
    labels, codes = binary(y), group_codes(groups)
    same_length(labels, codes)
    (area_a, share_a), (area_b, share_b) = _shares(labels, vector(a)), _shares(labels, vector(b))
    difference = area_a - area_b
    se, half = _error(np.bincount(codes, weights=share_a - share_b).astype(np.float64), alpha)
    return Bounds(
        estimate=difference,
        lower=within(None if half is None else difference - half, (-1.0, 1.0)),
        upper=within(None if half is None else difference + half, (-1.0, 1.0)),
        se=se,
        alpha=alpha,
        n=len(labels),
        method="clustered-auc-paired",
    )


def _shares(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """The AUC, and what each case adds to its deviation: the linear part of the statistic (Hájek projection)."""
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if not positives or not negatives:
        raise Invalid("only one class occurs, so there is no AUC", code="one-class", hint="gather cases of both")
    above, below = placements(labels, scores)
    area = float(above.mean())
    share = np.empty(len(labels))
    share[labels] = (above - area) / positives
    share[~labels] = (below - area) / negatives
    return area, share


def _error(sums: NDArray[np.float64], alpha: float) -> tuple[float | None, float | None]:
    """Standard error and half-width from the sums of each group; None with fewer than two groups or no spread."""
    level(alpha)
    groups = len(sums)
    if groups < MIN_GROUPS:
        return None, None
    se = math.sqrt(groups / (groups - 1) * float((sums**2).sum()))
    return se, float(stats.t.isf(alpha, groups - 1)) * se if se > 0 else None


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))
