"""Parquet bytes as tables, and the marks by which two tables show the rows they share."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from stellwerk.evidence.service import MARK

if TYPE_CHECKING:
    import polars as pl


def read(data: bytes) -> pl.DataFrame:
    """The table of Parquet bytes."""
    from stellwerk.data.reading import frame_from_parquet

    return frame_from_parquet(data)


def marks(frame: pl.DataFrame) -> bytes:
    """Eight bytes of hash per row, sorted and distinct: two tables share the rows whose marks they share."""
    lines = frame.select(sorted(frame.columns)).write_csv(include_header=False).encode().split(b"\n")
    return b"".join(sorted({hashlib.sha256(line).digest()[:MARK] for line in lines if line}))
