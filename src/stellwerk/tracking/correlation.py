"""How two questions about traces go together."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """How often two filters find the same traces; `npmi` is undefined where one of them finds none."""

    first: int
    second: int
    joint: int
    total: int
    npmi: float
    smoothed: float


def correlated(joint: int, first: int, second: int, total: int) -> Correlation:
    """How what two filters find goes together, among everything there is."""
    counts = joint, first, second, total
    return Correlation(
        first=first,
        second=second,
        joint=joint,
        total=total,
        npmi=-1.0 if first and second and not joint else npmi(*counts, smoothing=0.0),
        smoothed=npmi(*counts, smoothing=0.5),
    )


def npmi(joint: int, first: int, second: int, total: int, *, smoothing: float) -> float:
    """Normalised pointwise mutual information of two events (Bouma, 2009): -1 never together, 0 independent, 1 always.

    Args:
        smoothing: What is added to each of the four counts; 0.5 is Jeffreys' prior.
    """
    cells = joint, first - joint, second - joint, total - first - second + joint
    if not first or not second or min(cells) < 0:
        return math.nan
    if cells[1:] == (0, 0, 0):
        return 1.0
    both, one, other, neither = (count + smoothing for count in cells)
    everything = both + one + other + neither
    if both <= 0:
        return math.nan
    information = math.log(both) + math.log(everything) - math.log(both + one) - math.log(both + other)
    return max(-1.0, min(1.0, information / (math.log(everything) - math.log(both))))
