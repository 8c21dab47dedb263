"""Names and types of columns: families of dtypes, values as numbers and as text, help with misspelled names.

What a column means is decided in `profile`; what it may hold, in `contract`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Literal

import polars as pl

from stellwerk.core.errors import Invalid

Family = Literal[
    "integer", "float", "text", "boolean", "date", "datetime", "instant", "clock", "duration", "nested", "nothing"
]

EPOCH_FAMILIES: frozenset[Family] = frozenset({"date", "datetime", "instant"})
NUMBER_FAMILIES: frozenset[Family] = frozenset({"integer", "float"})


def dtype_name(dtype: pl.DataType) -> str:
    """The name of a type as polars writes it, without the values of an Enum."""
    return "Enum" if isinstance(dtype, pl.Enum) else str(dtype)


def family(dtype: str) -> Family:
    """What a type name means, whatever its width, unit or zone."""
    if dtype.startswith(("Int", "UInt")):
        return "integer"
    if dtype.startswith(("Float", "Decimal")):
        return "float"
    if dtype.startswith("Datetime"):
        return "datetime" if dtype == "Datetime" or "time_zone=None" in dtype else "instant"
    if dtype.startswith("Duration"):
        return "duration"
    plain: dict[str, Family] = {
        "String": "text", "Categorical": "text", "Enum": "text",
        "Boolean": "boolean", "Date": "date", "Time": "clock", "Null": "nothing",
    }  # fmt: skip
    return plain.get(dtype, "nested")


def family_of(series: pl.Series) -> Family:
    """The family of a column's type."""
    return family(dtype_name(series.dtype))


def numbers(frame: pl.DataFrame, names: Iterable[str]) -> tuple[pl.DataFrame, list[str]]:
    """The named columns as Float64: times in seconds, null for what is not finite; text is left out.

    Returns the table, with columns called 0, 1, 2 and so on, and their names.
    """
    known = [frame.get_column(name) for name in names]
    wanted = [series for series in known if family_of(series) not in {"text", "nested", "nothing"}]
    # By position, because polars reads names such as `*` or `^a$` as patterns.
    plain = pl.DataFrame([series.alias(str(index)) for index, series in enumerate(wanted)])
    measured = plain.select(_number(pl.col(str(index)), series.dtype) for index, series in enumerate(wanted))
    return measured, [series.name for series in wanted]


def _number(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    match family(dtype_name(dtype)):
        case "date":
            return column.cast(pl.Int64) * 86400.0
        case "datetime" | "instant":
            return column.dt.epoch("us").cast(pl.Float64) / 1e6
        case "duration":
            return column.dt.total_microseconds().cast(pl.Float64) / 1e6
        case "clock":
            return column.to_physical().cast(pl.Float64) / 1e9
        case "float":
            number = column.cast(pl.Float64)
            return pl.when(number.is_finite()).then(number)
        case _:
            return column.cast(pl.Float64)


def nameless(series: pl.Series) -> pl.Series:
    """The column under a harmless name: polars reads some names, such as `*` or `^a$`, as patterns."""
    return series.alias("x")


def as_text(series: pl.Series) -> pl.Series:
    """Values as people would write them."""
    if family_of(series) in {"nested", "duration"}:
        return pl.Series(series.name, [None if v is None else str(v) for v in series.to_list()], dtype=pl.String)
    return series.cast(pl.String)


def nearest(name: str, known: Collection[str]) -> str:
    """A sentence naming what was probably meant, for a hint."""
    lowered = {other.strip().casefold(): other for other in known}
    found = [lowered[close] for close in get_close_matches(name.strip().casefold(), list(lowered), n=3)]
    if found:
        return f"did you mean {' or '.join(repr(other) for other in found)}?"
    shown = ", ".join(repr(other) for other in sorted(known)[:20])
    return f"known names: {shown}{' …' if len(known) > 20 else ''}"


def require(frame: pl.DataFrame, names: Iterable[str]) -> None:
    """Refuse names of columns that the table does not have."""
    known = set(frame.columns)
    for name in names:
        if name not in known:
            raise Invalid(
                f"there is no column {name!r} among {frame.width} columns",
                code="unknown-column",
                hint=nearest(name, frame.columns),
            )


def row_numbers(mask: pl.Series, *, most: int = 5) -> tuple[int, ...]:
    """The numbers of the first rows where a mask holds; row 1 is the first row of data."""
    return tuple(index + 1 for index in mask.arg_true().head(most).to_list())


def listed(values: Iterable[object], *, most: int = 5) -> str:
    """The first values of many, for a message."""
    known = list(values)
    return ", ".join(str(value) for value in known[:most]) + (" …" if len(known) > most else "")
