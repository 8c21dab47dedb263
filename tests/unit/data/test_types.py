"""Every type of column goes through every function: with a result or a refusal, never with another exception."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import polars as pl
import pytest

from stellwerk.core.errors import Invalid
from stellwerk.data.comparing import compare, lines
from stellwerk.data.contract import check, describe, infer
from stellwerk.data.leakage import leaks
from stellwerk.data.model import Task
from stellwerk.data.profile import profile
from stellwerk.data.reading import frame_from_parquet, frame_to_parquet
from stellwerk.data.splits import hashed_split
from stellwerk.data.target import task_of

SERIES = {
    "ints": pl.Series([1, 2, None] * 10),
    "bytes": pl.Series([1, 2, 3] * 10, dtype=pl.UInt8),
    "large": pl.Series([2**64 - 1, 0, 1] * 10, dtype=pl.UInt64),
    "huge": pl.Series([2**100, 0, 1] * 10, dtype=pl.Int128),
    "floats": pl.Series([1.5, float("nan"), None] * 10),
    "halves": pl.Series([1.5, float("inf"), None] * 10, dtype=pl.Float32),
    "money": pl.Series([Decimal("1.50"), Decimal("2"), None] * 10),
    "text": pl.Series(["a", "1", None] * 10),
    "empty": pl.Series(["", "", ""] * 10),
    "categories": pl.Series(["a", "b", None] * 10, dtype=pl.Categorical),
    "enum": pl.Series(["a", "b", None] * 10, dtype=pl.Enum(["b", "a"])),
    "booleans": pl.Series([True, False, None] * 10),
    "dates": pl.Series([date(1, 1, 1), date(9999, 12, 31), None] * 10),
    "times": pl.Series([datetime(2013, 1, 1), datetime(1900, 1, 1), None] * 10),
    "instants": pl.Series([datetime(2013, 1, 1, tzinfo=UTC), datetime(1900, 1, 1, tzinfo=UTC), None] * 10),
    "clock": pl.Series([time(12), time(23, 59, 59), None] * 10),
    "spans": pl.Series([timedelta(1), timedelta(-1), None] * 10),
    "lists": pl.Series([[1], [], None] * 10),
    "structs": pl.Series([{"a": 1}, {"a": None}, None] * 10),
    "arrays": pl.Series([[1, 2], [3, 4], None] * 10, dtype=pl.Array(pl.Int8, 2)),
    "blobs": pl.Series([b"a", b"\xff", None] * 10),
    "nothing": pl.Series([None, None, None] * 10),
}


def table(name: str) -> pl.DataFrame:
    return SERIES[name].to_frame("x")


@pytest.mark.parametrize("name", SERIES)
def test_each_type_keeps_its_own_contract(name: str) -> None:
    """What is inferred from a column holds for it."""
    frame = table(name).with_columns(pl.col("x").fill_nan(None) if name in {"floats", "halves"} else pl.col("x"))
    finite = frame.filter(pl.col("x").is_finite() | pl.col("x").is_null()) if name == "halves" else frame

    assert ["contract t@1 holds: "] == [line[:20] for line in describe(check(infer("t", finite), finite))]


@pytest.mark.parametrize("name", SERIES)
@pytest.mark.parametrize("other", SERIES)
def test_each_type_against_the_contract_of_each_other(name: str, other: str) -> None:
    """A table of another type breaks a contract or keeps it; describing and comparing work as well."""
    report = check(infer("t", table(name)), table(other))
    diff = compare(table(name), table(other))

    assert report.ok == (describe(report)[0][:18] == "contract t@1 holds")
    assert diff.rows_added == diff.rows_removed
    assert (name == other) == (lines(diff) == ["no difference: 30 rows"])


@pytest.mark.parametrize("name", SERIES)
def test_each_type_survives_parquet(name: str) -> None:
    """Columns come back equal; only categories come back as text."""
    frame = table(name)
    plain = frame.with_columns(pl.col("x").cast(pl.String)) if name == "categories" else frame

    assert plain.equals(frame_from_parquet(frame_to_parquet(frame)))
    assert profile(plain) == profile(frame_from_parquet(frame_to_parquet(frame)))


@pytest.mark.parametrize("name", SERIES)
def test_each_type_splits_by_content_or_is_refused(name: str) -> None:
    """Lists and structs are refused, anything else keeps equal values together."""
    nested = name in {"lists", "structs", "arrays"}
    try:
        labels = hashed_split(table(name), fractions={"train": 0.5, "gate": 0.5}, salt="s")
        sides = [labels.gather_every(3, offset).n_unique() for offset in range(3)]
    except Invalid as error:
        sides = [error.code]

    assert (["nested-column"] if nested else [1, 1, 1]) == sides


@pytest.mark.parametrize("name", SERIES)
@pytest.mark.parametrize(("target", "task"), [("b", "binary"), ("c", "multiclass"), ("r", "regression")])
def test_each_type_may_be_a_feature(name: str, target: str, task: Task) -> None:
    """Looking for leakage works with any column; these say nothing about the targets."""
    answers = {
        "b": [0, 1, 1, 0, 1] * 6,
        "c": ["u", "v", "w", "w", "u"] * 6,
        "r": [v * 1.5 for v in [5, 1, 4, 9, 2]] * 6,
    }
    frame = table(name).with_columns(pl.Series(key, values) for key, values in answers.items())

    assert () == leaks(frame, target=target, task=task, features=["x"])


@pytest.mark.parametrize("name", SERIES)
def test_each_type_is_a_target_or_refused(name: str) -> None:
    """A target has a task or a reason against it."""
    try:
        found = task_of(SERIES[name].drop_nulls())
    except Invalid as error:
        found = error.code

    assert EXPECTED.get(name, "target-type") == found


EXPECTED = {
    "ints": "binary", "bytes": "multiclass", "large": "multiclass", "huge": "multiclass", "floats": "target-null",
    "halves": "target-infinite", "money": "binary", "text": "binary", "empty": "one-class",
    "categories": "binary", "enum": "binary", "booleans": "binary", "nothing": "empty-table",
}  # fmt: skip
