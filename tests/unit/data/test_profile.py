"""A profile says what a table holds: kinds, counts, numbers over finite values only."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from stellwerk.core.errors import Invalid
from stellwerk.data.model import ColumnProfile, Profile
from stellwerk.data.profile import profile


def of(values: object, name: str = "x", **options: object) -> ColumnProfile:
    return profile(pl.DataFrame({name: pl.Series(values, **options)})).columns[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "series"),
    [
        ("empty", pl.Series([None, None], dtype=pl.String)),
        ("empty", pl.Series([float("nan"), None], dtype=pl.Float64)),
        ("constant", pl.Series([3, 3, 3])),
        ("number", pl.Series([3.0, 3.0, float("nan")])),
        ("number", pl.Series([3, None])),
        ("boolean", pl.Series([True, False, None])),
        ("time", pl.Series([date(2013, 1, 1), date(2013, 1, 2)])),
        ("category", pl.Series(["EWR", "JFK", "LGA"] * 10)),
        ("category", pl.Series(["a", "b"], dtype=pl.Categorical)),
        ("identifier", pl.Series([f"N{number}" for number in range(100)])),
        ("text", pl.Series([f"the flight number {number} was late again" for number in range(100)])),
        ("number", pl.Series([number * number for number in range(100)])),
        ("identifier", pl.Series(range(100))),
        ("text", pl.Series([[1, 2], [3]])),
    ],
)
def test_kinds(kind: str, series: pl.Series) -> None:
    """Each column gets the kind that says how it may be used."""
    assert kind == profile(series.to_frame("x")).columns[0].kind


@pytest.mark.parametrize(
    ("kind", "name"),
    [("identifier", "id"), ("identifier", "customer_id"), ("identifier", "orderId"), ("number", "paid")],
)
def test_a_name_tells_identifiers_from_amounts(kind: str, name: str) -> None:
    """Whole numbers that never repeat are amounts unless their name says otherwise."""
    assert kind == of([number * 7 + 3 for number in range(50)], name).kind


def test_numbers_ignore_what_is_not_finite() -> None:
    """NaN and infinities are counted, and spoil no statistic."""
    column = of([1.0, 3.0, float("nan"), float("inf"), None])

    assert (5, 1, 2, 2) == (column.rows, column.nulls, column.not_finite, column.distinct)
    assert (1.0, 3.0, 2.0) == (column.minimum, column.maximum, column.mean)
    assert 2.0 == column.quantiles[3]


def test_times_are_seconds_since_1970() -> None:
    """Times have a minimum and a maximum like numbers, in seconds, and examples to read."""
    column = of([datetime(1970, 1, 1, 0, 1, tzinfo=UTC), datetime(1970, 1, 2, tzinfo=UTC)])

    assert (60.0, 86400.0) == (column.minimum, column.maximum)
    assert column.examples[0].startswith("1970-01-01 00:01")


def test_top_is_ordered_by_count_then_value() -> None:
    """Equal tables have equal profiles, whatever the order of their rows."""
    assert (("b", 2), ("a", 1), ("c", 1)) == of(["c", "b", "a", "b"]).top


def test_huge_numbers_have_no_infinite_statistics() -> None:
    """A mean that overflows is unknown, not infinite, so that a profile is always plain JSON."""
    column = of([1.7e308, 1.7e308, -1.0])

    assert column.mean is None or abs(column.mean) < float("inf")
    assert 1.7e308 == column.maximum


@pytest.mark.parametrize("name", ["*", "^x$", "", "a.b", "literal", "count", "0"])
def test_hostile_names_are_only_names(name: str) -> None:
    """Names that polars could read as patterns or that we use inside are columns like others."""
    frame = pl.DataFrame({name: [1.5, 2.5, 2.5], "1": ["a", "b", "b"]})

    assert [(name, 2), ("1", 2)] == [(column.name, column.distinct) for column in profile(frame).columns]


def test_a_table_without_columns_is_invalid() -> None:
    """Nothing cannot be measured."""
    with pytest.raises(Invalid) as caught:
        profile(pl.DataFrame())

    assert "empty-table" == caught.value.code


def test_a_table_without_rows_has_empty_columns() -> None:
    """A header alone can be profiled."""
    assert ["empty"] == [column.kind for column in profile(pl.DataFrame({"x": []}, schema={"x": pl.Int64})).columns]


@given(
    st.lists(st.one_of(st.none(), st.integers(-5, 5), st.floats(allow_nan=True, allow_infinity=True)), max_size=30)
)
def test_counts_add_up(values: list[float | None]) -> None:
    """Rows are nulls, finite values and others; a profile survives its JSON form."""
    found = profile(
        pl.DataFrame({"x": pl.Series([None if v is None else float(v) for v in values], dtype=pl.Float64)})
    )
    column = found.columns[0]
    finite = [v for v in values if v is not None and abs(v) < float("inf")]
    adapter = TypeAdapter(Profile)

    assert len(values) == column.rows
    assert len(finite) == column.rows - column.nulls - column.not_finite
    assert len(set(map(float, finite))) == column.distinct
    assert (min(finite, default=None), max(finite, default=None)) == (column.minimum, column.maximum)
    assert found == adapter.validate_json(adapter.dump_json(found))
