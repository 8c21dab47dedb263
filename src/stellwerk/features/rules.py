"""Point-in-time joins: each row sees of the other table only what was known before it. Views are kept elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from difflib import get_close_matches

import polars as pl

from stellwerk.core.clock import parse_duration
from stellwerk.core.errors import Invalid

_ROW, _TIME = "row", "time"


def asof(
    left: pl.DataFrame,
    right: pl.DataFrame,
    *,
    on: str,
    by: Sequence[str],
    right_on: str | None = None,
    tolerance: str | None = None,
    strictly_before: bool = True,
    prefix: str = "",
    matched_at: str = "",
) -> pl.DataFrame:
    """Add to each left row the columns of the latest right row of the same entity before it.

    Every left row comes back exactly once and in its place; without a match its new columns are null. A null
    time or a null in the entity matches nothing. Of right rows with the same entity and time the last one counts.

    Args:
        on: The time of the left rows.
        by: The columns, in both tables, that name the entity; none means all rows are about the same one.
        right_on: The time from which a right row was known; `on` unless given.
        tolerance: How much earlier a right row may be, such as `3h`, inclusive; any age unless given.
        strictly_before: False also accepts right rows of the very same time. Only then, never a later one.
        prefix: Put before the names of the new columns.
        matched_at: A name for one more column: the time of the right row that was used.

    Raises:
        Invalid: A missing column, names that clash, or times or entities that cannot be compared.
    """
    time = right_on or on
    _require(left, [on, *by], "left")
    _require(right, [time, *by], "right")
    values = [name for name in right.columns if name != time and name not in by]
    new = [f"{prefix}{name}" for name in values] + ([matched_at] if matched_at else [])
    _no_clash(left.columns, new)
    for name in by:
        _same_type(left.schema[name], right.schema[name], f"entity column {name!r}", code="entity-type-mismatch")
    # Columns are renamed inside, because polars reads some names as patterns.
    ours, theirs = _comparable(left.get_column(on), right.get_column(time))
    keys = [f"k{at}" for at in range(len(by))]
    probe = _sorted(left, ours, by, keys, _ROW)
    known = _sorted(right, theirs, by, keys, "source")
    found = probe.join_asof(
        known.with_columns(matched=pl.col(_TIME)),
        on=_TIME,
        by=keys or None,
        strategy="backward",
        allow_exact_matches=not strictly_before,
        tolerance=_tolerance(tolerance, ours),
        # Both sides were sorted just above; polars cannot see it within the groups and would warn.
        check_sortedness=False,
    )
    source = _places(found, left.height)
    joined = [right.get_column(name).alias("x").gather(source).alias(f"{prefix}{name}") for name in values]
    if matched_at:
        joined.append(right.get_column(time).alias("x").gather(source).alias(matched_at))
    return left.hstack(joined)


def _sorted(frame: pl.DataFrame, times: pl.Series, by: Sequence[str], keys: Sequence[str], row: str) -> pl.DataFrame:
    """Entity, time and number of the rows that have both, by time; rows of equal time keep their order."""
    columns = [frame.get_column(name).alias(key) for name, key in zip(by, keys, strict=True)]
    table = pl.DataFrame([times.alias(_TIME), *columns]).with_row_index(row)
    return table.drop_nulls([_TIME, *keys]).sort(_TIME, maintain_order=True)


def _places(found: pl.DataFrame, height: int) -> pl.Series:
    """For each left row the number of its right row, or null."""
    nothing = pl.repeat(None, n=height, dtype=pl.get_index_type(), eager=True)
    return nothing.scatter(found.get_column(_ROW), found.get_column("source"))


def _comparable(left: pl.Series, right: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Both times in one unit, the finer of the two; zones must be equal."""
    for series in (left, right):
        if not (series.dtype.is_integer() or isinstance(series.dtype, pl.Date | pl.Datetime)):
            raise Invalid(
                f"column {series.name!r} of type {series.dtype} is no time (expected dates, times or integers)",
                code="invalid-time-column",
                hint="parse it first, for example with `str.to_datetime`",
            )
    if isinstance(left.dtype, pl.Datetime) and isinstance(right.dtype, pl.Datetime):
        if left.dtype.time_zone != right.dtype.time_zone:
            raise Invalid(
                f"column {left.name!r} is in time zone {left.dtype.time_zone or 'unknown'} but {right.name!r} "
                f"in {right.dtype.time_zone or 'unknown'}",
                code="time-zone-mismatch",
                hint="bring both to UTC with `dt.convert_time_zone`, or name the unknown zone with "
                "`dt.replace_time_zone`",
            )
        unit = max(left.dtype.time_unit, right.dtype.time_unit, key=("ms", "us", "ns").index)
        return _cast(left, pl.Datetime(unit, left.dtype.time_zone)), _cast(
            right, pl.Datetime(unit, left.dtype.time_zone)
        )
    if left.dtype.is_integer() and right.dtype.is_integer():
        return _cast(left, pl.Int64()), _cast(right, pl.Int64())
    _same_type(left.dtype, right.dtype, f"times {left.name!r} and {right.name!r}", code="time-type-mismatch")
    return left, right


def _cast(times: pl.Series, dtype: pl.DataType) -> pl.Series:
    try:
        return times.alias(_TIME).cast(dtype)
    except pl.exceptions.InvalidOperationError as cause:
        raise Invalid(
            f"column {times.name!r} holds values that do not fit into {dtype}",
            code="invalid-time-column",
            hint="bring both times to one type, for example with `dt.cast_time_unit('us')`",
        ) from cause


def _tolerance(text: str | None, times: pl.Series) -> timedelta | None:
    if text is None:
        return None
    if times.dtype.is_integer():
        raise Invalid(
            f"tolerance {text!r} needs times (column {times.name!r} holds integers)",
            code="invalid-time-column",
            hint="convert the integers to times, or leave the tolerance out",
        )
    return parse_duration(text)


def _require(frame: pl.DataFrame, names: Sequence[str], which: str) -> None:
    known = frame.columns
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            raise Invalid(
                f"the {which} table has no column {name!r}",
                code="unknown-column",
                hint=f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known[:20])}",
            )


def _no_clash(known: Sequence[str], new: Sequence[str]) -> None:
    seen = set(known)
    for name in new:
        if name in seen:
            raise Invalid(
                f"column {name!r} would come twice",
                code="duplicate-column",
                hint="give a prefix or rename one of them",
            )
        seen.add(name)


def _same_type(left: pl.DataType, right: pl.DataType, what: str, *, code: str) -> None:
    if left != right:
        raise Invalid(
            f"{what} cannot be compared: {left} on the left, {right} on the right",
            code=code,
            hint="cast one side to the type of the other",
        )
