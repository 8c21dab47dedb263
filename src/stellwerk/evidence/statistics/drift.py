"""Drift of one column between a reference and now: statistics, calibrated limits, multiplicity. Streams: `betting`.

Binned statistics take counts per bin, reference first. `numeric_counts` and `category_counts` make them from values;
what is missing is counted in a bin of its own, because a rise of missing values is drift too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from stellwerk.core.errors import Invalid
from stellwerk.evidence.statistics.paired import Significance
from stellwerk.evidence.statistics.samples import (
    Booleans,
    Floats,
    Integers,
    counts,
    level,
    matrix,
    positive,
    same_length,
    unit,
    vector,
)


def quantile_edges(reference: ArrayLike, *, bins: int = 10) -> tuple[float, ...]:
    """The inner edges of equally filled bins of reference values, shape (n,); missing ones (NaN) are left out.

    Heavy ties give fewer, unequal bins. A tuple, so that it can be stored beside the reference counts.
    """
    if bins < 2:
        raise Invalid(f"{bins} bins (expected at least 2)", code="outside-domain")
    values = _numbers(reference)
    present = values[~np.isnan(values)]
    if not len(present):
        raise Invalid("no reference value is present", code="too-few-cases")
    edges = np.quantile(present, np.arange(1, bins) / bins, method="inverted_cdf")
    largest = float(present.max())
    # The largest value as an edge would leave the last bin empty; if it is the only one, either side is a change.
    inner = tuple(float(edge) for edge in np.unique(edges) if edge < largest)
    return inner or (math.nextafter(largest, -math.inf), largest)


def numeric_counts(values: ArrayLike, edges: Sequence[float]) -> Integers:
    """Counts in (-∞, e1], (e1, e2], … (ek, ∞) and of missing values (NaN): shape (len(edges) + 2,)."""
    numbers = _numbers(values)
    missing = np.isnan(numbers)
    found = np.searchsorted(np.asarray(edges, dtype=np.float64), numbers, side="left")
    found[missing] = len(edges) + 1
    return np.bincount(found, minlength=len(edges) + 2).astype(np.int64)


def category_counts(values: ArrayLike, categories: Sequence[object]) -> Integers:
    """Counts of each category in their order, and of all others: shape (len(categories) + 1,).

    Missing values are among the others, unless `None` is a category.
    """
    number = {category: index for index, category in enumerate(categories)}
    result = np.zeros(len(categories) + 1, dtype=np.int64)
    for category, count in Counter(np.asarray(values).tolist()).items():
        result[number.get(category, len(categories))] += count
    return result


def psi(reference: ArrayLike, current: ArrayLike) -> float:
    """Population stability index Σ(p-q)·ln(p/q) of two rows of counts, ½ added to each count; at least 0.

    Bins that are empty in both are left out. Judge it by `psi_limit` or `block_limit`: the folk limits 0.1 and 0.25
    ignore the number of cases.
    """
    p, q = _shares(reference, current, added=0.5)
    return float(((p - q) * np.log(p / q)).sum())


def occupied(reference: ArrayLike, current: ArrayLike) -> int:
    """The number of bins that are not empty in both: the `bins` of `psi_limit`."""
    return len(_kept(reference, current)[0])


def psi_limit(bins: int, n_reference: int, n_current: int, *, alpha: float) -> float:
    """The (1 - alpha) quantile of PSI without drift, χ²_{B-1}·(1/N + 1/M) (Yurdakul 2018), for independent cases."""
    level(alpha)
    if bins < 2 or min(n_reference, n_current) < 1:
        raise Invalid(f"{bins} bins, {n_reference} and {n_current} cases", code="outside-domain")
    return float(stats.chi2.isf(alpha, bins - 1)) * (1 / n_reference + 1 / n_current)


def psi_blocks(blocks: Sequence[Sequence[float]] | NDArray[np.int64]) -> Floats:
    """PSI of each reference block against the rest of the reference: the null for `block_limit`.

    Args:
        blocks: Counts of shape (blocks, bins), one row per past period of the size and season of the current one.
    """
    table = matrix(blocks, what="block counts")
    if len(table) < 2:
        raise Invalid("one reference block (expected at least 2)", code="too-few-cases")
    total = table.sum(axis=0)
    return np.array([psi(total - row, row) for row in table])


def block_limit(null: ArrayLike, *, alpha: float) -> tuple[float, float]:
    """A limit from the past instead of a table, and the level it really has.

    The (1 - alpha) quantile of a statistic over reference blocks versus the rest, as the order statistic of rank
    ⌈(1-alpha)·(K+1)⌉, so that a further block exceeds it with probability at most alpha (blocks exchangeable; Vovk et
    al. 2005). It absorbs autocorrelation and season. With K < 1/alpha - 1 blocks the largest is taken, and the level
    is 1/(K+1) instead.

    Args:
        null: The statistic of each block, shape (K,).

    Returns:
        (limit, level): exceeding the limit is a false alarm with at most this probability.
    """
    ordered = np.sort(vector(null, what="block statistics"))
    rank = min(len(ordered), math.ceil((1 - level(alpha)) * (len(ordered) + 1) - 1e-9))
    return float(ordered[rank - 1]), 1.0 - rank / (len(ordered) + 1)


def jensen_shannon(reference: ArrayLike, current: ArrayLike) -> float:
    """Jensen–Shannon distance √(½KL(p‖m) + ½KL(q‖m)) of two rows of counts, in nats: 0 to √ln 2 = 0.83."""
    p, q = _shares(reference, current, added=0.0)
    middle = (p + q) / 2
    divergence = sum(float(stats.entropy(part, middle)) for part in (p, q)) / 2
    return math.sqrt(max(0.0, divergence))


def largest_difference(reference: ArrayLike, current: ArrayLike) -> float:
    """L∞ distance max|p - q| of two rows of counts, 0 to 1: an effect size for categories, not a test."""
    p, q = _shares(reference, current, added=0.0)
    return float(np.abs(p - q).max())


def chi_square(reference: ArrayLike, current: ArrayLike) -> Significance:
    """Pearson's χ² test that two rows of counts come from one distribution; bins empty in both are left out."""
    p, q = _kept(reference, current)
    if len(p) < 2:
        return Significance(statistic=0.0, p=1.0, df=0)
    expected = np.outer([p.sum(), q.sum()], p + q) / (p.sum() + q.sum())
    statistic = float(((np.array([p, q]) - expected) ** 2 / expected).sum())
    return Significance(statistic=statistic, p=float(stats.chi2.sf(statistic, len(p) - 1)), df=len(p) - 1)


def wasserstein(reference: ArrayLike, current: ArrayLike) -> float:
    """Wasserstein-1 distance ∫|F - G| in standard deviations of the reference; shapes (n,) and (m,).

    Raises:
        Invalid: `no-variation` if the reference is constant and the current values differ from it.
    """
    a, b = vector(reference, what="reference values"), vector(current, what="current values")
    distance = float(stats.wasserstein_distance(a, b))
    sigma = float(a.std())
    if distance == 0.0:
        return 0.0
    if a.min() == a.max():
        raise Invalid("the reference is constant", code="no-variation", hint="compare counts per value instead")
    return distance / sigma


def kolmogorov_smirnov(reference: ArrayLike, current: ArrayLike) -> Significance:
    """sup|F - G| of two samples of shapes (n,) and (m,), with the asymptotic p-value (Smirnov 1948).

    √(nm/(n+m))·sup|F - G| is judged by Kolmogorov's distribution; ties make that conservative.
    """
    a, b = np.sort(vector(reference, what="reference values")), np.sort(vector(current, what="current values"))
    places = np.concatenate([a, b])
    difference = np.searchsorted(a, places, side="right") / len(a) - np.searchsorted(b, places, side="right") / len(b)
    statistic = float(np.abs(difference).max())
    scale = math.sqrt(len(a) * len(b) / (len(a) + len(b)))
    return Significance(statistic=statistic, p=float(stats.kstwobign.sf(scale * statistic)), df=None)


def ks_limit(n_reference: int, n_current: int, *, alpha: float) -> float:
    """The limit c(α)·√((N+M)/(NM)) of the Kolmogorov–Smirnov statistic, c(α) = √(-½·ln(α/2)) (Massey 1951)."""
    if min(n_reference, n_current) < 1:
        raise Invalid(f"{n_reference} and {n_current} cases", code="outside-domain")
    return math.sqrt(-math.log(level(alpha) / 2) / 2 * (1 / n_reference + 1 / n_current))


def e_benjamini_hochberg(e_values: ArrayLike, *, alpha: float) -> Booleans:
    """Which of m e-values are rejected at false discovery rate alpha, under any dependence (Wang & Ramdas 2022).

    The k largest, for the largest k with e_(k) >= m/(k·alpha). Shape (m,) in and out.
    """
    e = np.asarray(e_values, dtype=np.float64)
    if e.ndim != 1 or np.isnan(e).any() or (e < 0).any():
        raise Invalid("e-values must be at least 0", code="outside-domain")
    ordered = np.sort(e)[::-1]
    passing = np.flatnonzero(ordered >= len(e) / (np.arange(1, len(e) + 1) * level(alpha)))
    return e >= ordered[passing[-1]] if len(passing) else np.zeros(len(e), dtype=np.bool_)


def benjamini_hochberg(p_values: ArrayLike, *, alpha: float) -> Booleans:
    """Which of m p-values are rejected at false discovery rate alpha (1995), if independent or positively dependent.

    The k smallest, for the largest k with p_(k) <= k·alpha/m. Shape (m,) in and out.
    """
    p = unit(p_values, what="p-values", least=0)
    ordered = np.sort(p)
    passing = np.flatnonzero(ordered <= np.arange(1, len(p) + 1) * level(alpha) / max(1, len(p)))
    return p <= ordered[passing[-1]] if len(passing) else np.zeros(len(p), dtype=np.bool_)


def adwin_cut(n0: int, n1: int, *, variance: float, delta: float, n: int | None = None) -> float:
    """ADWIN's ε_cut: cut a window of values in [0, 1] where the parts' means differ by more (Bifet & Gavaldà 2007).

    √((2/m)·σ²·ln(2/δ')) + (2/(3m))·ln(2/δ') with 1/m = 1/n0 + 1/n1 and δ' = δ/ln n; n is n0 + n1 unless given.
    """
    whole = n0 + n1 if n is None else n
    if min(n0, n1) < 1 or whole < 3 or not 0.0 <= variance <= 0.25:
        raise Invalid(f"parts of {n0} and {n1} cases with variance {variance}", code="outside-domain")
    inverse = 1 / n0 + 1 / n1
    cost = math.log(2 * math.log(whole) / level(delta, what="delta"))
    return math.sqrt(2 * inverse * variance * cost) + 2 / 3 * inverse * cost


def warning_level(*, false_alarms_a_year: float, tests: int, runs_a_year: float) -> float:
    """The level of one test of a warning budget: α = F/(m·f), at most ½."""
    positive(false_alarms_a_year, what="false alarms a year")
    return min(0.5, false_alarms_a_year / (positive(tests, what="tests") * positive(runs_a_year, what="runs a year")))


def _numbers(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise Invalid(f"values have {array.ndim} dimensions (expected 1)", code="invalid-sample")
    return array


def _kept(reference: ArrayLike, current: ArrayLike) -> tuple[Floats, Floats]:
    p, q = counts(reference, what="reference counts"), counts(current, what="current counts")
    same_length(p, q, what="reference and current counts")
    keep = p + q > 0
    return p[keep], q[keep]


def _shares(reference: ArrayLike, current: ArrayLike, *, added: float) -> tuple[Floats, Floats]:
    p, q = (part + added for part in _kept(reference, current))
    return p / p.sum(), q / q.sum()
