"""Whether a metric came out again: the interval in which one more seed would lie, and equivalence of two sets of seeds.

Which level of reproducibility follows is decided in `evidence.reproduction`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike
from scipy import stats

from stellwerk.core.errors import Invalid
from stellwerk.evidence.statistics.samples import Floats, level, positive, vector

LEVEL = 0.99
"""Of the prediction interval: one honest rebuild in a hundred lies outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalence:
    """Two one-sided tests of whether two means lie within a margin of each other.

    Attributes:
        difference: The second mean minus the first.
        lower: Lower end of the interval of level 1 - 2·alpha.
        upper: Its upper end. The means are equivalent where both ends lie within the margin.
        p: The larger of the two p-values.
    """

    difference: float
    lower: float
    upper: float
    p: float
    margin: float
    alpha: float

    @property
    def proven(self) -> bool:
        return self.p < self.alpha


def prediction_interval(values: ArrayLike, *, confidence: float = LEVEL) -> tuple[float, float]:
    """Where one more value of the same normal source lies: x̄ ± t(k−1)·s·√(1 + 1/k) of k values.

    Raises:
        Invalid: `too-few-cases` for a single value, which says nothing about the spread.
    """
    seen = vector(values, what="seeds", least=2)
    level(confidence, what="confidence")
    k = len(seen)
    t = float(stats.t.ppf(0.5 + confidence / 2, k - 1))
    half = t * float(seen.std(ddof=1)) * math.sqrt(1 + 1 / k)
    centre = float(seen.mean())
    return centre - half, centre + half


def equivalence(first: ArrayLike, second: ArrayLike, *, margin: float, alpha: float = 0.05) -> Equivalence:
    """TOST (Schuirmann 1987) for means with unequal variances (Welch): is |second − first| below the margin?"""
    one, two = vector(first, what="seeds", least=2), vector(second, what="seeds", least=2)
    positive(margin, what="margin")
    level(alpha)
    difference = float(two.mean() - one.mean())
    se, freedom = _welch(one, two)
    if se == 0.0:  # nothing varies, so the difference is known
        p = 0.0 if abs(difference) < margin else 1.0
        return Equivalence(difference=difference, lower=difference, upper=difference, p=p, margin=margin, alpha=alpha)
    above = float(stats.t.sf((difference + margin) / se, freedom))
    below = float(stats.t.cdf((difference - margin) / se, freedom))
    half = float(stats.t.ppf(1 - alpha, freedom)) * se
    return Equivalence(
        difference=difference,
        lower=difference - half,
        upper=difference + half,
        p=max(above, below),
        margin=margin,
        alpha=alpha,
    )


def _welch(one: Floats, two: Floats) -> tuple[float, float]:
    """Standard error of the difference of two means, and its degrees of freedom (Welch & Satterthwaite)."""
    parts = [float(values.var(ddof=1)) / len(values) for values in (one, two)]
    total = sum(parts)
    if not math.isfinite(total):
        raise Invalid("the seeds' values are too large to be compared", code="invalid-sample")
    if total == 0.0:
        return 0.0, 1.0
    shares = [(part / total) ** 2 / (len(values) - 1) for part, values in zip(parts, (one, two), strict=True)]
    return math.sqrt(total), 1 / sum(shares)
