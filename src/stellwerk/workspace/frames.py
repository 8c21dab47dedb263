"""Parquet bytes as tables, and the marks by which two tables show the rows they share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from stellwerk.evidence.service import MARK

if TYPE_CHECKING:
    import polars as pl


def read(data: bytes) -> pl.DataFrame:
    """The table of Parquet bytes."""
    from stellwerk.data.reading import frame_from_parquet

    return frame_from_parquet(data)


IDENTIFYING = 0.999
"""Columns tell rows apart where at least this share of rows differs in them; others prove no row to be the same."""


def marks(frame: pl.DataFrame, older: Iterable[pl.DataFrame] = ()) -> bytes:
    """Eight bytes of hash per row, sorted and distinct: two tables share the rows whose marks they share.

    Args:
        older: Tables that had other columns. A row keeps the mark that it had there, so that a new column, or one
            less, does not make old rows new.
    """
    found = set(_marks(frame))
    for table in older:
        found |= set(_marks(_again(table, frame)))
    return b"".join(sorted(found))


def _marks(frame: pl.DataFrame) -> Iterator[bytes]:
    lines = frame.select(sorted(frame.columns)).write_csv(include_header=False).encode().split(b"\n")
    return (hashlib.sha256(line).digest()[:MARK] for line in lines if line)


def _again(older: pl.DataFrame, newer: pl.DataFrame) -> pl.DataFrame:
    """Rows of an older table that are rows of a newer one in all columns that both have."""
    common = [name for name in older.columns if newer.schema.get(name) == older.schema[name]]
    same = set(common) == set(older.columns) == set(newer.columns)
    if same or not common or older.select(common).n_unique() < IDENTIFYING * older.height:
        return older.clear()
    return older.join(newer.select(common).unique(), on=common, how="semi", nulls_equal=True)
