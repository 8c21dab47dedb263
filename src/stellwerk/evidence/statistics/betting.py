"""Tests by betting against a mean in [0, 1]: e-processes, e-detectors, betting bounds. Sequences are in `sequential`.

An e-process may be looked at after every case: under H0 it ever reaches 1/alpha with probability at most alpha. The
data are one series in the order of arrival; each bet uses the past only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from stellwerk.core.errors import Invalid
from stellwerk.evidence.statistics.samples import Floats, level, unit, vector

_BETS = 6

_CEILING = 1e300
"""An e-detector is cut off here, long after its alarm, so that it never becomes infinite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EProcess:
    """Where the e-process for H0 "mean <= limit" of values in [0, 1] stands (Waudby-Smith & Ramdas 2023).

    A value: store it, read it back, `update` it with the next cases. `begin` makes an empty one. Wealth is
    K_t = Π(1 + λ_i·(X_i - limit)) with the bet λ_i = (μ̂ - limit)/(σ̂² + (μ̂ - limit)²) of the past ("aGRAPA"), kept in
    [0, ½/limit]. To test H0 "mean >= limit", bet on 1 - X with 1 - limit. After a long good past it is slow to see a
    rise, because its bets have grown small; that is what `EDetector` is for.

    Attributes:
        limit: The largest mean under H0, between 0 and 1.
        n: Cases seen.
        total: Σ X.
        squares: Σ (X_i - μ̂_i)².
        log_wealth: ln K_n.
        log_peak: ln of the largest K so far, at least 0.
    """

    limit: float
    n: int
    total: float
    squares: float
    log_wealth: float
    log_peak: float

    @classmethod
    def begin(cls, *, limit: float) -> EProcess:
        """The state before the first case: wealth 1."""
        return cls(limit=level(limit, what="limit"), n=0, total=0.0, squares=0.0, log_wealth=0.0, log_peak=0.0)

    @property
    def e_value(self) -> float:
        """The wealth now: an e-value, which multiplies over independent batches. Infinite beyond the floats."""
        return math.exp(self.log_wealth) if self.log_wealth < 709 else math.inf

    @property
    def p_value(self) -> float:
        """The always-valid p-value min(1, 1/max K)."""
        return math.exp(-self.log_peak)

    def rejects(self, alpha: float) -> bool:
        """Whether K has ever reached 1/alpha: the mean exceeds the limit."""
        return self.log_peak >= -math.log(level(alpha))

    def update(self, values: ArrayLike) -> EProcess:
        """The state after further cases, in order of arrival; shape (k,), values in [0, 1], else `Invalid`."""
        following, _ = _bet(self, unit(values, least=0))
        return following


@dataclass(frozen=True, slots=True, kw_only=True)
class EDetector:
    """Where an e-detector for a rise of the mean above `limit` stands (Shin, Ramdas & Rinaldo 2023).

    e-SR: M_n = (M_{n-1} + 1)·E_n; e-CUSUM: M_n = max(M_{n-1}, 1)·E_n. E_n = 1 + λ·(X_n - limit) for six fixed bets
    λ, halving from ½/limit, so that a late rise is seen as fast as an early one; M is the mean of the six. Alarm at
    M >= 1/alpha: the mean number of cases to a false alarm is at least 1/alpha. After an alarm, begin again.

    Attributes:
        kind: `sr` or `cusum`.
        alpha: 1 / (cases between false alarms); F alarms a year at v cases a year are F/v.
        limit: The largest mean that is no reason for alarm, between 0 and 1.
        n: Cases seen.
        parts: M_n for each bet.
        alarm_at: Number of the first case at which their mean reached 1/alpha.
    """

    kind: Literal["sr", "cusum"]
    alpha: float
    limit: float
    n: int
    parts: tuple[float, ...]
    alarm_at: int | None

    @classmethod
    def begin(cls, *, limit: float, alpha: float, kind: Literal["sr", "cusum"] = "sr") -> EDetector:
        """The state before the first case."""
        level(limit, what="limit")
        return cls(kind=kind, alpha=level(alpha), limit=limit, n=0, parts=(0.0,) * _BETS, alarm_at=None)

    @property
    def value(self) -> float:
        """M_n."""
        return sum(self.parts) / len(self.parts)

    def update(self, values: ArrayLike) -> EDetector:
        """The state after further cases, in order of arrival; shape (k,), values in [0, 1], else `Invalid`."""
        x = unit(values, least=0)
        if not len(x):
            return self
        gain = (x - self.limit) / self.limit
        running = np.array(
            [
                detect(1.0 + 0.5 ** (number + 1) * gain, kind=self.kind, start=start)
                for number, start in enumerate(self.parts)
            ]
        )
        alarms = np.flatnonzero(running.mean(axis=0) >= 1.0 / self.alpha)
        first = self.n + int(alarms[0]) + 1 if len(alarms) else None
        return EDetector(
            kind=self.kind,
            alpha=self.alpha,
            limit=self.limit,
            n=self.n + len(x),
            parts=tuple(running[:, -1].tolist()),
            alarm_at=first if self.alarm_at is None else self.alarm_at,
        )


def e_process(values: ArrayLike, *, limit: float) -> Floats:
    """ln K after each of n values in [0, 1], for H0 "mean <= limit"; shape (n,). See `EProcess`."""
    _, factors = _bet(EProcess.begin(limit=limit), unit(values))
    return np.cumsum(np.log(factors))


def detect(factors: ArrayLike, *, kind: Literal["sr", "cusum"], start: float = 0.0) -> Floats:
    """The e-detector after each e-value E_i >= 0, shape (n,) in and out; under H0 E has mean <= 1 given the past."""
    sample = vector(factors, what="factors", least=0)
    if len(sample) and sample.min() < 0.0:
        raise Invalid("an e-value is negative", code="outside-domain")
    running = np.empty(len(sample))
    value = start
    for number, factor in enumerate(sample.tolist()):
        value = min(_CEILING, ((value + 1.0) if kind == "sr" else max(value, 1.0)) * factor)
        running[number] = value
    return running


def betting_lower(values: ArrayLike, *, alpha: float) -> float:
    """The lower bound of a mean after n >= 1 values in [0, 1], valid at every prefix, mostly above Bernstein's.

    The largest m against which the wealth of the predictable plug-in bets of `EmpiricalBernstein` has ever reached
    1/alpha (Waudby-Smith & Ramdas 2023, one half of the hedged capital). That wealth falls in m, so m is
    found by bisection, to 1e-7. Depends on the order of arrival.
    """
    sample = unit(values)
    cost = -math.log(level(alpha))
    step = np.arange(1, len(sample) + 1, dtype=np.float64)
    _, squares_before = _past(sample, n=0, total=0.0, squares=0.0)
    bet = np.minimum(np.sqrt(2 * cost / ((0.25 + squares_before) * np.log1p(step))), 0.5)

    def refuted(m: float) -> bool:
        return float(np.cumsum(np.log1p(bet * (sample - m))).max()) >= cost

    low, high = 0.0, 1.0
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def betting_upper(values: ArrayLike, *, alpha: float) -> float:
    """The upper bound that mirrors `betting_lower`."""
    return 1.0 - betting_lower(1.0 - unit(values), alpha=alpha)


def _past(x: Floats, *, n: int, total: float, squares: float) -> tuple[Floats, Floats]:
    """μ̂_{i-1} and Σ_{j<i}(X_j - μ̂_j)² before each case, with μ̂_t = (½ + ΣX)/(t + 1)."""
    step = np.arange(n + 1, n + len(x) + 1, dtype=np.float64)
    mean = (0.5 + total + np.cumsum(x)) / (step + 1.0)
    before = np.concatenate(([(0.5 + total) / (n + 1.0)], mean))
    squared = np.concatenate(([squares], squares + np.cumsum((x - mean) ** 2)))
    return before[:-1], squared[:-1]


def _bet(state: EProcess, x: Floats) -> tuple[EProcess, Floats]:
    """The state after some values, and the factor 1 + λ·(X - limit) of each."""
    if not len(x):
        return state, x
    mean, squares = _past(x, n=state.n, total=state.total, squares=state.squares)
    variance = (0.25 + squares) / np.arange(state.n + 1, state.n + len(x) + 1)
    edge = mean - state.limit
    bet = np.clip(edge / (variance + edge**2), 0.0, 0.5 / state.limit)
    factors: Floats = 1.0 + bet * (x - state.limit)
    wealth = state.log_wealth + np.cumsum(np.log(factors))
    total = state.total + float(x.sum())
    n = state.n + len(x)
    following = EProcess(
        limit=state.limit,
        n=n,
        total=total,
        squares=float(squares[-1]) + (float(x[-1]) - (0.5 + total) / (n + 1)) ** 2,
        log_wealth=float(wealth[-1]),
        log_peak=max(state.log_peak, float(wealth.max())),
    )
    return following, factors
