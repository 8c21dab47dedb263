"""Bounds of rates, means and quantiles of independent cases. Model pairs are in `paired`, streams in `sequential`.

Right/wrong metrics belong to `clopper_pearson`, which is exact; `mean_bounds` is for losses on a scale.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from stellwerk.core.errors import Invalid
from stellwerk.evidence.statistics.resampling import FEW, bootstrap_t
from stellwerk.evidence.statistics.samples import (
    Bounds,
    Floats,
    check_support,
    constant_bounds,
    level,
    tally,
    unit,
    vector,
    within,
)

T_FROM = 200
"""From this many cases on a mean is bounded by Student's t, below by resampling."""


def clopper_pearson_lower(k: int, n: int, *, alpha: float) -> float:
    """The exact one-sided lower bound of a rate after k successes in n cases; 0 without cases.

    BetaInv(alpha; k, n-k+1), Clopper & Pearson 1934.
    """
    tally(k, n)
    level(alpha)
    return 0.0 if k == 0 else float(stats.beta.ppf(alpha, k, n - k + 1))


def clopper_pearson_upper(k: int, n: int, *, alpha: float) -> float:
    """The exact one-sided upper bound of a rate after k successes in n cases; 1 without cases.

    BetaInv(1-alpha; k+1, n-k), Clopper & Pearson 1934.
    """
    tally(k, n)
    level(alpha)
    return 1.0 if k == n else float(stats.beta.ppf(1.0 - alpha, k + 1, n - k))


def clopper_pearson(k: int, n: int, *, alpha: float) -> Bounds:
    """A rate with both exact one-sided bounds. `Invalid` without cases, because there is no estimate then."""
    tally(k, n)
    if n == 0:
        raise Invalid("no cases to take a rate of", code="too-few-cases", hint="gather more cases")
    rate = k / n
    return Bounds(
        estimate=rate,
        lower=clopper_pearson_lower(k, n, alpha=alpha),
        upper=clopper_pearson_upper(k, n, alpha=alpha),
        se=math.sqrt(rate * (1.0 - rate) / n),
        alpha=alpha,
        n=n,
        method="clopper-pearson",
    )


def wilson(k: int, n: int, *, alpha: float) -> tuple[float, float]:
    """Both one-sided Wilson score bounds of a rate (Wilson 1927): approximate, narrower than Clopper–Pearson."""
    tally(k, n)
    if n == 0:
        return 0.0, 1.0
    z = float(stats.norm.isf(level(alpha)))
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    return (0.0 if k == 0 else max(0.0, centre - half)), (1.0 if k == n else min(1.0, centre + half))


def newcombe_difference(k1: int, n1: int, k2: int, n2: int, *, alpha: float) -> Bounds:
    """The difference k1/n1 - k2/n2 of two independent rates with one-sided bounds.

    Hybrid score interval, Newcombe 1998 (Statistics in Medicine 17:873), method 10 without continuity correction.
    """
    if n1 < 1 or n2 < 1:
        raise Invalid(f"groups of {n1} and {n2} cases (expected at least 1 each)", code="too-few-cases")
    (low1, high1), (low2, high2) = wilson(k1, n1, alpha=alpha), wilson(k2, n2, alpha=alpha)
    p1, p2 = k1 / n1, k2 / n2
    return Bounds(
        estimate=p1 - p2,
        lower=p1 - p2 - math.hypot(p1 - low1, high2 - p2),
        upper=p1 - p2 + math.hypot(high1 - p1, p2 - low2),
        se=math.sqrt(p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2),
        alpha=alpha,
        n=n1 + n2,
        method="newcombe",
    )


def mean_bounds(
    values: ArrayLike,
    *,
    alpha: float,
    support: tuple[float, float] | None = None,
    resamples: int = 9999,
    seed: int = 0,
) -> Bounds:
    """The mean of per-case losses (shape (n,), any unit) with one-sided bounds.

    Student's t with the widening of `student` from `T_FROM` cases on, bootstrap-t below (Efron & Tibshirani 1993,
    12.5). Both trust the variation they see: for a loss that is almost always zero and rarely huge, or with fewer
    than 20 cases, the upper bound misses more often than alpha. Equal values get the exact bounds of
    `constant_bounds`, none without a `support`.

    Args:
        support: Smallest and largest possible loss, where known; not the range seen.

    Raises:
        Invalid: fewer than two values, missing values, values outside the support.
    """
    sample = vector(values, least=2)
    level(alpha)
    check_support(sample, support)
    n, mean, se = len(sample), float(sample.mean()), standard_error(sample)
    lower: float | None = None
    upper: float | None = None
    if se == 0.0:
        method = "constant-sample"
        if support is not None:
            lower, upper = constant_bounds(mean, n, support=support, alpha=alpha)
    elif n >= T_FROM:
        method = "student-t"
        lower, upper = student(sample, alpha=alpha)
    else:
        method = "bootstrap-t"
        lower, upper = widened(sample, *bootstrap_t(sample, alpha=alpha, resamples=resamples, seed=seed), alpha=alpha)
        if support is not None:
            lower = support[0] if lower is None else lower
            upper = support[1] if upper is None else upper
    return Bounds(
        estimate=mean,
        lower=within(lower, support),
        upper=within(upper, support),
        se=se,
        alpha=alpha,
        n=n,
        method=method,
    )


def standard_error(sample: Floats) -> float:
    """s/√n of a sample; exactly 0 for equal values, whatever rounding says."""
    if sample.min() == sample.max():
        return 0.0
    return float(sample.std(ddof=1)) / math.sqrt(len(sample))


def student(sample: Floats, *, alpha: float) -> tuple[float, float]:
    """One-sided bounds mean ∓ (t + max(0, ∓γ̂·(2z²+1)/(6√n)))·s/√n of a sample with some variation.

    The second term is Hall's skewness correction (1992, J. R. Stat. Soc. B 54:221; Johnson 1978),
    used only where it widens. Plain t misses the mean of skewed losses too often on the side that matters: simulated
    at 5 % and n = 200, the upper bound of a loss that is 0 in 95 % of the cases misses in 12 %, with it in 6.4 %.
    """
    n, mean, z = len(sample), float(sample.mean()), float(stats.norm.isf(alpha))
    centred = sample - mean
    skewness = float(((centred / centred.std()) ** 3).mean())
    shift = skewness * (2 * z * z + 1) / (6 * math.sqrt(n))
    t, se = float(stats.t.isf(alpha, n - 1)), standard_error(sample)
    return mean - (t + max(0.0, -shift)) * se, mean + (t + max(0.0, shift)) * se


def widened(
    sample: Floats, lower: float | None, upper: float | None, *, alpha: float
) -> tuple[float | None, float | None]:
    """Resampled bounds, with fewer than `FEW` cases moved out to those of `student` where these are wider."""
    if len(sample) >= FEW:
        return lower, upper
    low, high = student(sample, alpha=alpha)
    return None if lower is None else min(lower, low), None if upper is None else max(upper, high)


def quantile_bounds(values: ArrayLike, q: float, *, alpha: float) -> Bounds:
    """The q-quantile of a sample (shape (n,), e.g. latency in ms) with distribution-free one-sided bounds.

    Order statistics X_(r): upper r = smallest with P(Bin(n, q) >= r) <= alpha, lower r = largest with
    P(Bin(n, q) <= r-1) <= alpha (Conover, Practical Nonparametric Statistics, 3.2). Too few cases for a bound give
    `None`: an upper bound of the 99 % quantile at alpha = 0.05 needs 299 (see `power.quantile_n`).
    """
    ordered = np.sort(vector(values))
    level(q, what="q")
    level(alpha)
    n = len(ordered)
    high = int(stats.binom.ppf(1.0 - alpha, n, q)) + 1
    low = int(stats.binom.ppf(alpha, n, q))
    # ppf gives the first count whose cdf reaches alpha; the largest allowed cdf(r-1) <= alpha may be exactly that.
    if stats.binom.cdf(low, n, q) <= alpha:
        low += 1
    return Bounds(
        estimate=float(ordered[max(0, math.ceil(q * n - 1e-9) - 1)]),
        lower=float(ordered[low - 1]) if low >= 1 else None,
        upper=float(ordered[high - 1]) if high <= n else None,
        se=None,
        alpha=alpha,
        n=n,
        method="order-statistic",
    )


def hoeffding_bentkus(risk: float, n: int, limit: float) -> float:
    """The p-value of H0: true risk > limit, after a mean loss of `risk` in [0, 1] over n independent cases.

    min{exp(-n·h1(min(R̂, r), r)), e·P(Bin(n, r) <= ⌈nR̂⌉)} with h1 the Bernoulli relative entropy
    (Bates et al. 2021, arXiv:2101.02703; Angelopoulos et al. 2021, arXiv:2110.01052).
    """
    unit([risk], what="risk")
    level(limit, what="limit")
    if n < 1:
        raise Invalid("no cases to judge a risk by", code="too-few-cases", hint="gather more cases")
    seen = min(risk, limit)
    entropy = (seen * math.log(seen / limit) if seen > 0 else 0.0) + (
        (1 - seen) * math.log((1 - seen) / (1 - limit)) if seen < 1 else 0.0
    )
    # A mean loss of k/n must count as k, not as k+1 because of rounding in n·(k/n).
    bentkus = math.e * float(stats.binom.cdf(math.ceil(n * risk - 1e-9 * max(1.0, n * risk)), n, limit))
    return min(1.0, math.exp(-n * entropy), bentkus)
