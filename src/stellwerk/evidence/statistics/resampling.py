"""Bootstrap bounds: bootstrap-t, BCa, clusters, seeds × cases. Bounds that need no resampling are in `bounds`.

Randomness comes in as a seed; the same seed and data give the same bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from stellwerk.core.errors import Invalid
from stellwerk.evidence.statistics.samples import (
    Bounds,
    Floats,
    Integers,
    level,
    matrix,
    order_statistic,
    same_length,
    vector,
)

JACKKNIFE_GROUPS = 500
"""Above this many cases the acceleration of BCa is taken from this many random groups of cases."""

FEW = 20
"""Below this many cases or groups resampling sees too little of them."""

_CELLS = 2_000_000
"""Numbers drawn at a time, so that memory stays bounded (16 MB)."""


def bootstrap_t(
    sample: Floats, *, alpha: float, resamples: int = 9999, seed: int = 0
) -> tuple[float | None, float | None]:
    """One-sided bootstrap-t bounds of a mean (Efron & Tibshirani 1993, 12.5); sample of shape (n,), n >= 2.

    A bound is `None` where so many resamples have no variation that t* has no finite quantile.
    """
    level(alpha)
    n, mean = len(sample), float(sample.mean())
    se = float(sample.std(ddof=1)) / math.sqrt(n)
    pivots = []
    for index in _indices(n, resamples, seed):
        drawn = sample[index]
        centre = drawn.mean(axis=1) - mean
        spread = drawn.std(axis=1, ddof=1) / math.sqrt(n)
        with np.errstate(divide="ignore", invalid="ignore"):
            pivots.append(np.where(centre == 0.0, 0.0, centre / spread))
    ordered = np.sort(np.concatenate(pivots))
    high = order_statistic(ordered, math.ceil((resamples + 1) * (1 - alpha) - 1e-9))
    low = order_statistic(ordered, math.floor((resamples + 1) * alpha + 1e-9))
    return (
        None if high is None else min(mean, mean - high * se),
        None if low is None else max(mean, mean - low * se),
    )


def bca(
    metric: Callable[..., float],
    arrays: Sequence[NDArray[Any]],
    *,
    alpha: float,
    resamples: int = 9999,
    seed: int = 0,
) -> Bounds:
    """Bias-corrected and accelerated one-sided bounds of any metric (Efron 1987; Efron & Tibshirani 1993, 14.3).

    With fewer than `FEW` cases they miss up to three times as often as alpha.

    Args:
        metric: Called with the arrays resampled along their first axis by one shared index vector, so that paired
            differences stay paired: `lambda y, a, b: f1(y, a) - f1(y, b)`. Independent of the order of cases.
        arrays: One or more arrays of equal length n >= 2, one entry per independent case (or query, or group).

    Returns:
        Bounds that always contain the estimate. Both are `None` if no resample changed the metric.

    Raises:
        Invalid: the metric is undefined (NaN, infinite) on some resample; what it raises itself passes through.
    """
    level(alpha)
    n = same_length(*arrays)
    _enough(n)
    estimate = _defined(metric(*arrays))
    replicates = np.empty(resamples)
    at = 0
    for block in _indices(n, resamples, seed):
        for index in block:
            replicates[at] = metric(*(array[index] for array in arrays))
            at += 1
    left_out = np.array([metric(*(array[keep] for array in arrays)) for keep in _jackknife(n, seed)])
    return _accelerated(estimate, replicates, left_out, alpha=alpha, n=n, method="bca")


def bca_mean(
    values: ArrayLike, *, alpha: float, weights: ArrayLike | None = None, resamples: int = 9999, seed: int = 0
) -> Bounds:
    """Like `bca` for the mean of values of shape (n,), vectorised; with weights for Σ values / Σ weights."""
    level(alpha)
    numerator = vector(values, least=2)
    denominator = np.ones_like(numerator) if weights is None else vector(weights, what="weights")
    n = same_length(numerator, denominator)
    if denominator.min() <= 0:
        raise Invalid("weights must be above 0", code="outside-domain")
    replicates = np.concatenate(
        [numerator[i].sum(axis=1) / denominator[i].sum(axis=1) for i in _indices(n, resamples, seed)]
    )
    left_out = (numerator.sum() - numerator) / (denominator.sum() - denominator)
    estimate = float(numerator.sum() / denominator.sum())
    return _accelerated(estimate, replicates, left_out, alpha=alpha, n=n, method="bca")


def cluster_mean(
    values: ArrayLike, groups: ArrayLike, *, alpha: float, resamples: int = 9999, seed: int = 0
) -> Bounds:
    """The mean over cases that come in groups (customer, patient, day); groups are resampled, not cases.

    BCa over (sum, size) per group (Davison & Hinkley 1997; Field & Welsh 2007); with fewer than `FEW` groups at
    least as wide as t with groups - 1 degrees of freedom. For two models pass the differences per case.

    Args:
        values: Shape (n,).
        groups: Shape (n,), a label per case; at least two different ones.

    Returns:
        Bounds whose `n` is the number of groups.
    """
    sample = vector(values, least=2)
    labels = np.asarray(groups)
    same_length(sample, labels, what="values and groups")
    _, member = np.unique(labels, return_inverse=True)
    sizes = np.bincount(member).astype(np.float64)
    if len(sizes) < 2:
        raise Invalid("one group (expected at least 2)", code="too-few-cases", hint="gather more groups")
    sums = np.bincount(member, weights=sample)
    found = bca_mean(sums, weights=sizes, alpha=alpha, resamples=resamples, seed=seed)
    lower, upper = found.lower, found.upper
    if len(sizes) < FEW and lower is not None and upper is not None:
        residuals = (sums - found.estimate * sizes) / sizes.mean()
        half = float(stats.t.isf(alpha, len(sizes) - 1)) * float(residuals.std(ddof=1)) / math.sqrt(len(sizes))
        lower, upper = min(lower, found.estimate - half), max(upper, found.estimate + half)
    return Bounds(
        estimate=found.estimate,
        lower=lower,
        upper=upper,
        se=found.se,
        alpha=alpha,
        n=len(sizes),
        method="cluster-bca",
    )


def seeds_by_cases(
    challenger: Sequence[Sequence[float]] | NDArray[Any],
    champion: Sequence[Sequence[float]] | NDArray[Any],
    *,
    alpha: float,
    resamples: int = 9999,
    seed: int = 0,
) -> Bounds:
    """The mean difference of two training procedures over seeds and shared cases, challenger - champion.

    From five seeds per side on a two-way bootstrap: seeds are drawn per side, cases once for both (Owen 2007; Owen
    & Eckles 2012). k - 1 of k seeds are drawn, which makes their variance unbiased (Rao & Wu 1988), and the quantile
    is read at Φ(-t), t with Satterthwaite's degrees of freedom (Hesterberg 2015, "expanded percentile"). Below
    five seeds, Student's t with the same degrees of freedom.

    Args:
        challenger: Shape (seeds, cases), a score per seed and case.
        champion: Shape (seeds, cases); the number of seeds may differ, the cases may not.

    Returns:
        Bounds whose `n` is the number of cases.
    """
    level(alpha)
    a, b = matrix(challenger, what="challenger scores"), matrix(champion, what="champion scores")
    cases = same_length(a.T, b.T, what="challenger and champion cases")
    if min(len(a), len(b), cases) < 2:
        raise Invalid("fewer than 2 seeds per side or 2 cases", code="too-few-cases", hint="train more seeds")
    estimate = float(a.mean() - b.mean())
    parts = np.array(
        [
            a.mean(axis=1).var(ddof=1) / len(a),
            b.mean(axis=1).var(ddof=1) / len(b),
            (a.mean(axis=0) - b.mean(axis=0)).var(ddof=1) / cases,
        ]
    )
    variance = float(parts.sum())
    lower: float | None = None
    upper: float | None = None
    method = "two-way-t"
    if variance > 0.0:
        freedom = variance**2 / float((parts**2 / [len(a) - 1, len(b) - 1, cases - 1]).sum())
        t = float(stats.t.isf(alpha, freedom))
        lower, upper = estimate - t * math.sqrt(variance), estimate + t * math.sqrt(variance)
        if min(len(a), len(b)) >= 5:
            method = "two-way-bootstrap"
            ordered = np.sort(_two_way(a, b, resamples, seed))
            rank = max(1, math.floor((resamples + 1) * float(stats.norm.sf(t)) + 1e-9))
            lower = min(estimate, float(ordered[rank - 1]))
            upper = max(estimate, float(ordered[resamples - rank]))
    return Bounds(
        estimate=estimate,
        lower=lower,
        upper=upper,
        se=math.sqrt(variance),
        alpha=alpha,
        n=cases,
        method=method,
    )


def _two_way(a: Floats, b: Floats, resamples: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    cases = a.shape[1]
    step = max(1, _CELLS // cases)
    parts = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.multinomial(cases, np.full(cases, 1.0 / cases), size=size) / cases
        difference = _seed_weights(rng, len(a), size) @ a - _seed_weights(rng, len(b), size) @ b
        parts.append((difference * drawn).sum(axis=1))
    return np.concatenate(parts)


def _seed_weights(rng: np.random.Generator, k: int, size: int) -> Floats:
    return rng.multinomial(k - 1, np.full(k, 1.0 / k), size=size) / (k - 1)


def _indices(n: int, resamples: int, seed: int) -> Iterator[Integers]:
    """Blocks of index vectors, shape (some, n), together `resamples` rows."""
    if resamples < 100:
        raise Invalid(f"{resamples} resamples (expected at least 100)", code="too-few-resamples")
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // n)
    for start in range(0, resamples, step):
        yield rng.integers(0, n, size=(min(step, resamples - start), n))


def _jackknife(n: int, seed: int) -> Iterator[NDArray[Any]]:
    """Indices that stay when one case, or one of `JACKKNIFE_GROUPS` random groups, is left out."""
    if n <= JACKKNIFE_GROUPS:
        for case in range(n):
            yield np.delete(np.arange(n), case)
        return
    # A group's influence is a sum of its cases', so third over second moments keep their ratio.
    group = np.random.default_rng([seed, 1]).permutation(n) % JACKKNIFE_GROUPS
    for number in range(JACKKNIFE_GROUPS):
        yield np.flatnonzero(group != number)


def _accelerated(
    estimate: float, replicates: Floats, left_out: Floats, *, alpha: float, n: int, method: str
) -> Bounds:
    if not (np.isfinite(replicates).all() and np.isfinite(left_out).all()):
        raise Invalid(
            "the metric is undefined on some resamples",
            code="undefined-metric",
            hint="gather more cases of the rarer kind, or use a metric with an exact bound",
        )
    ordered = np.sort(replicates)
    lower = upper = None
    if not math.isclose(ordered[0], ordered[-1], rel_tol=1e-12, abs_tol=1e-15):
        size = len(ordered)
        rounding = 1e-12 * max(abs(ordered[0]), abs(ordered[-1]))
        # Ties count half, and a sum in another order is still a tie.
        less, at_most = (np.count_nonzero(ordered < estimate + side * rounding) for side in (-1, 1))
        below = (less + at_most) / 2
        z0 = float(stats.norm.ppf(min(max(below, 1.0), size - 1.0) / size))
        influence = left_out.mean() - left_out
        spread = float((influence**2).sum())
        a = float((influence**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
        low, high = (_shifted(z0, a, z) for z in (stats.norm.ppf(alpha), stats.norm.isf(alpha)))
        lower = min(estimate, float(ordered[max(1, math.floor((size + 1) * low + 1e-9)) - 1]))
        upper = max(estimate, float(ordered[min(size, math.ceil((size + 1) * high - 1e-9)) - 1]))
    return Bounds(
        estimate=estimate,
        lower=lower,
        upper=upper,
        se=float(replicates.std(ddof=1)),
        alpha=alpha,
        n=n,
        method=method,
    )


def _shifted(z0: float, a: float, z: float) -> float:
    """The BCa level for a normal quantile; beyond the pole of the formula, the extreme."""
    scale = 1 - a * (z0 + z)
    if scale <= 0:
        return 1.0 if z > 0 else 0.0
    return float(stats.norm.cdf(z0 + (z0 + z) / scale))


def _defined(value: float) -> float:
    if not math.isfinite(value):
        raise Invalid("the metric is undefined on the whole sample", code="undefined-metric")
    return float(value)


def _enough(n: int) -> None:
    if n < 2:
        raise Invalid(f"{n} cases (expected at least 2)", code="too-few-cases", hint="gather more cases")
