"""Encoding: one code for tables, columns and records; nothing of the wrong type slips through."""

from __future__ import annotations

import math
import time
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid
from stellwerk.models.model import Column, Signature
from stellwerk.models.tabular import encode, encode_columns, encode_record

SIGNATURE = Signature(
    inputs=(
        Column(name="distance", kind="number"),
        Column(name="carrier", kind="category", vocabulary=("UA", "AA", "DL")),
        Column(name="holiday", kind="boolean"),
        Column(name="departure", kind="time"),
    ),
    target="late",
    task="binary",
    classes=("false", "true"),
)
NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)


def test_each_kind_becomes_its_number() -> None:
    """Numbers stay, categories become their place in the vocabulary, booleans 0 or 1, times epoch seconds."""
    record = {"distance": 3, "carrier": "DL", "holiday": True, "departure": NOON, "unused": "x"}

    assert [[3.0, 2.0, 1.0, NOON.timestamp()]] == encode_record(SIGNATURE, record).tolist()


def test_null_and_unknown_become_nan() -> None:
    """Null is allowed everywhere; a category outside the vocabulary is unknown, not an error."""
    record = {"distance": None, "carrier": "ZZ", "holiday": None, "departure": None}

    assert np.isnan(encode_record(SIGNATURE, record)).all()


def test_a_missing_column_names_all_missing_ones_and_their_nearest_names() -> None:
    """A caller learns everything that is wrong at once, and what was probably meant."""
    with pytest.raises(Invalid) as caught:
        encode(SIGNATURE, pl.DataFrame({"distanse": [1.0], "carrier": ["UA"], "departure": [NOON]}))

    assert "missing-column" == caught.value.code
    assert "2 of 4 columns are missing: distance, holiday" in caught.value.message
    assert "distance: perhaps distanse" == caught.value.hint


def test_a_record_with_missing_fields_says_the_same() -> None:
    """Records and tables fail alike."""
    with pytest.raises(Invalid) as caught:
        encode_record(SIGNATURE, {"carrier": "UA"})

    assert "missing-column" == caught.value.code
    assert "distance, holiday, departure" in caught.value.message


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("distance", [1.0, None, "12"]),
        ("distance", [1.0, 2.0, True]),
        ("carrier", ["UA", None, 1.5]),
        ("carrier", ["UA", None, True]),
        ("holiday", [True, None, 1]),
        ("departure", [NOON, None, 17]),
        ("departure", [NOON, None, "yesterday"]),
        ("departure", [NOON, None, "2013-01-01T00:00:00"]),
    ],
)
def test_a_wrong_type_is_named_with_column_row_and_value(column: str, values: list[Any]) -> None:
    """Text in a number column is never turned into a number, in no way of asking."""
    good: dict[str, list[Any]] = {
        "distance": [1.0] * 3,
        "carrier": ["UA"] * 3,
        "holiday": [True] * 3,
        "departure": [NOON] * 3,
    }

    with pytest.raises(Invalid) as caught:
        encode_columns(SIGNATURE, {**good, column: values})
    with pytest.raises(Invalid) as alone:
        encode_record(SIGNATURE, {**{name: v[0] for name, v in good.items()}, column: values[2]})

    assert "wrong-type" == caught.value.code == alone.value.code
    assert f"column {column!r}, row 2: got {str(values[2])!r}" in caught.value.message


def test_a_text_column_in_a_frame_is_refused_as_number() -> None:
    """A polars column of digits as text is still text."""
    frame = pl.DataFrame({"distance": ["1", "2"], "carrier": "UA", "holiday": True, "departure": NOON})

    with pytest.raises(Invalid) as caught:
        encode(SIGNATURE, frame)

    assert "column 'distance', row 0: got '1' (str), expected a number" == caught.value.message


@pytest.mark.parametrize("value", [math.inf, -math.inf, 10**400, Decimal("Infinity"), np.float64(np.inf)])
def test_infinity_is_refused(value: Any) -> None:
    """Estimators do not take infinities; the caller is told which row has one."""
    one = Signature(inputs=(Column(name="x", kind="number"),), target="y", task="regression")

    with pytest.raises(Invalid) as caught:
        encode_record(one, {"x": value})
    with pytest.raises(Invalid) as among:
        encode_columns(one, {"x": [1.0, value]})

    assert "not-finite" == caught.value.code == among.value.code
    assert "column 'x', row 1" in among.value.message


def test_columns_of_different_length_are_refused() -> None:
    """A mapping is a table only if its columns have the same number of rows."""
    with pytest.raises(Invalid) as caught:
        encode_columns(SIGNATURE, {"distance": [1.0, 2.0], "carrier": ["UA"], "holiday": [True], "departure": [NOON]})

    assert "ragged-columns" == caught.value.code


def test_times_mean_the_same_in_every_spelling() -> None:
    """Zones are respected; a time without zone and a date are UTC, in records and in tables."""
    one = Signature(inputs=(Column(name="t", kind="time"),), target="y", task="regression")
    midnight = datetime(2013, 1, 1, tzinfo=UTC)
    spellings = [
        midnight,
        midnight.replace(tzinfo=None),
        date(2013, 1, 1),
        midnight.astimezone(timezone(timedelta(hours=5))),
        "2013-01-01T00:00:00Z",
        "2013-01-01T05:00:00+05:00",
        np.datetime64("2013-01-01"),
    ]

    assert {midnight.timestamp()} == {float(encode_record(one, {"t": value})[0, 0]) for value in spellings}
    for series in (
        pl.Series("t", [midnight]),
        pl.Series("t", [midnight]).dt.convert_time_zone("America/New_York"),
        pl.Series("t", [midnight.replace(tzinfo=None)]),
        pl.Series("t", [date(2013, 1, 1)]),
        pl.Series("t", ["2013-01-01T00:00:00Z"]),
    ):
        assert [[midnight.timestamp()]] == encode(one, pl.DataFrame({"t": series})).tolist()


_RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "distance": st.none() | st.floats(allow_infinity=False) | st.integers(-(2**53), 2**53),
            "carrier": st.none() | st.sampled_from(["UA", "AA", "DL", "??", ""]) | st.text(max_size=3),
            "holiday": st.none() | st.booleans(),
            "departure": st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
        }
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(_RECORDS)
def test_records_columns_and_frames_encode_alike(records: list[dict[str, Any]]) -> None:
    """What is learnt from tables in training is what single requests are turned into when serving."""
    columns = {name: [record[name] for record in records] for name in records[0]}
    schema: dict[str, Any] = {
        "distance": pl.Float64,
        "carrier": pl.String,
        "holiday": pl.Boolean,
        "departure": pl.Datetime("us", "UTC"),
    }
    frame = pl.DataFrame(columns, schema=schema, strict=False)

    one_by_one = np.vstack([encode_record(SIGNATURE, record) for record in records])

    np.testing.assert_array_equal(one_by_one, encode_columns(SIGNATURE, columns))
    np.testing.assert_array_equal(one_by_one, encode(SIGNATURE, frame))
    assert (len(records), 4) == one_by_one.shape
    assert np.float64 == one_by_one.dtype


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (pl.Series("x", [1, None, 3], dtype=pl.Int8), [1.0, math.nan, 3.0]),
        (pl.Series("x", ["1.50", None], dtype=pl.Decimal(10, 2)), [1.5, math.nan]),
        (pl.Series("x", [None, None], dtype=pl.Null), [math.nan, math.nan]),
        (np.array([1, 2], dtype=np.uint8), [1.0, 2.0]),
        (np.array([1.5, np.nan], dtype=np.float32), [1.5, math.nan]),
        (np.array([1.5, None], dtype=object), [1.5, math.nan]),
    ],
)
def test_numbers_come_in_many_types(series: Any, expected: list[float]) -> None:
    """Every numeric type of polars and numpy is a number."""
    one = Signature(inputs=(Column(name="x", kind="number"),), target="y", task="regression")

    np.testing.assert_array_equal(np.array(expected)[:, None], encode_columns(one, {"x": series}))


def test_categories_come_as_text_enum_categorical_or_whole_numbers() -> None:
    """Codes such as 7 are looked up by their digits, whichever way they arrive."""
    one = Signature(inputs=(Column(name="c", kind="category", vocabulary=("7", "b")),), target="y", task="regression")
    expected = [[0.0], [1.0]]

    assert expected == encode(one, pl.DataFrame({"c": pl.Series(["7", "b"], dtype=pl.Categorical)})).tolist()
    assert expected == encode(one, pl.DataFrame({"c": pl.Series(["7", "b"], dtype=pl.Enum(["7", "b"]))})).tolist()
    assert expected == encode_columns(one, {"c": np.array(["7", "b"])}).tolist()
    assert [[0.0]] == encode(one, pl.DataFrame({"c": [7]})).tolist()
    assert [[0.0]] == encode_record(one, {"c": 7}).tolist()


def test_one_record_of_twenty_columns_is_fast() -> None:
    """A request is encoded in under 50 µs; the best of many rounds counts, so that a busy machine does not matter."""
    kinds = ("number", "category", "boolean", "number")
    vocabulary = tuple(f"v{i}" for i in range(200))
    inputs = tuple(
        Column(name=f"c{i}", kind=kinds[i % 4], vocabulary=vocabulary if i % 4 == 1 else ())  # type: ignore[arg-type]
        for i in range(20)
    )
    signature = Signature(inputs=inputs, target="y", task="regression")
    record = {f"c{i}": (1.5, "v7", True, 3)[i % 4] for i in range(20)}

    def round_of(n: int) -> float:
        start = time.perf_counter()
        for _ in range(n):
            encode_record(signature, record)
        return (time.perf_counter() - start) / n

    assert 50e-6 > min(round_of(200) for _ in range(20))
