"""How many cases a proof needs, and how strict the next attempt must be. The proofs are in the other modules.

All n are whole numbers, rounded up; alpha is one-sided, power = 1 - beta.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from scipy import stats

from stellwerk.core.errors import Invalid
from stellwerk.evidence.statistics.samples import Floats, Integers, level, positive

MOST = 5_000_000
"""No sample size above this is searched for; the answer is None then."""


def alpha_at_attempt(alpha: float, k: int) -> float:
    """The level of attempt k >= 1 on one gate set, α·6/(π²k²): over all attempts they sum to alpha."""
    if k < 1:
        raise Invalid(f"attempt {k} (expected 1 or later)", code="outside-domain")
    return level(alpha) * 6.0 / (math.pi * k) ** 2


def paired_mean_n(*, sigma: float, margin: float, delta: float = 0.0, alpha: float, power: float) -> int | None:
    """Cases to prove Δ > -margin if the true difference is delta: ((z_{1-α} + z_{1-β})·σ_D/(margin + delta))².

    Args:
        sigma: Standard deviation of the difference per case.
        margin: Non-inferiority margin, 0 for superiority; in the unit of sigma.

    Returns:
        None if delta lies at or below -margin: no sample size proves it.
    """
    positive(sigma, what="sigma")
    if not margin + delta > 0.0:
        return None
    return _ceil((_reach(alpha, power) * sigma / (margin + delta)) ** 2)


def paired_binary_n(
    *, discordant: float, margin: float, delta: float = 0.0, alpha: float, power: float
) -> int | None:
    """Like `paired_mean_n` for right/wrong answers: σ_D² = discordant - delta², the share of discordant pairs."""
    if not abs(delta) <= discordant <= 1.0 or discordant <= delta**2:
        raise Invalid(f"{discordant} of the pairs discordant, difference {delta}", code="outside-domain")
    sigma = math.sqrt(discordant - delta**2)
    return paired_mean_n(sigma=sigma, margin=margin, delta=delta, alpha=alpha, power=power)


def ceiling_power(n: int, *, rate: float, ceiling: float, alpha: float) -> float:
    """P(Clopper–Pearson upper bound <= ceiling) after n cases of a true rate."""
    if n < 1:
        raise Invalid(f"{n} cases (expected at least 1)", code="too-few-cases")
    return float(_ceiling_power(np.array([n]), rate, level(ceiling, what="ceiling"), level(alpha))[0])


def ceiling_n(*, ceiling: float, rate: float, alpha: float, power: float) -> int | None:
    """The smallest n at which the Clopper–Pearson upper bound of a rate stays under a ceiling with this power.

    Power rises in a sawtooth: a slightly larger n can have slightly less.

    Args:
        ceiling: Largest rate allowed, e.g. of errors.
        rate: The true rate that is assumed.

    Returns:
        None if rate >= ceiling, or if more than `MOST` cases were needed.
    """
    level(ceiling, what="ceiling")
    level(power, what="power")
    if not 0.0 <= rate <= 1.0:
        raise Invalid(f"the assumed rate is {rate} (expected 0 to 1)", code="outside-domain")
    if rate >= ceiling:
        return None
    # Without any error at least ln α/ln(1-ceiling) cases; half the normal approximation is safely too few.
    z, w = float(stats.norm.isf(level(alpha))), float(stats.norm.ppf(power))
    normal = ((z * math.sqrt(ceiling * (1 - ceiling)) + w * math.sqrt(rate * (1 - rate))) / (ceiling - rate)) ** 2
    start = max(math.floor(math.log(alpha) / math.log1p(-ceiling)), math.floor(normal / 2) - 50, 1)
    while start <= MOST:
        sizes = np.arange(start, start + 4096)
        enough = np.flatnonzero(_ceiling_power(sizes, rate, ceiling, alpha) >= power)
        if len(enough):
            return int(sizes[enough[0]])
        start += 4096
    return None


def floor_n(*, floor: float, rate: float, alpha: float, power: float) -> int | None:
    """The smallest n at which the Clopper–Pearson lower bound of a rate reaches a floor; mirrors `ceiling_n`."""
    level(floor, what="floor")
    return ceiling_n(ceiling=1.0 - floor, rate=1.0 - rate, alpha=alpha, power=power)


def quantile_n(q: float, *, alpha: float) -> int:
    """The smallest n whose largest value is an upper bound of the q-quantile: q^n <= alpha; 299 for 0.99 at 0.05."""
    return _ceil(math.log(level(alpha)) / math.log(level(q, what="q")))


def n_needed(
    estimate: float,
    se: float,
    n: int,
    bound: float,
    alpha: float,
    power: float,
    *,
    side: Literal["floor", "ceiling"] = "floor",
) -> int | None:
    """The whole sample size at which this estimate would be proven beyond a bound; n of it are there already.

    ((z_{1-α} + z_{1-β})·σ/(estimate - bound))² with σ = se·√n: for means, AUC and differences, whose error falls
    as 1/√n. With se 0, the size at which `constant_bounds` of a metric in [0, 1] reaches the bound; for an AUC that
    counts the rarer class. The answer can be below n where the bound was missed by a stricter method than Wald's.

    Returns:
        None if the estimate lies at the bound (10^12 cases away) or on its wrong side: more cases are not what is
        missing.
    """
    gap = estimate - bound if side == "floor" else bound - estimate
    if n < 1 or not math.isfinite(gap) or not (math.isfinite(se) and se >= 0.0):
        raise Invalid(f"estimate {estimate} ± {se} of {n} cases, bound {bound}", code="outside-domain")
    if gap <= 0.0:
        return None
    if se == 0.0:
        cases = math.log(level(alpha)) / math.log1p(-gap) if gap < 1.0 else 1.0
        return _ceil(cases) if cases <= 1e12 else None
    ratio = _reach(alpha, power) * se / gap
    return _ceil(n * ratio**2) if math.sqrt(n) * ratio <= 1e6 else None


def _ceiling_power(n: Integers, rate: float, ceiling: float, alpha: float) -> Floats:
    # The bound stays under the ceiling for k <= the largest k with P(Bin(n, ceiling) <= k) <= alpha.
    most = stats.binom.ppf(alpha, n, ceiling)
    most = np.where(stats.binom.cdf(most, n, ceiling) <= alpha, most, most - 1)
    return np.asarray(stats.binom.cdf(most, n, rate), dtype=np.float64)


def _reach(alpha: float, power: float) -> float:
    return float(stats.norm.isf(level(alpha)) + stats.norm.ppf(level(power, what="power")))


def _ceil(value: float) -> int:
    return math.ceil(value * (1 - 1e-12))
