"""How far columns have moved since release: their baselines, and what of a change is neither chance nor the past.

Significance is PSI against χ² (Yurdakul 2018) plus what past blocks moved, by Benjamini–Hochberg over the columns;
material is what also has an effect (`methods` 2.3, rules 1 to 3). The statistics themselves are in `evidence`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from stellwerk.core.errors import Invalid
from stellwerk.evidence.statistics import drift as measures
from stellwerk.monitoring.model import ColumnBaseline, DriftFinding

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Kind = Literal["number", "category"]

MIN_ROWS = 50
"""Fewer predictions than this say nothing about drift."""
MIN_BLOCK = 50
MIN_BLOCKS = 4
LISTED = 30
"""So many categories, the most frequent ones, have a bin of their own."""
RARE = 0.01
"""Categories with a smaller share do not: PSI is far from χ² where hardly a case is expected."""
_QUANTILES = 200
_SMALLEST_P = 1e-300


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One column against its baseline, before the correction for the number of columns.

    Attributes:
        past: How much more than chance the past moved on average, measured over `blocks` blocks.
    """

    column: str
    statistic: float
    bins: int
    past: float
    blocks: int
    effect: float
    n_reference: int
    n: int

    def limit(self, alpha: float) -> float:
        """What the statistic exceeds with probability alpha without drift: by chance, and as the past moved.

        A shift of the size of past shifts moves PSI by its square, so that against the mean of K past ones it is
        F(1, K - 1): a prediction interval.
        """
        if self.bins < 2:
            return 0.0
        chance = measures.psi_limit(self.bins, self.n_reference, self.n, alpha=alpha)
        return chance + (self.past * float(stats.f.isf(alpha, 1, self.blocks - 1)) if self.past else 0.0)

    def p(self) -> float:
        """The level at which the statistic just reaches the limit."""
        if self.statistic <= self.limit(1.0 - 1e-9):
            return 1.0
        if self.statistic >= self.limit(_SMALLEST_P):
            return 0.0
        if not self.past:
            return float(stats.chi2.sf(self.statistic / (1 / self.n_reference + 1 / self.n), self.bins - 1))
        reached = optimize.brentq(
            lambda power: self.limit(math.exp(power)) - self.statistic, math.log(_SMALLEST_P), -1e-9, xtol=1e-6
        )
        return math.exp(float(reached))


def numbers(values: Any) -> Floats:
    """Values as numbers, NaN for missing and infinite ones. Raises `Invalid` where one is no number."""
    try:
        numeric = isinstance(values, np.ndarray) and values.dtype.kind in "fiub"
        result = np.array(values if numeric else _listed(values), dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise Invalid(f"not numbers: {cause}", code="not-numbers") from cause
    result[~np.isfinite(result)] = np.nan
    return result


def categories(values: Any) -> Counter[str | None]:
    """How often each category occurs, None for missing ones; numbers and booleans as they are written."""
    result: Counter[str | None] = Counter()
    # Few values are different, so each is written once and not as often as it occurs.
    for value, times in Counter(_listed(values)).items():
        result[value if value is None or isinstance(value, str) else _text(value)] += times
    return result


def describe(name: str, kind: Kind, values: Any, blocks: Sequence[Any] | None = None) -> ColumnBaseline | None:
    """The baseline of a column; None for one that holds nothing to compare with.

    Args:
        blocks: The past period, such as a month, that each row belongs to.
    """
    if kind == "number":
        column: Any = numbers(values)
        present = column[~np.isnan(column)]
        if not len(present):
            return None
        levels = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
        empty = ColumnBaseline(
            name=name,
            kind=kind,
            rows=len(column),
            counts=(),
            edges=measures.quantile_edges(present),
            quantiles=tuple(np.quantile(present, levels).tolist()),
        )
    else:
        column = np.array(_listed(values), dtype=object)
        found = categories(column)
        present = [value for value in found if value is not None]
        if not present:
            return None
        common = [value for value in present if found[value] >= RARE * len(column)]
        common = sorted(common, key=lambda value: (-found[value], value))[:LISTED]
        empty = ColumnBaseline(name=name, kind=kind, rows=len(column), counts=(), values=tuple(sorted(common)))
    counts = count(empty, column)
    past = _past([count(empty, column[rows]) for rows in rows_of(blocks)]) if blocks is not None else ()
    return replace(empty, counts=tuple(counts.tolist()), past=past)


def count(column: ColumnBaseline, values: Any) -> Counts:
    """Rows per bin of a column's baseline. Raises `Invalid` where a column of numbers holds something else."""
    if column.kind == "number":
        return measures.numeric_counts(numbers(values), column.edges)
    found = categories(values)
    listed = [found[value] for value in column.values]
    return np.array([*listed, sum(found.values()) - sum(listed) - found[None], found[None]], dtype=np.int64)


def compare(column: ColumnBaseline, values: Any) -> Compared | None:
    """Measure one column's change; None with too few rows.

    Raises:
        Invalid: `not-numbers` where a column of numbers holds something else now.
    """
    current = numbers(values) if column.kind == "number" else values
    if min(len(current), column.rows) < MIN_ROWS:
        return None
    before, now = np.array(column.counts, dtype=np.int64), count(column, current)
    return Compared(
        column=column.name,
        statistic=measures.psi(before, now),
        bins=int(((before + now) > 0).sum()),
        past=max(0.0, float(np.mean(column.past))) if column.past else 0.0,
        blocks=len(column.past),
        effect=_effect(column, before, now, current),
        n_reference=column.rows,
        n=len(current),
    )


def findings(compared: Iterable[Compared], *, alpha: float, effect_floor: float) -> tuple[DriftFinding, ...]:
    """Judge all columns of one assessment together, the largest effect first."""
    columns = list(compared)
    rejected = int(measures.benjamini_hochberg([column.p() for column in columns], alpha=alpha).sum())
    left = alpha * max(1, rejected) / max(1, len(columns))
    result = []
    for column in columns:
        limit = column.limit(left)
        significant = column.statistic > limit
        result.append(
            DriftFinding(
                column=column.column,
                statistic=column.statistic,
                limit=limit,
                effect=column.effect,
                significant=significant,
                material=significant and column.effect >= effect_floor,
                n=column.n,
            )
        )
    return tuple(sorted(result, key=lambda finding: (-finding.effect, finding.column)))


def rows_of(blocks: Sequence[Any]) -> list[NDArray[np.int64]]:
    """The row numbers of each block."""
    rows: dict[Any, list[int]] = {}
    for index, block in enumerate(blocks):
        rows.setdefault(block, []).append(index)
    return [np.array(rows[block], dtype=np.int64) for block in sorted(rows, key=str)]


def _past(blocks: list[Counts]) -> tuple[float, ...]:
    """How much the PSI of each block against the others exceeds what chance makes of it on average."""
    blocks = [block for block in blocks if block.sum() >= MIN_BLOCK]
    if len(blocks) < MIN_BLOCKS:
        return ()
    table = np.array(blocks)
    whole = table.sum(axis=0)
    result = []
    for block in table:
        chance = (int((whole > 0).sum()) - 1) * (1 / (whole - block).sum() + 1 / block.sum())
        result.append(measures.psi(whole - block, block) - float(chance))
    return tuple(result)


def _effect(column: ColumnBaseline, before: Counts, now: Counts, current: Any) -> float:
    """Standard deviations moved, or the largest change of a share; of numbers, missing ones count as a share."""
    if column.kind == "category":
        return measures.largest_difference(before, now)
    missing = abs(float(before[-1] / before.sum() - now[-1] / now.sum()))
    present = current[~np.isnan(current)]
    if not len(present):
        return missing
    if column.quantiles[0] == column.quantiles[-1]:
        return measures.largest_difference(before, now)
    levels = (np.arange(len(column.quantiles)) + 0.5) / len(column.quantiles)
    return max(missing, measures.wasserstein(column.quantiles, np.quantile(present, levels)))


def _listed(values: Any) -> list[Any]:
    if isinstance(values, list):
        return values
    if isinstance(values, np.ndarray):
        return list(values.tolist())
    return list(values.to_list() if hasattr(values, "to_list") else values)


def _text(value: Any) -> str | None:
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        return None if np.isnan(value) else (str(int(value)) if float(value).is_integer() else repr(float(value)))
    return str(value)
