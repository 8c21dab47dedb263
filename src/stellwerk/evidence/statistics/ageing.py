"""How long a proof lasts: survival of models with age, look-back, audit share, length of leases. Ages are in days.

Which limits apply and who signs is the business of `releases`; here are the numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from stellwerk.core.errors import Invalid
from stellwerk.evidence.statistics.samples import binary, level, positive, same_length, vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Survival:
    """The share of models still within their limit at each age, with a one-sided lower bound.

    Attributes:
        ages: Every age at which a breach or the end of observation was seen, rising.
        at_risk: Origins observed up to that age.
        survival: Kaplan–Meier estimate just after each age.
        lower: Its lower bound at level alpha, falling.
        alpha: That level.
        first_breach: The smallest age at breach, None without any.
    """

    ages: tuple[float, ...]
    at_risk: tuple[int, ...]
    survival: tuple[float, ...]
    lower: tuple[float, ...]
    alpha: float
    first_breach: float | None

    def at(self, age: float) -> tuple[float, float]:
        """Estimate and lower bound at an age; beyond the last one observed the bound is 0."""
        number = int(np.searchsorted(self.ages, age, side="right")) - 1
        if number < 0:
            return 1.0, _unbroken(self.at_risk[0], self.alpha)
        return self.survival[number], self.lower[number] if age <= self.ages[-1] else 0.0

    def proven_age(self, breach_probability: float) -> float | None:
        """L_age: the largest age observed at which the lower bound is at least 1 - breach_probability, else None."""
        target = 1.0 - level(breach_probability, what="breach probability")
        proven = [age for age, bound in zip(self.ages, self.lower, strict=True) if bound >= target]
        return max(proven) if proven else None

    def heuristic_age(self) -> float:
        """Half the smallest age at breach, or half the largest age observed if there was none: no proof."""
        return (self.ages[-1] if self.first_breach is None else self.first_breach) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LookBack:
    """The window of past labels that gives the smallest error under drift.

    Attributes:
        days: W*.
        half_width: Half-width of the two-sided interval it gives, drift included.
    """

    days: float
    half_width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditShare:
    """The share of cases to send to people so that a lease can be renewed.

    Attributes:
        share: n_required/(v·(L-D)), above 0 and at most 1; None if no share is enough.
        reachable: Labels there would be at share 1.
        shortest_lease: D + n_required/v, the shortest lease for which share 1 is enough.
    """

    share: float | None
    reachable: int
    shortest_lease: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLength:
    """The length of a first lease.

    Attributes:
        days: Length, None if it is not provable because the shortest useful lease is longer than allowed.
        limited_by: The limit that was smallest.
        allowed: The smallest limit.
        shortest: L_min, the time a renewal proof takes.
    """

    days: float | None
    limited_by: Literal["cap", "age", "data", "dependencies"]
    allowed: float
    shortest: float


def kaplan_meier(ages: ArrayLike, breached: ArrayLike, *, alpha: float) -> Survival:
    """Survival Π(1 - d/n) of models from an ageing backtest (Kaplan & Meier 1958), lower bound by log–log Greenwood.

    Ŝ^exp(z·√V/|ln Ŝ|), V = Σ d/(n(n-d)) (Kalbfleisch & Prentice 1980). Before the first breach, where that is not
    defined, the exact alpha^(1/n) of n origins still observed: 29 prove 0.9 at 5 %. Overlapping training windows
    make origins dependent; then pass a thinned set.

    Args:
        ages: Shape (n,): age at breach or at the end of observation, at least 0.
        breached: Shape (n,): 1 for a breach, 0 for an end of observation without one.
    """
    times, events = vector(ages, what="ages"), binary(breached, what="breaches")
    same_length(times, events, what="ages and breaches")
    if times.min() < 0:
        raise Invalid("an age is negative", code="outside-domain")
    z = float(stats.norm.isf(level(alpha)))
    points, curve, bounds, risks = np.unique(times), [], [], []
    estimate, variance, bound = 1.0, 0.0, 1.0
    for point in points:
        at_risk = int((times >= point).sum())
        deaths = int(events[times == point].sum())
        estimate *= 1.0 - deaths / at_risk
        if estimate == 0.0:
            bound = 0.0
        elif deaths or variance:
            variance += deaths / (at_risk * (at_risk - deaths))
            bound = min(bound, estimate ** math.exp(z * math.sqrt(variance) / -math.log(estimate)))
        else:
            bound = min(bound, _unbroken(at_risk, alpha))
        curve.append(estimate)
        bounds.append(bound)
        risks.append(at_risk)
    return Survival(
        ages=tuple(points.tolist()),
        at_risk=tuple(risks),
        survival=tuple(curve),
        lower=tuple(bounds),
        alpha=alpha,
        first_breach=float(times[events].min()) if events.any() else None,
    )


def look_back(*, labels_per_day: float, drift: float, alpha: float) -> LookBack:
    """W* = (c/ρ)^(2/3), which minimises c·W^(-1/2) + ρW/2 with c = √(ln(2/α)/(2n)) (cf. Mazzetto & Upfal 2023).

    Args:
        labels_per_day: n, of a loss in [0, 1].
        drift: ρ, change of the risk per day, above 0.
    """
    positive(labels_per_day, what="labels per day")
    positive(drift, what="drift")
    c = math.sqrt(-math.log(level(alpha) / 2) / (2 * labels_per_day))
    days = (c / drift) ** (2 / 3)
    return LookBack(days=days, half_width=c / math.sqrt(days) + drift * days / 2)


def audit_share(*, required: int, cases_per_day: float, lease: float, delay: float) -> AuditShare:
    """The audit share that yields the labels a renewal needs within a lease.

    Args:
        required: Labels the renewal proof needs.
        cases_per_day: Traffic v.
        lease: Length L of the lease in days.
        delay: Time D in days until a label is there (90 % quantile).
    """
    positive(cases_per_day, what="cases per day")
    if required < 1 or min(lease, delay) < 0:
        raise Invalid(f"{required} labels, lease {lease} d, delay {delay} d", code="outside-domain")
    reachable = cases_per_day * max(0.0, lease - delay)
    share = required / reachable if reachable else math.inf
    return AuditShare(
        share=share if share <= 1.0 else None,
        reachable=math.floor(reachable),
        shortest_lease=delay + required / cases_per_day,
    )


def shortest_lease(*, required: int, cases_per_day: float, share: float, delay: float) -> float:
    """L_min = D + n_required/(v·a): no shorter lease can be renewed."""
    if required < 1 or delay < 0 or not 0.0 < share <= 1.0:
        raise Invalid(f"{required} labels, share {share}, delay {delay} d", code="outside-domain")
    return delay + required / (positive(cases_per_day, what="cases per day") * share)


def lease_length(
    *, cap: float, age: float | None, data: float | None, dependencies: float | None, shortest: float
) -> LeaseLength:
    """L = min(cap, age, data, dependencies), not provable if that is below the shortest useful lease.

    Args:
        cap: Limit of the policy for this risk class.
        age: `Survival.proven_age`; None if the policy lets the model go without an ageing backtest.
        data: Time to the earliest end of consent, licence or freshness of an input; None without any.
        dependencies: Time to the end of support of a dependency, 0 with an open critical finding; None without any.
        shortest: L_min of `shortest_lease`.
    """
    limits: dict[Literal["cap", "age", "data", "dependencies"], float] = {"cap": positive(cap, what="cap")}
    if age is not None:
        limits["age"] = age
    if data is not None:
        limits["data"] = data
    if dependencies is not None:
        limits["dependencies"] = dependencies
    if shortest < 0 or not all(math.isfinite(limit) for limit in (shortest, *limits.values())):
        raise Invalid("the limits of a lease must be finite, the shortest lease at least 0", code="outside-domain")
    limited_by = min(limits, key=lambda name: limits[name])
    allowed = max(0.0, limits[limited_by])
    days = allowed if 0.0 < allowed >= shortest else None
    return LeaseLength(days=days, limited_by=limited_by, allowed=allowed, shortest=shortest)


def headroom(*, limit: float, upper: float, at_release: float) -> float:
    """h = (limit - UCB)/(limit - R_release): 1 as good as at release, 0 at the limit, below 0 beyond it."""
    if not limit > at_release:
        raise Invalid(f"risk {at_release} at release is not below its limit {limit}", code="outside-domain")
    return (limit - upper) / (limit - at_release)


def renewed_length(length: float, *, headroom: float, warned: bool, shortest: float, cap: float) -> float | None:
    """L' = clamp(L·g, shortest, cap); g = 1.5 with headroom >= 0.5 and no warning, 1 from 0.1 on, ½ below.

    Returns:
        None with headroom below 0 (the risk is not proven to be within its limit), or if the cap is below the
        shortest useful lease: the lease runs out.
    """
    positive(length, what="length")
    if not headroom >= 0.0 or cap < shortest:
        return None
    factor = 0.5
    if headroom >= 0.1:
        factor = 1.5 if headroom >= 0.5 and not warned else 1.0
    return min(cap, max(shortest, length * factor))


def _unbroken(n: int, alpha: float) -> float:
    """The exact lower bound of a share of which n of n were seen."""
    return math.exp(math.log(alpha) / n)
