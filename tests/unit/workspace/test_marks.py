"""Law 6 across feature engineering: a case is known again by what its tables have in common."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.data.reading import frame_to_parquet
from stellwerk.evidence.service import MARK
from stellwerk.testing.releases import a_plan
from stellwerk.workspace import operations as ops
from stellwerk.workspace.frames import marks
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings


def cases(first: int, count: int) -> pl.DataFrame:
    """Numbered cases; the same number is the same case."""
    rng = np.random.default_rng(0)
    return pl.DataFrame({"x": rng.normal(size=5000), "depot": rng.choice(["N", "S"], 5000)})[first : first + count]


def shared(one: bytes, other: bytes) -> int:
    cut = [{data[at : at + MARK] for at in range(0, len(data), MARK)} for data in (one, other)]
    return len(cut[0] & cut[1])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 300), st.integers(1, 300), st.integers(0, 300), st.integers(1, 300))
def test_marks_count_shared_rows(first: int, n: int, second: int, m: int) -> None:
    """As many marks are shared as rows, whatever the order of rows and columns."""
    one, other = cases(first, n), cases(second, m)
    common = len(set(range(first, first + n)) & set(range(second, second + m)))

    assert common == shared(marks(one), marks(other.select("depot", "x").reverse()))
    assert n == len(marks(one)) // MARK


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 300), st.integers(10, 300))
def test_a_row_is_known_again_by_what_both_tables_have(first: int, n: int) -> None:
    """With a new column, with one less, with both: the old marks are kept for the rows that are the same."""
    old = cases(0, 300)
    common = len(range(max(first, 0), min(first + n, 300)))
    table = cases(first, n)
    for new in (
        table.with_columns(square=pl.col("x") ** 2),
        table.drop("depot"),
        table.drop("depot").with_columns(square=pl.col("x") ** 2),
    ):
        assert 0 == shared(marks(new), marks(old))
        assert common == shared(marks(new, [old]), marks(old))


def test_columns_that_tell_no_rows_apart_prove_nothing() -> None:
    """Two fresh tables that only share a depot are not the same cases."""
    old, new = cases(0, 300), cases(1000, 300).drop("x").with_columns(y=pl.int_range(pl.len()))

    assert 0 == shared(marks(new, [old]), marks(old))


@pytest.mark.parametrize(
    ("first", "name", "attempt"), [(0, "gate", 2), (0, "renamed", 2), (290, "gate", 2), (1000, "gate", 1)]
)
def test_a_new_feature_does_not_make_cases_fresh(tmp_path: Path, first: int, name: str, attempt: int) -> None:
    """Sealed again with one more column, opened cases go on counting; new cases begin anew."""
    rooms = Rooms(create(tmp_path, Settings(actor="anna")), Settings(actor="anna"))

    def opened(table: pl.DataFrame, name: str) -> int:
        labels = frame_to_parquet(pl.DataFrame({"late": [True] * table.height}))
        features = frame_to_parquet(table)
        gate = ops.seal_gate.perform(
            rooms,
            {
                "name": name,
                "features": base64.b64encode(features).decode(),
                "labels": base64.b64encode(labels).decode(),
                "rows": table.height,
                "target": "late",
                "task": "binary",
            },
        )
        plan = a_plan(gate=gate.name, gate_version=gate.version, reason=str(table.columns))
        return rooms.gates.open(gate, rooms.gates.freeze(plan))[0].attempt

    assert 1 == opened(cases(0, 300), "gate")
    assert attempt == opened(cases(first, 300).with_columns(square=pl.col("x") ** 2), name)
    rooms.close()
