"""Which rows train, which select and which judge, by hash or by time. Whether a split leaks is asked in `leakage`."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

import polars as pl

from stellwerk.core.errors import Invalid
from stellwerk.data.columns import as_text, family_of, listed, nameless, require, row_numbers
from stellwerk.data.model import PARTS, Part, Split


def hashed_split(
    frame: pl.DataFrame, *, fractions: Mapping[Part, float], salt: str, keys: Sequence[str] = ()
) -> pl.Series:
    """Label each row by the SHA-256 of its key columns, or of all its columns when no keys are named.

    A row keeps its part whatever other rows come, go or change places; equal keys are always together. Whole
    numbers hash alike as integers, floats and text, so a column that gains a fraction or a word moves nobody.
    Row by row the parts are random, so their sizes only come near the fractions.
    """
    require(frame, keys)
    limits = _limits(fractions)
    # Sorted by name, because the order of columns means nothing.
    columns = sorted(keys or frame.columns)
    if not columns:
        raise Invalid("a table without columns cannot be split", code="empty-table")
    texts = pl.DataFrame(
        [_canonical(name, nameless(frame.get_column(name))).alias(str(at)) for at, name in enumerate(columns)]
    )
    # With its length before it, no text can be mistaken for two.
    sized = [
        pl.when(pl.col(at).is_null())
        .then(pl.lit("-"))
        .otherwise(pl.format("{}:{}", pl.col(at).str.len_bytes(), pl.col(at)))
        for at in texts.columns
    ]
    rows = texts.select(pl.concat_str(sized, separator=",")).to_series().to_list()
    start = hashlib.sha256(f"{len(salt.encode())}:{salt},".encode())
    names = list(limits)
    bounds = list(limits.values())
    return pl.Series(
        "part",
        [names[min(bisect_right(bounds, _point(start, row)), len(names) - 1)] for row in rows],
        dtype=pl.String,
    )


def _point(start: hashlib._Hash, text: str) -> float:
    hasher = start.copy()
    hasher.update(text.encode())
    return int.from_bytes(hasher.digest()[:6], "big") / 2**48


def _canonical(name: str, series: pl.Series) -> pl.Series:
    """A text that depends on the value only, not on the width, unit or kind of the column's type."""
    match family_of(series):
        case "text" | "boolean" | "nothing":
            return series.cast(pl.String)
        case "integer":
            return series.cast(pl.String)
        case "float":
            number = series.cast(pl.Float64)
            whole = number.is_finite() & (number == number.floor()) & (number.abs() < 2**53)
            integer = number.cast(pl.Int64, strict=False).cast(pl.String)
            return number.cast(pl.String).zip_with(~whole.fill_null(value=False), integer)
        case "date":
            return series.cast(pl.String)
        case "datetime" | "instant":
            return series.dt.epoch("us").cast(pl.String)
        case "duration":
            return series.dt.total_microseconds().cast(pl.String)
        case "clock":
            return series.to_physical().cast(pl.String)
        case _ if series.dtype == pl.Binary:
            return series.bin.encode("hex")
        case _:
            raise Invalid(
                f"column {name!r} of type {series.dtype} cannot decide a split (expected plain values)",
                code="nested-column",
                hint="name the key columns of the split",
            )


def time_split(times: pl.Series, *, fractions: Mapping[Part, float]) -> pl.Series:
    """Label each row so that every part lies strictly after the one before it: train, select, gate.

    Rows of the same instant stay together, and each part gets at least one instant. The borders lie where the
    shares come nearest to the fractions.
    """
    if family_of(times) not in {"date", "datetime", "instant", "integer"}:
        raise Invalid(
            f"column {times.name!r} of type {times.dtype} cannot order rows (expected dates, times or integers)",
            code="invalid-time-column",
        )
    if times.null_count():
        raise Invalid(
            f"column {times.name!r} has no time in {times.null_count():,} rows, "
            f"for example row {listed(row_numbers(nameless(times).is_null()))}",
            code="time-null",
            hint="drop or repair these rows before splitting",
        )
    names, column, times = list(_limits(fractions)), times.name, nameless(times)
    counts = times.alias("time").value_counts(name="count").sort("time")
    if counts.height < len(names):
        raise Invalid(
            f"column {column!r} has {counts.height} different times (expected at least {len(names)})",
            code="time-too-few",
            hint="use a finer time or a split by hash",
        )
    borders = _borders(counts["count"].to_list(), list(_limits(fractions).values())[:-1])
    starts = [counts["time"][border] for border in borders]
    label = pl.repeat(names[0], len(times), eager=True)
    for part, start in zip(names[1:], starts, strict=True):
        label = pl.repeat(part, len(times), eager=True).zip_with(times >= start, label)
    return label.alias("part")


def _borders(counts: list[int], limits: list[float]) -> list[int]:
    """For each limit the position of the first instant of the next part, nearest to the wished share."""
    total = sum(counts)
    before = [0, *accumulate(counts)]
    borders: list[int] = []
    for index, limit in enumerate(limits):
        first = borders[-1] + 1 if borders else 1
        last = len(counts) - (len(limits) - index)
        borders.append(min(range(first, last + 1), key=lambda at: (abs(before[at] - limit * total), at)))
    return borders


def _limits(fractions: Mapping[Part, float]) -> dict[Part, float]:
    """Upper ends of the parts on the unit interval, in the order train, select, gate."""
    unknown = [part for part in fractions if part not in PARTS]
    if unknown or not fractions:
        raise Invalid(
            f"a split has the parts {', '.join(PARTS)} (got {listed(unknown) or 'none'})", code="invalid-split"
        )
    values = [fractions[part] for part in PARTS if part in fractions]
    if not all(math.isfinite(value) and value > 0 for value in values) or abs(math.fsum(values) - 1) > 1e-6:
        raise Invalid(f"the parts of a split are positive and sum to 1 (got {listed(values)})", code="invalid-split")
    ends = list(accumulate(values))
    ends[-1] = 1.0
    return dict(zip((part for part in PARTS if part in fractions), ends, strict=True))


def summary(
    labels: pl.Series,
    *,
    keys: Sequence[str] = (),
    salt: str = "",
    times: pl.Series | None = None,
    needed: Sequence[Part] = ("train", "gate"),
) -> Split:
    """Count the parts; a needed part without rows is `Invalid`, because nothing could be judged on it."""
    counts = {part: int((labels == part).sum()) for part in PARTS}
    empty = [part for part in needed if not counts[part]]
    if empty:
        raise Invalid(
            f"the split leaves no rows for {listed(empty)} ({len(labels):,} rows in all)",
            code="empty-part",
            hint="use more data or a larger fraction",
        )
    filled = [part for part in PARTS if counts[part]] if times is not None else []
    return Split(
        method="hashed" if times is None else "time",
        train=counts["train"],
        select=counts["select"],
        gate=counts["gate"],
        keys=tuple(keys),
        salt=salt,
        starts=tuple((part, _first(times, labels == part)) for part in filled if times is not None),
    )


def _first(times: pl.Series, rows: pl.Series) -> str:
    return str(as_text(nameless(times).filter(rows).sort().head(1)).item())
