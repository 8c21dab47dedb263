"""The digest of rows that have no bytes of their own: `stellwerk-rows/1` of `docs/formats/source.md`."""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Iterable, Sequence

import polars as pl

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.data.columns import dtype_name, family_of, nameless

FORMAT = "stellwerk-rows/1"
_STEP = 1 << 16
_WIDE = (pl.Int128, pl.UInt128) if hasattr(pl, "UInt128") else (pl.Int128,)


def digest(frame: pl.DataFrame) -> Digest:
    """A name of the columns and rows of a table, in their order, whatever library wrote or read them.

    Raises `Invalid` for lists and structs, which have no single form.
    """
    columns = [[series.name, dtype_name(series.dtype), _column(series)] for series in frame.get_columns()]
    return canonical.digest({"columns": columns, "format": FORMAT, "rows": frame.height})


def in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows that came in no order, sorted by all their columns, nulls first: the same rows are the same table."""
    for series in frame.get_columns():
        _form(series)
    plain = frame.rename({name: str(at) for at, name in enumerate(frame.columns)})
    ordered = plain.sort(plain.columns, nulls_last=False, maintain_order=True)
    ordered.columns = frame.columns
    return ordered


def _column(series: pl.Series) -> str:
    """SHA-256 over three: presence of all values, lengths of all texts, all values one after the other."""
    form = _form(series)
    valid, lengths, values = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    for start in range(0, len(series), _STEP):
        part = nameless(series.slice(start, _STEP))
        valid.update(bytes(part.is_not_null().to_list()))
        if form == "text":
            texts = [_bytes(value) for value in part.to_list()]
            lengths.update(_plain("Q", (len(text) for text in texts)))
            values.update(b"".join(texts))
        else:
            values.update(_plain(form, _numbers(part, form)))
    return hashlib.sha256(valid.digest() + lengths.digest() + values.digest()).hexdigest()


def _form(series: pl.Series) -> str:
    """How values become bytes: `q`, `Q` and `d` are eight bytes each, text is as long as it is."""
    if series.dtype == pl.UInt64:
        return "Q"
    if series.dtype.is_decimal() or series.dtype in _WIDE or series.dtype == pl.Binary:
        return "text"
    match family_of(series):
        case "integer" | "boolean" | "date" | "datetime" | "instant" | "clock" | "duration" | "nothing":
            return "q"
        case "float":
            return "d"
        case "text":
            return "text"
        case _:
            raise Invalid(
                f"column {series.name!r} of type {series.dtype} cannot be pinned (expected plain values)",
                code="nested-column",
                hint="select its fields as columns of their own, or leave it out",
            )


def _numbers(part: pl.Series, form: str) -> Sequence[float]:
    if form != "d":
        kind = pl.UInt64 if form == "Q" else pl.Int64
        whole: list[int] = part.to_physical().cast(kind).fill_null(0).to_list()
        return whole
    number = part.cast(pl.Float64).fill_null(0.0)
    # One form each for zero and for what is no number.
    x = pl.col("x")
    plain = pl.select(number).select(pl.when(x == 0).then(0.0).when(x.is_nan()).then(float("nan")).otherwise(x))
    found: list[float] = plain.to_series().to_list()
    return found


def _bytes(value: object) -> bytes:
    if value is None:
        return b""
    return value if isinstance(value, bytes) else str(value).encode()


def _plain(kind: str, values: Iterable[float]) -> bytes:
    """Numbers as little-endian bytes."""
    packed = array(kind, values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()
