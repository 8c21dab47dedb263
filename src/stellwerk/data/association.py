"""How much each single column knows about a target, for all columns at once. What that means is said in `leakage`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import polars as pl

from stellwerk.data.columns import NUMBER_FAMILIES, as_text, family_of, nameless, numbers

_RARE = 5
"""Values seen less often are taken together: they could name rows, which says nothing about other rows."""

_BINS = 20
_CELLS = 4_000_000
_CHANCE = 1e-3
_LEAST = 10
_NULL, _OTHERS = -2, -1


def auc(columns: pl.DataFrame, answer: pl.Series) -> dict[str, float]:
    """Area under the ROC curve of each column alone, in the better direction and by the best of three readings.

    As a number by rank, as a category by its rate, and by being null or NaN. What chance could explain is left out.
    """
    values = as_text(answer) if family_of(answer) == "text" else answer
    positive = values == values.max()
    found: dict[int, float] = {}
    for at, value in [*_by_rank(columns, positive), *_by_null(columns, positive), *_by_rate(columns, positive)]:
        found[at] = max(found.get(at, 0.0), value, 1 - value)
    return _named(columns, found)


def information(columns: pl.DataFrame, answer: pl.Series) -> dict[str, float]:
    """Mutual information of each column with the classes over the entropy of the classes, from 0 to about 1.

    Numbers with many values are cut into bins of equal size. Entropies are corrected by Miller and Madow, so that
    many rare values do not look informative. What chance could explain is left out.
    """
    if len(answer) < _LEAST or not _beyond_chance(answer.value_counts()["count"].to_list(), columns.width):
        return {}
    codes = as_text(answer).rank("dense")
    found: dict[int, float] = {}
    for groups in _groups(columns, codes, binned=True):
        total = pl.col("n").sum().over("feature")
        own = groups.with_columns(
            x=pl.col("n").sum().over("feature", "value"), y=pl.col("n").sum().over("feature", "answer"), all=total
        )
        entropies = own.group_by("feature").agg(
            x=_entropy(pl.col("x") / pl.col("all"), pl.col("n") / pl.col("all"), "value"),
            y=_entropy(pl.col("y") / pl.col("all"), pl.col("n") / pl.col("all"), "answer"),
            xy=_entropy(pl.col("n") / pl.col("all"), pl.col("n") / pl.col("all"), None),
        )
        share = entropies.filter(pl.col("y") > 0).select(
            "feature", share=(pl.col("x") + pl.col("y") - pl.col("xy")) / pl.col("y")
        )
        found |= {int(at): value for at, value in share.iter_rows()}
    return _named(columns, found)


def explained(columns: pl.DataFrame, answer: pl.Series) -> dict[str, float]:
    """The share of the target's variance that each column alone explains: the best of a straight line, a monotone
    curve (squared rank correlation) and, for few values, the means of the values (adjusted for their number).
    """
    measured, places = _placed(columns)
    target = answer.cast(pl.Float64)
    found: dict[int, float] = {}
    if measured.width:
        table = measured.with_columns(target.alias("y"))
        for method in ("pearson", "spearman"):
            values = table.select(pl.corr(pl.all().exclude("y"), "y", method=method)).row(0)
            for at, value, valid in zip(places, values, measured.count().row(0), strict=True):
                if value is not None and math.isfinite(value) and valid >= _LEAST:
                    found[at] = max(found.get(at, 0.0), value * value)
    for at, value in _by_mean(columns, target):
        found[at] = max(found.get(at, 0.0), value)
    return _named(columns, found)


def affine(columns: pl.DataFrame, answer: pl.Series) -> set[str]:
    """Columns of numbers that are the target times a factor plus a constant."""
    if family_of(answer) not in NUMBER_FAMILIES | {"boolean"}:
        return set()
    measured, places = _placed(columns)
    if not measured.width:
        return set()
    target = answer.cast(pl.Float64)
    values = measured.with_columns(target.alias("y")).select(pl.corr(pl.all().exclude("y"), "y")).row(0)
    found = {}
    for at, value in zip(places, values, strict=True):
        if value is not None and abs(value) >= 1 - 1e-10:
            known = target.filter(measured.get_column(str(at)).is_not_null()).drop_nulls()
            if _beyond_chance(known.value_counts()["count"].to_list(), columns.width):
                found[at] = value
    return set(_named(columns, found))


def renamed(columns: pl.DataFrame, answer: pl.Series) -> set[str]:
    """Columns whose values stand one to one for the values of the target, where both repeat."""
    found = set()
    for name, series in zip(columns.columns, map(nameless, columns.get_columns()), strict=True):
        if family_of(series) == "nested" or not 2 <= series.n_unique() - series.has_nulls() <= len(series) / 2:
            continue
        pairs = pl.DataFrame({"x": series, "y": answer}).drop_nulls()
        x, y = pairs["x"].n_unique(), pairs["y"].n_unique()
        if x == y and y > 1 and pairs.n_unique() == x:
            counts = pairs["y"].value_counts()["count"].to_list()
            if _beyond_chance(counts, columns.width):
                found.add(name)
    return found


# --- readings of a column, as pairs of its place and a value


def _named(columns: pl.DataFrame, found: dict[int, float]) -> dict[str, float]:
    names = columns.columns
    return {names[at]: found[at] for at in sorted(found)}


def _placed(columns: pl.DataFrame) -> tuple[pl.DataFrame, list[int]]:
    """The columns of numbers, named by their place, and these places."""
    measured, names = numbers(columns, columns.columns)
    position = {name: at for at, name in enumerate(columns.columns)}
    places = [position[name] for name in names]
    measured.columns = [str(at) for at in places]
    return measured, places


def _by_rank(columns: pl.DataFrame, positive: pl.Series) -> Iterator[tuple[int, float]]:
    measured, places = _placed(columns)
    if not measured.width:
        return
    # The answer goes along as a column: as a literal, polars would plan it anew for every column.
    table = measured.with_columns(positive.alias("y"))
    above = table.select(pl.exclude("y").rank("average").filter(pl.col("y")).sum()).row(0)
    ones_of = table.select(pl.exclude("y").filter(pl.col("y")).count()).row(0)
    facts = zip(places, measured.count().row(0), ones_of, above, strict=True)
    for at, valid, ones, total in facts:
        if _beyond_chance([ones, valid - ones], columns.width):
            yield at, (total - ones * (ones + 1) / 2) / (ones * (valid - ones))


def _by_null(columns: pl.DataFrame, positive: pl.Series) -> Iterator[tuple[int, float]]:
    ones = int(positive.sum())
    if not _beyond_chance([ones, len(positive) - ones], columns.width):
        return
    measured, places = _placed(columns)
    finite = dict(zip(places, measured.get_columns(), strict=True))
    for at, series in enumerate(map(nameless, columns.get_columns())):
        values = finite.get(at, series)
        with_ones, all_nulls = values.filter(positive).null_count() if values.has_nulls() else 0, values.null_count()
        yield at, 0.5 + (with_ones / ones - (all_nulls - with_ones) / (len(positive) - ones)) / 2


def _by_rate(columns: pl.DataFrame, positive: pl.Series) -> Iterator[tuple[int, float]]:
    ones = int(positive.sum())
    if not _beyond_chance([ones, len(positive) - ones], columns.width):
        return
    for groups in _groups(columns, positive.cast(pl.UInt32), binned=False):
        rates = groups.group_by("feature", "value").agg(
            ones=pl.col("n").filter(pl.col("answer") == 1).sum().cast(pl.Float64),
            zeros=pl.col("n").filter(pl.col("answer") == 0).sum().cast(pl.Float64),
        )
        ordered = rates.sort("feature", pl.col("ones") / (pl.col("ones") + pl.col("zeros")))
        below = pl.col("zeros").cum_sum().over("feature") - pl.col("zeros") / 2
        areas = (
            ordered.with_columns(area=pl.col("ones") * below)
            .group_by("feature")
            .agg(area=pl.col("area").sum(), pairs=pl.col("ones").sum() * pl.col("zeros").sum())
        )
        for at, area, pairs in areas.iter_rows():
            yield int(at), area / pairs


def _by_mean(columns: pl.DataFrame, target: pl.Series) -> Iterator[tuple[int, float]]:
    size, spread = len(target), target.var(ddof=0)
    if size < _LEAST or not isinstance(spread, float) or not spread > 0:
        return
    middle = target.mean()
    for long in _long(columns, target, binned=False):
        means = long.group_by("feature", "value").agg(n=pl.len(), mean=pl.col("answer").mean())
        between = (pl.col("n") * (pl.col("mean") - middle) ** 2).sum() / (size * spread)
        for at, share, groups in means.group_by("feature").agg(between, pl.len().alias("k")).iter_rows():
            if size > groups:
                yield int(at), 1 - (1 - share) * (size - 1) / (size - groups)


# --- columns as categories


def _groups(columns: pl.DataFrame, answer: pl.Series, *, binned: bool) -> Iterator[pl.DataFrame]:
    """Counts of each pair of value and answer, for some columns at a time."""
    for long in _long(columns, answer, binned=binned):
        yield long.group_by("feature", "value", "answer").agg(n=pl.len())


def _long(columns: pl.DataFrame, answer: pl.Series, *, binned: bool) -> Iterator[pl.DataFrame]:
    """One row per cell: the column's place, its value as a number of a group, and the answer."""
    codes = _codes(columns, binned=binned)
    step = max(1, _CELLS // max(1, len(answer)))
    for start in range(0, codes.width, step):
        part = codes.select(codes.columns[start : start + step]).with_columns(answer.alias("answer"))
        long = part.unpivot(index="answer", variable_name="feature", value_name="value")
        often = pl.len().over("feature", "value") >= _RARE
        yield long.with_columns(value=pl.when(often).then("value").otherwise(_OTHERS))


def _codes(columns: pl.DataFrame, *, binned: bool) -> pl.DataFrame:
    """Texts and columns of few values by value, other numbers by bin or not at all; null is a value."""
    measured, _ = _placed(columns)
    texts = [
        as_text(nameless(s)).alias(str(at)) for at, s in enumerate(columns.get_columns()) if family_of(s) == "text"
    ]
    kinds = measured.select(pl.all().n_unique()).row(0) if measured.width else ()
    few = [name for name, count in zip(measured.columns, kinds, strict=True) if count <= _BINS]
    many = [name for name, count in zip(measured.columns, kinds, strict=True) if count > _BINS]
    parts = [pl.DataFrame(texts).select(pl.all().rank("dense")), measured.select(few).select(pl.all().rank("dense"))]
    if binned:
        parts.append(measured.select(many).select((pl.all().rank("average") - 1) * _BINS // pl.all().count()))
    return pl.concat(parts, how="horizontal").select(pl.all().cast(pl.Int32).fill_null(_NULL))


# --- chance


def _entropy(share: pl.Expr, weight: pl.Expr, by: str | None) -> pl.Expr:
    """Plug-in entropy in nats with the correction of Miller and Madow, (K − 1) / 2n."""
    kinds = pl.len() if by is None else pl.col(by).n_unique()
    return -(weight * share.log()).sum() + (kinds - 1.0) / (2 * pl.col("n").sum())


def _beyond_chance(counts: Iterable[int], columns: int) -> bool:
    """Whether an order that separates the classes perfectly is too rare to be found by luck among so many columns."""
    sizes = [count for count in counts if count > 0]
    if len(sizes) < 2:
        return False
    arrangements = math.lgamma(sum(sizes) + 1) - sum(math.lgamma(size + 1) for size in sizes)
    return arrangements > math.log(2 * columns / _CHANCE)
