"""Confidence sequences for a running mean: bounds that may be looked at after every case. Betting is in `betting`.

"Every prefix valid": with probability 1 - alpha the bound is right at all times at once, so one may look at each case
and stop at will. That holds for one series in the order of arrival whose mean stays the same given the past, and per
bound: a lower and an upper bound together err with at most 2·alpha.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from stellwerk.core.errors import Invalid
from stellwerk.evidence.statistics.samples import Floats, level, positive, unit, vector


@dataclass(frozen=True, slots=True, kw_only=True)
class EmpiricalBernstein:
    """Where an empirical-Bernstein confidence sequence for values in [0, 1] stands (Waudby-Smith & Ramdas 2023).

    A value: store it, read it back, `update` it with the next cases. `begin` makes an empty one. With μ̂, σ̂² from the
    past, λ_i = min(√(2·ln(1/α)/(σ̂²·i·ln(1+i))), ½) and ψ(λ) = -ln(1-λ) - λ:
    L_t = Σλ_i·X_i/Σλ_i - (ln(1/α) + Σψ(λ_i)·(X_i - μ̂_{i-1})²)/Σλ_i, U_t likewise for 1 - X.

    Attributes:
        alpha: Level of each of the two one-sided sequences.
        n: Cases seen.
        total: Σ X.
        squares: Σ (X_i - μ̂_i)².
        weight: Σ λ_i.
        weighted: Σ λ_i·X_i.
        penalty: Σ ψ(λ_i)·(X_i - μ̂_{i-1})².
        lower: Largest lower bound so far, at least 0.
        upper: Smallest upper bound so far, at most 1; below `lower` only if the mean has moved, or by an error of
            probability 2·alpha.
    """

    alpha: float
    n: int
    total: float
    squares: float
    weight: float
    weighted: float
    penalty: float
    lower: float
    upper: float

    @classmethod
    def begin(cls, *, alpha: float) -> EmpiricalBernstein:
        """The state before the first case: the mean is somewhere in [0, 1]."""
        return cls(
            alpha=level(alpha),
            n=0,
            total=0.0,
            squares=0.0,
            weight=0.0,
            weighted=0.0,
            penalty=0.0,
            lower=0.0,
            upper=1.0,
        )

    @property
    def mean(self) -> float | None:
        """The plain mean of the cases seen."""
        return self.total / self.n if self.n else None

    def update(self, values: ArrayLike) -> EmpiricalBernstein:
        """The state after further cases, in order of arrival; shape (k,), values in [0, 1], else `Invalid`."""
        following, _ = _advance(self, values)
        return following


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningBounds:
    """Running bounds after each case, each the best so far: `lower` rises, `upper` falls. Shape (n,) each."""

    lower: Floats
    upper: Floats


def empirical_bernstein(values: ArrayLike, *, alpha: float) -> RunningBounds:
    """The running bounds of `EmpiricalBernstein` after each of n >= 1 values in [0, 1]."""
    sample = unit(values)
    _, (lower, upper) = _advance(EmpiricalBernstein.begin(alpha=alpha), sample)
    return RunningBounds(
        lower=np.maximum.accumulate(np.maximum(lower, 0.0)), upper=np.minimum.accumulate(np.minimum(upper, 1.0))
    )


def asymptotic_half_width(sigma: float | Floats, t: float | Floats, *, rho: float, alpha: float) -> float | Floats:
    """Half-width of the two-sided asymptotic confidence sequence μ̂_t ± h (Waudby-Smith et al. 2024, Ann. Stat. 52).

    σ̂_t·√(2(tρ²+1)/(t²ρ²) · ln(√(tρ²+1)/α)), for values of any range. Only asymptotic: look at it from t = 100 on.
    For one side at level α, pass 2α.

    Args:
        sigma: Standard deviation so far, in the unit of the values; scalar or shape (k,).
        t: Number of cases, at least 1; scalar or shape (k,).
        rho: Tuning, see `rho_for`.
    """
    level(alpha)
    positive(rho, what="rho")
    spread, time = np.asarray(sigma, dtype=np.float64), np.asarray(t, dtype=np.float64)
    if not (np.isfinite(spread).all() and np.isfinite(time).all()) or (spread < 0).any() or (time < 1).any():
        raise Invalid("sigma must be at least 0 and t at least 1", code="outside-domain")
    scale = time * rho**2 + 1.0
    half: Floats = spread * np.sqrt(2 * scale / (time * rho) ** 2 * np.log(np.sqrt(scale) / alpha))
    return float(half) if half.ndim == 0 else half


def asymptotic(values: ArrayLike, *, alpha: float, tuned_for: int = 1000, burn_in: int = 100) -> RunningBounds:
    """Running bounds of a mean of any range by the asymptotic confidence sequence, each one-sided at alpha.

    Before `burn_in` cases the bounds are infinite. Shape (n,) in and out.
    """
    sample = vector(values)
    n = np.arange(1, len(sample) + 1, dtype=np.float64)
    mean = np.cumsum(sample) / n
    shifted = sample - sample[0]
    variance = np.maximum(0.0, np.cumsum(shifted**2) / n - (np.cumsum(shifted) / n) ** 2)
    half = asymptotic_half_width(np.sqrt(variance), n, rho=rho_for(tuned_for, alpha=2 * alpha), alpha=2 * alpha)
    half = np.where((n < burn_in) | (variance == 0.0), np.inf, half)
    return RunningBounds(lower=np.maximum.accumulate(mean - half), upper=np.minimum.accumulate(mean + half))


def rho_for(t: float, *, alpha: float) -> float:
    """The tuning ρ that makes the asymptotic sequence about narrowest at time t: √((-2·ln α + ln(1 - 2·ln α))/t)."""
    positive(t, what="t")
    spent = -2.0 * math.log(level(alpha))
    return math.sqrt((spent + math.log1p(spent)) / t)


def msprt(difference: float, *, n: float, variance: float, mixing: float, null: float = 0.0) -> float:
    """The mixture likelihood ratio Λ of an A/B difference; always-valid p = min(1, 1/max Λ) (Johari et al. 2022).

    √(V/(V+nτ²))·exp{n²τ²(d-θ0)²/(2V(V+nτ²))} with V = 2σ²; infinite where it exceeds the floats.

    Args:
        difference: Mean of one arm less mean of the other.
        n: Cases per arm.
        variance: σ² of one case.
        mixing: τ², prior variance of the difference.
        null: θ0, the difference under H0.
    """
    positive(n, what="n")
    positive(mixing, what="mixing")
    v = 2 * positive(variance, what="variance")
    width = v + n * mixing
    exponent = n**2 * mixing * (difference - null) ** 2 / (2 * v * width) + math.log(v / width) / 2
    return math.exp(exponent) if exponent < 709 else math.inf


def _advance(state: EmpiricalBernstein, values: ArrayLike) -> tuple[EmpiricalBernstein, tuple[Floats, Floats]]:
    """The state after some values, and the bounds after each (not yet intersected)."""
    x = unit(values, least=0)
    if not len(x):
        return state, (x, x)
    step = np.arange(state.n + 1, state.n + len(x) + 1, dtype=np.float64)
    totals = state.total + np.cumsum(x)
    mean = (0.5 + totals) / (step + 1.0)
    mean_before = np.concatenate(([(0.5 + state.total) / (state.n + 1.0)], mean[:-1]))
    squares = state.squares + np.cumsum((x - mean) ** 2)
    squares_before = np.concatenate(([state.squares], squares[:-1]))
    cost = -math.log(state.alpha)
    # The variance before case i is (¼ + squares)/i: the i of the formula cancels.
    bet = np.minimum(np.sqrt(2 * cost / ((0.25 + squares_before) * np.log1p(step))), 0.5)
    weight = state.weight + np.cumsum(bet)
    weighted = state.weighted + np.cumsum(bet * x)
    penalty = state.penalty + np.cumsum((-np.log1p(-bet) - bet) * (x - mean_before) ** 2)
    half = (cost + penalty) / weight
    lower, upper = weighted / weight - half, weighted / weight + half
    following = EmpiricalBernstein(
        alpha=state.alpha,
        n=state.n + len(x),
        total=float(totals[-1]),
        squares=float(squares[-1]),
        weight=float(weight[-1]),
        weighted=float(weighted[-1]),
        penalty=float(penalty[-1]),
        lower=max(state.lower, float(lower.max())),
        upper=min(state.upper, float(upper.min())),
    )
    return following, (lower, upper)
