"""Targets: what kind of question a column asks, and why some ask none."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from stellwerk.core.errors import Invalid
from stellwerk.data.target import target_of, task_of


@pytest.mark.parametrize(
    ("task", "values"),
    [
        ("binary", [True, False]),
        ("binary", [0, 1, 1]),
        ("binary", [-1.0, 1.0]),
        ("binary", ["yes", "no"]),
        ("multiclass", ["a", "b", "c"]),
        ("multiclass", [1, 2, 3] * 10),
        ("multiclass", [1.0, 2.0, 3.0] * 10),
        ("regression", [1, 2, 3]),
        ("regression", [1.5, 2.0, 3.0] * 10),
        ("regression", list(range(11)) * 20),
        ("multiclass", [f"c{number}" for number in range(49)]),
    ],
)
def test_tasks(task: str, values: list[Any]) -> None:
    """Two values are binary, words and few frequent whole numbers are classes, the rest are amounts."""
    assert task == task_of(pl.Series("y", values))


@pytest.mark.parametrize(
    ("code", "part", "series"),
    [
        ("one-class", "'x'", pl.Series(["x", "x"])),
        ("one-class", "'0'", pl.Series([0, 0, 0])),
        ("one-class", "'true'", pl.Series([True])),
        ("target-null", "2 of 4 rows: row 2, 4", pl.Series([1, None, 3, None])),
        ("target-null", "1 of 3 rows: row 3", pl.Series([1.0, 2.0, float("nan")])),
        ("target-null", "7 of 8 rows: row 2, 3, 4, 5, 6 …", pl.Series(["a", *[None] * 7])),
        ("target-null", "2 of 2 rows", pl.Series([None, None])),
        ("target-infinite", "1 of 3 rows: row 2", pl.Series([1.0, float("-inf"), 2.0])),
        ("too-many-classes", "50 different texts", pl.Series([f"c{number}" for number in range(50)])),
        ("target-type", "Date", pl.Series([date(2013, 1, 1), date(2013, 1, 2)])),
        ("target-type", "List", pl.Series([[1], [2]])),
        ("empty-table", "no rows", pl.Series([], dtype=pl.Int64)),
    ],
)
def test_columns_that_cannot_be_a_target(code: str, part: str, series: pl.Series) -> None:
    """Each refusal has its code, says how many and which rows, and what to do."""
    with pytest.raises(Invalid) as caught:
        task_of(series.alias("y"))

    assert code == caught.value.code
    assert part in caught.value.message
    assert caught.value.hint


def test_an_unknown_target_is_refused_with_near_names() -> None:
    """A misspelled target is no mystery."""
    frame = pl.DataFrame({"arr_delay": [1], " late ": [2]})

    for wrong, hint in (("arr_dealy", "did you mean 'arr_delay'?"), ("Late", "did you mean ' late '?")):
        with pytest.raises(Invalid) as caught:
            target_of(frame, wrong)
        assert ("unknown-column", hint) == (caught.value.code, caught.value.hint)
    assert [1] == target_of(frame, "arr_delay").to_list()
