"""Samples going in, bounds coming out: input checks and the value `Bounds`. Formulas are in the other modules.

Every check raises `Invalid` and never repairs: a missing value is the caller's decision, not a number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stellwerk.core.errors import Invalid

Floats: TypeAlias = NDArray[np.float64]
Booleans: TypeAlias = NDArray[np.bool_]
Integers: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """An estimate between two one-sided confidence bounds, each at its own level `alpha`.

    `lower` and `upper` together are an interval of level 1 - 2·alpha. A bound is `None` where the data give none
    (too few or constant values of unknown range); nothing is proven by it then.

    Attributes:
        estimate: The statistic on the sample, in the metric's unit.
        lower: At least this with confidence 1 - alpha.
        upper: At most this with confidence 1 - alpha.
        se: Standard error in the metric's unit, where the method has one.
        alpha: One-sided level of each bound.
        n: Number of independent units (cases, or groups for a cluster bootstrap).
        method: How the bounds were computed, for the evidence record.
    """

    estimate: float
    lower: float | None
    upper: float | None
    se: float | None
    alpha: float
    n: int
    method: str


def vector(values: ArrayLike, *, what: str = "values", least: int = 1) -> Floats:
    """A one-dimensional float64 array of at least `least` finite numbers."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise Invalid(f"{what} are not numbers: {cause}", code="invalid-sample") from cause
    if array.ndim != 1:
        raise Invalid(f"{what} have {array.ndim} dimensions (expected 1)", code="invalid-sample")
    if array.size < least:
        raise Invalid(
            f"{array.size} {what} (expected at least {least})", code="too-few-cases", hint="gather more cases"
        )
    finite = np.isfinite(array)
    if not finite.all():
        raise Invalid(
            f"{int((~finite).sum())} of {array.size} {what} are missing or infinite",
            code="invalid-sample",
            hint="decide what a missing value means before measuring",
        )
    return array


def unit(values: ArrayLike, *, what: str = "values", least: int = 1) -> Floats:
    """Like `vector`, and every number within [0, 1]; these methods are wrong, not just rough, outside of it."""
    array = vector(values, what=what, least=least)
    if array.size and (array.min() < 0.0 or array.max() > 1.0):
        raise Invalid(
            f"{what} reach from {array.min():g} to {array.max():g} (expected 0 to 1)",
            code="outside-domain",
            hint="scale a bounded loss to [0, 1] by its known range, never by the range seen",
        )
    return array


def binary(labels: ArrayLike, *, what: str = "labels") -> Booleans:
    """A one-dimensional boolean array from labels that are exactly 0 or 1."""
    array = np.asarray(labels)
    if array.dtype == np.bool_ and array.ndim == 1 and array.size:
        return array
    numbers = vector(array, what=what)
    truth: Booleans = numbers == 1.0
    if not (truth | (numbers == 0.0)).all():
        raise Invalid(f"{what} hold other values than 0 and 1", code="outside-domain")
    return truth


def counts(values: ArrayLike, *, what: str = "counts") -> Floats:
    """Counts per bin: one-dimensional, whole, not negative, not all zero."""
    array = vector(values, what=what)
    if (array < 0).any() or (array != np.floor(array)).any() or not array.any():
        raise Invalid(f"{what} must be whole numbers of at least 0, not all 0", code="invalid-sample")
    return array


def same_length(*arrays: NDArray[Any], what: str = "samples") -> int:
    """The common length of arrays that describe the same cases."""
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1:
        raise Invalid(f"{what} have lengths {sorted(lengths)} (expected one length)", code="invalid-sample")
    return lengths.pop()


def level(alpha: float, *, what: str = "alpha") -> float:
    """A probability strictly between 0 and 1."""
    if not (math.isfinite(alpha) and 0.0 < alpha < 1.0):
        raise Invalid(f"{what} is {alpha} (expected between 0 and 1, both excluded)", code="invalid-level")
    return float(alpha)


def positive(value: float, *, what: str) -> float:
    """A finite number above zero."""
    if not (math.isfinite(value) and value > 0.0):
        raise Invalid(f"{what} is {value} (expected above 0)", code="outside-domain")
    return float(value)


def tally(successes: int, trials: int, *, what: str = "successes") -> None:
    """Check 0 <= successes <= trials."""
    if not 0 <= successes <= trials:
        raise Invalid(f"{successes} {what} of {trials} (expected 0 to {trials})", code="outside-domain")


def constant_bounds(value: float, n: int, *, support: tuple[float, float], alpha: float) -> tuple[float, float]:
    """One-sided bounds of a mean when all n independent values within `support` were equal.

    With probability 1 - alpha at most the share ε = 1 - alpha^(1/n) of the population differs from `value` (Clopper &
    Pearson 1934 with no exception seen; ε ≈ 3/n at 5 %), and that share can lie at the end of the support. Exact:
    if several values v could mislead, their total probability t obeys t^n < alpha, since each needs
    mean < low + alpha^(1/n)·(v - low).
    """
    low, high = support
    if not low <= value <= high:
        raise Invalid(f"values of {value} lie outside the support [{low}, {high}]", code="outside-domain")
    share = -math.expm1(math.log(alpha) / n)
    return value - share * (value - low), value + share * (high - value)


def within(value: float | None, support: tuple[float, float] | None) -> float | None:
    """A bound, moved to the edge of the support where it lies beyond."""
    if value is None or support is None:
        return value
    return min(max(value, support[0]), support[1])


def order_statistic(ordered: Floats, rank: int) -> float | None:
    """The value of a 1-based rank in sorted values, None outside of them or where it is infinite."""
    if not 1 <= rank <= len(ordered) or not math.isfinite(ordered[rank - 1]):
        return None
    return float(ordered[rank - 1])


def check_support(values: Floats, support: tuple[float, float] | None) -> None:
    """Check that values lie in their declared range."""
    if support is not None and (values.min() < support[0] or values.max() > support[1]):
        raise Invalid(
            f"values reach from {values.min():g} to {values.max():g}, outside the support {support}",
            code="outside-domain",
        )


def matrix(values: Sequence[Sequence[float]] | NDArray[Any], *, what: str = "values") -> Floats:
    """A two-dimensional float64 array of finite numbers, at least one row and column."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or not array.size or not np.isfinite(array).all():
        raise Invalid(f"{what} must be a table of finite numbers (got shape {array.shape})", code="invalid-sample")
    return array
