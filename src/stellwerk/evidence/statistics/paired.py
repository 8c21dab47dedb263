"""Two models on the same cases: counts, means, cross-validation. AUC is in `auc`, the bootstrap in `resampling`.

Differences are challenger - champion, larger is better; b = only the challenger right, c = only the champion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from stellwerk.core.errors import Invalid
from stellwerk.evidence.statistics.bounds import T_FROM, standard_error, student, widened
from stellwerk.evidence.statistics.resampling import bca_mean
from stellwerk.evidence.statistics.samples import (
    Bounds,
    check_support,
    constant_bounds,
    level,
    matrix,
    positive,
    same_length,
    tally,
    vector,
    within,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class McNemar:
    """Two-sided p-values of H0 "both models are right equally often"; `mid_p` is the one to use.

    Attributes:
        exact: Binomial p-value, conservative.
        mid_p: Exact p less half the probability of the outcome seen (Fagerland, Lydersen & Laake 2013).
        chi2_corrected: χ² with Edwards' continuity correction, for comparison with other tools.
    """

    exact: float
    mid_p: float
    chi2_corrected: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Significance:
    """A test statistic, its p-value, and the degrees of freedom of its null distribution (None: normal)."""

    statistic: float
    p: float
    df: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FiveByTwo:
    """The 5×2 cross-validation tests, two-sided p-values.

    Attributes:
        t: Dietterich 1998, t(5); depends on which difference comes first.
        p_t: Its p-value.
        f: Alpaydın 1999, F(10, 5); to be preferred.
        p_f: Its p-value.
    """

    t: float
    p_t: float
    f: float
    p_f: float


def mcnemar(b: int, c: int) -> McNemar:
    """Compare right/wrong answers on the same cases by their discordant pairs; p = 1 without any (McNemar 1947)."""
    if min(b, c) < 0:
        raise Invalid(f"negative discordant counts {b} and {c}", code="outside-domain")
    if b + c == 0:
        return McNemar(exact=1.0, mid_p=1.0, chi2_corrected=1.0)
    least = min(b, c)
    below = float(stats.binom.cdf(least - 1, b + c, 0.5))
    at = float(stats.binom.pmf(least, b + c, 0.5))
    corrected = max(0, abs(b - c) - 1) ** 2 / (b + c)
    return McNemar(
        exact=min(1.0, 2 * (below + at)),
        mid_p=min(1.0, 2 * (below + at / 2)),
        chi2_corrected=float(stats.chi2.sf(corrected, 1)),
    )


def tango(b: int, c: int, n: int, *, margin: float) -> Significance:
    """Score test of H0: Δ <= -margin for the difference of two paired rates (Tango 1998); one-sided p.

    Proves non-inferiority with a margin above 0, superiority with 0, and superiority by more with less than 0.

    Args:
        n: All cases, concordant ones included.
        margin: In units of the rate, -1 < margin < 1.
    """
    _pairs(b, c, n)
    if not -1.0 < margin < 1.0:
        raise Invalid(f"margin is {margin} (expected between -1 and 1)", code="outside-domain")
    statistic = _tango(b, c, n, -margin)
    return Significance(statistic=statistic, p=float(stats.norm.sf(statistic)), df=None)


def tango_bounds(b: int, c: int, n: int, *, alpha: float) -> Bounds:
    """One-sided bounds of the difference of two paired rates: the score test of `tango`, inverted."""
    _pairs(b, c, n)
    z = float(stats.norm.isf(level(alpha)))
    estimate = (b - c) / n
    edge = 1.0 - 1e-12
    lower = upper = estimate
    # T falls in δ; it runs from +∞ towards 0 at the estimate and on to -∞.
    if b - c > -n:
        lower = float(optimize.brentq(lambda d: _tango(b, c, n, d) - z, -edge, estimate, xtol=1e-12))
    if b - c < n:
        upper = float(optimize.brentq(lambda d: _tango(b, c, n, d) + z, estimate, edge, xtol=1e-12))
    variance = (b + c) / n - estimate**2
    return Bounds(
        estimate=estimate,
        lower=lower,
        upper=upper,
        se=math.sqrt(max(0.0, variance) / n),
        alpha=alpha,
        n=n,
        method="tango",
    )


def paired_mean_difference(
    challenger: ArrayLike,
    champion: ArrayLike,
    *,
    alpha: float,
    support: tuple[float, float] | None = None,
    resamples: int = 9999,
    seed: int = 0,
) -> Bounds:
    """Mean of challenger - champion over the same cases with one-sided bounds, in the unit of the values.

    Student's t with the widening of `bounds.student` from 200 cases on, BCa bootstrap below (with fewer than 20
    cases at least as wide as t). For losses, where smaller is better, swap the arguments.

    Args:
        challenger: Shape (n,), n >= 2.
        champion: Shape (n,), the same cases in the same order.
        support: Smallest and largest possible difference, where known; without it equal differences have no bounds.
    """
    a, b = vector(challenger, least=2), vector(champion, least=2)
    n = same_length(a, b, what="challenger and champion values")
    level(alpha)
    sample = a - b
    check_support(sample, support)
    mean, se = float(sample.mean()), standard_error(sample)
    lower: float | None = None
    upper: float | None = None
    if se > 0.0 and n < T_FROM:
        found = bca_mean(sample, alpha=alpha, resamples=resamples, seed=seed)
        method = found.method
        lower, upper = widened(sample, found.lower, found.upper, alpha=alpha)
    elif se > 0.0:
        method = "student-t"
        lower, upper = student(sample, alpha=alpha)
    else:
        method = "constant-sample"
        if support is not None:
            lower, upper = constant_bounds(mean, n, support=support, alpha=alpha)
    return Bounds(
        estimate=mean,
        lower=within(lower, support),
        upper=within(upper, support),
        se=se,
        alpha=alpha,
        n=n,
        method=method,
    )


def nadeau_bengio(differences: ArrayLike, *, test_to_train: float) -> Significance:
    """Corrected resampled t for (repeated) cross-validation (Nadeau & Bengio 2003; Bouckaert & Frank 2004).

    t = d̄ / √((1/J + n_test/n_train)·s²), J - 1 degrees of freedom, p one-sided for "the challenger is better".

    Args:
        differences: One per fold and repeat, J = folds × repeats >= 2.
        test_to_train: n_test / n_train, 1/9 for ten folds.
    """
    sample = vector(differences, what="differences", least=2)
    positive(test_to_train, what="test_to_train")
    count, variance = len(sample), float(sample.var(ddof=1)) if sample.min() < sample.max() else 0.0
    if variance == 0.0:
        raise Invalid("all differences are equal", code="no-variation", hint="vary split and seed")
    t = float(sample.mean()) / math.sqrt((1 / count + test_to_train) * variance)
    return Significance(statistic=t, p=float(stats.t.sf(t, count - 1)), df=count - 1)


def five_by_two(differences: Sequence[Sequence[float]]) -> FiveByTwo:
    """5×2 cross-validation: differences of shape (5, 2), five repeats of two folds."""
    p = matrix(differences, what="differences")
    if p.shape != (5, 2):
        raise Invalid(f"differences have shape {p.shape} (expected (5, 2))", code="invalid-sample")
    spread = float(((p - p.mean(axis=1, keepdims=True)) ** 2).sum())
    if spread == 0.0:
        raise Invalid("both folds agree in every repeat", code="no-variation", hint="vary split and seed")
    t = float(p[0, 0]) / math.sqrt(spread / 5)
    f = float((p**2).sum()) / (2 * spread)
    return FiveByTwo(t=t, p_t=2 * float(stats.t.sf(abs(t), 5)), f=f, p_f=float(stats.f.sf(f, 10, 5)))


def noether_pairs(*, alpha: float, beta: float, gamma: float) -> float:
    """Seed pairs needed to show P(A > B) = gamma, to be rounded up (Noether 1987; Bouthillier et al. 2021).

    ((z_{1-alpha} - z_beta) / (√6·(½ - gamma)))², alpha one-sided, beta = 1 - power, ½ < gamma < 1.
    """
    level(alpha)
    level(beta, what="beta")
    if not 0.5 < gamma < 1.0:
        raise Invalid(f"gamma is {gamma} (expected between 0.5 and 1)", code="outside-domain")
    reach = float(stats.norm.isf(alpha) - stats.norm.ppf(beta))
    return (reach / (math.sqrt(6) * (0.5 - gamma))) ** 2


def discordant(y: ArrayLike, challenger: ArrayLike, champion: ArrayLike) -> tuple[int, int]:
    """(b, c) from true and predicted labels of shape (n,), compared for equality."""
    truth, new, old = np.asarray(y), np.asarray(challenger), np.asarray(champion)
    same_length(truth, new, old, what="labels")
    right_new, right_old = new == truth, old == truth
    return int((right_new & ~right_old).sum()), int((right_old & ~right_new).sum())


def _pairs(b: int, c: int, n: int) -> None:
    if min(b, c) < 0 or n < 1:
        raise Invalid(f"counts {b}, {c} of {n} cases", code="outside-domain")
    tally(b + c, n, what="discordant pairs")


def _tango(b: int, c: int, n: int, delta: float) -> float:
    linear = -b - c + (2 * n - b + c) * delta
    constant = -c * delta * (1 - delta)
    q = (math.sqrt(max(0.0, linear**2 - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * q + delta * (1 - delta))
    gap = b - c - n * delta
    if variance <= 0.0:
        return math.copysign(math.inf, gap) if abs(gap) > 1e-9 * n else 0.0
    return gap / math.sqrt(variance)
