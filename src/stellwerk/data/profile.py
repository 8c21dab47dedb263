"""What a table holds, measured in a few passes over all columns at once. What it should hold is in `contract`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import polars as pl

from stellwerk.core.errors import Invalid
from stellwerk.data.columns import as_text, dtype_name, family_of, nameless, numbers
from stellwerk.data.model import QUANTILES, ColumnProfile, Kind, Profile

MAX_LISTED = 128
"""Up to so many distinct values, `top` lists them all."""

_SHOWN = 20
_FEW = 20
_EXAMPLES = 3
_ID_NAME = re.compile(r"(?:^|[_\-. ])(?:id|uuid|guid|key|index)$|(?<=[a-z])(?:Id|ID|Uuid|Key)$|^I[dD]$")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Statistics:
    """Numbers about the finite values of one column."""

    valid: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    std: float | None
    quantiles: tuple[float, ...]


_NONE = _Statistics(valid=0, minimum=None, maximum=None, mean=None, std=None, quantiles=())


def profile(frame: pl.DataFrame) -> Profile:
    """Measure every column. A table without columns is `Invalid`; one without rows has only empty columns."""
    if not frame.width:
        raise Invalid("the table has no columns", code="empty-table")
    frame = frame.rechunk()
    measured, names = numbers(frame, frame.columns)
    statistics = _statistics(measured, names)
    distinct = _distinct(frame, dict(zip(names, measured.get_columns(), strict=True)))
    return Profile(
        rows=frame.height,
        columns=tuple(
            _column(series.name, nameless(series), distinct[series.name], statistics.get(series.name))
            for series in frame.get_columns()
        ),
    )


def _column(name: str, series: pl.Series, distinct: int, measured: _Statistics | None) -> ColumnProfile:
    nulls = series.null_count()
    present = len(series) - nulls
    kind = _kind(name, series, present, distinct, measured or _NONE)
    shown = _NONE if measured is None or family_of(series) == "boolean" else measured
    return ColumnProfile(
        name=name,
        dtype=dtype_name(series.dtype),
        kind=kind,
        rows=len(series),
        nulls=nulls,
        distinct=distinct,
        not_finite=present - measured.valid if measured else 0,
        minimum=shown.minimum,
        maximum=shown.maximum,
        mean=shown.mean,
        std=shown.std,
        quantiles=shown.quantiles,
        top=_top(series, distinct) if kind in {"category", "boolean", "constant"} else (),
        examples=_examples(series, present),
    )


def _statistics(measured: pl.DataFrame, names: list[str]) -> dict[str, _Statistics]:
    """Minimum to quantiles of every column of numbers."""
    if not measured.width or not measured.height:
        return {}
    facts = [part.row(0) for part in (measured.min(), measured.max(), measured.mean(), measured.std())]
    marks = [measured.select(pl.all().quantile(q, "linear")).row(0) for q in QUANTILES]
    valid = measured.count().row(0)
    result = {}
    for index, name in enumerate(names):
        minimum, maximum, mean, std = (_finite(part[index]) for part in facts)
        result[name] = _Statistics(
            valid=valid[index],
            minimum=minimum,
            maximum=maximum,
            mean=mean,
            std=std,
            quantiles=tuple(mark[index] for mark in marks) if valid[index] else (),
        )
    return result


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _distinct(frame: pl.DataFrame, measured: dict[str, pl.Series]) -> dict[str, int]:
    """Distinct values per column: of floats only the finite ones, of anything never null."""
    if not frame.height:
        return dict.fromkeys(frame.columns, 0)
    counted = [measured[series.name] if family_of(series) == "float" else series for series in frame.get_columns()]
    plain = pl.DataFrame([series.alias(str(index)) for index, series in enumerate(counted)])
    unique = plain.select(pl.all().n_unique()).row(0)
    nulls = plain.null_count().row(0)
    return {name: count - (missing > 0) for name, count, missing in zip(frame.columns, unique, nulls, strict=True)}


def _kind(name: str, series: pl.Series, present: int, distinct: int, measured: _Statistics) -> Kind:
    if not present or not distinct:
        return "empty"
    if distinct == 1 and present == len(series) and measured.valid in {0, present}:
        return "constant"
    match family_of(series):
        case "boolean":
            return "boolean"
        case "date" | "datetime" | "instant" | "clock" | "duration":
            return "time"
        case "integer" if _only_names_rows(name, present, distinct, measured):
            return "identifier"
        case "integer" | "float":
            return "number"
        case "text":
            return _text_kind(series, present, distinct)
        case _:
            return "text"


def _only_names_rows(name: str, present: int, distinct: int, measured: _Statistics) -> bool:
    """Whether whole numbers that never repeat are mere labels: by the column's name, or because they count rows."""
    if distinct != present or present <= _FEW or measured.minimum is None or measured.maximum is None:
        return False
    counts = measured.minimum in {0.0, 1.0} and measured.maximum - measured.minimum + 1 == distinct
    return counts or bool(_ID_NAME.search(name))


def _text_kind(series: pl.Series, present: int, distinct: int) -> Kind:
    if distinct <= _FEW and (distinct < present or present < _FEW):
        return "category"
    words = series.cast(pl.String).str.count_matches(r"\S+").mean()
    if isinstance(words, float) and words > 3:
        return "text"
    if distinct <= present / 2:
        return "category"
    return "identifier" if distinct > 0.95 * present else "text"


def _top(series: pl.Series, distinct: int) -> tuple[tuple[str, int], ...]:
    """Values by falling count, ties by value, so that equal tables have equal profiles."""
    counts = as_text(series.drop_nulls().alias("value")).value_counts(name="count")
    ordered = counts.sort(["count", "value"], descending=[True, False])
    return tuple(ordered.head(distinct if distinct <= MAX_LISTED else _SHOWN).iter_rows())


def _examples(series: pl.Series, present: int) -> tuple[str, ...]:
    """The first different values, as text."""
    if not present:
        return ()
    head = series.head(64)
    if head.null_count() == len(head):
        head = series.drop_nulls().head(64)
    seen = dict.fromkeys(value for value in as_text(head).to_list() if value is not None)
    return tuple(list(seen)[:_EXAMPLES])
