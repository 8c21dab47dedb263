"""Point-in-time joins: no row lost, no order changed, nothing from the future."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid
from stellwerk.features.rules import asof

START = datetime(2013, 1, 1)
Row = tuple[int | None, str | None, int | None]

times = st.one_of(st.none(), st.integers(0, 8))
keys = st.one_of(st.none(), st.sampled_from("ab"))
lists = st.lists(st.tuples(times, keys, st.one_of(st.none(), st.integers(0, 99))), max_size=14)


def table(rows: list[Row], value: str) -> pl.DataFrame:
    hours = [(None if t is None else START + timedelta(hours=t), key, v) for t, key, v in rows]
    return pl.DataFrame(hours, schema={"t": pl.Datetime("us"), "key": pl.String, value: pl.Int64}, orient="row")


def latest(row: Row, right: list[Row], *, strict: bool, tolerance: int | None) -> tuple[int | None, int | None]:
    """By brute force: value and time of the latest right row of the same entity before the row."""
    t, key, _ = row
    found: tuple[int | None, int | None] = (None, None)
    best = -1
    for time, other, value in right:
        if t is None or time is None or key is None or key != other:
            continue
        known = time < t if strict else time <= t
        if known and (tolerance is None or t - time <= tolerance) and time >= best:
            best, found = time, (value, time)
    return found


@given(lists, lists, st.booleans(), st.sampled_from([None, 0, 2]))
def test_every_row_gets_the_latest_value_before_it(
    left: list[Row], right: list[Row], strict: bool, tolerance: int | None
) -> None:
    """All left rows come back once and in order, each with what brute force finds; the future is never read."""
    joined = asof(
        table(left, "x"),
        table(right, "v"),
        on="t",
        by=["key"],
        strictly_before=strict,
        tolerance=None if tolerance is None else f"{tolerance}h",
        prefix="r_",
        matched_at="at",
    )
    expected = [latest(row, right, strict=strict, tolerance=tolerance) for row in left]

    assert table(left, "x").equals(joined.select("t", "key", "x"))
    assert [value for value, _ in expected] == joined["r_v"].to_list()
    assert [None if t is None else START + timedelta(hours=t) for _, t in expected] == joined["at"].to_list()


@given(lists, lists)
def test_without_an_entity_all_rows_are_about_the_same(left: list[Row], right: list[Row]) -> None:
    """An empty `by` joins by time alone."""
    joined = asof(table(left, "x"), table(right, "v").select("t", "v"), on="t", by=[])
    same = [(t, "a", v) for t, _, v in right]
    expected = [latest((t, "a", v), same, strict=True, tolerance=None)[0] for t, _, v in left]

    assert expected == joined["v"].to_list()


def test_integers_and_dates_are_times() -> None:
    """Integers of any width and dates join as well."""
    left = pl.DataFrame({"t": pl.Series([5, 1], dtype=pl.Int16), "d": [date(2013, 1, 5), date(2013, 1, 1)]})
    right = pl.DataFrame({"t": [1, 4], "d": [date(2013, 1, 1), date(2013, 1, 4)], "v": [10, 40]})

    assert [40, None] == asof(left, right.drop("d"), on="t", by=[])["v"].to_list()
    assert [40, None] == asof(left, right.drop("t"), on="d", by=[])["v"].to_list()
    assert [40, None] == asof(left, right.drop("t"), on="d", by=[], tolerance="1d")["v"].to_list()


def test_units_do_not_let_the_future_through() -> None:
    """A right row some nanoseconds later is later, though the left time knows milliseconds only."""
    left = pl.DataFrame({"t": pl.Series([1000], dtype=pl.Int64).cast(pl.Datetime("ms"))})
    nanoseconds = pl.Series([1_000_000_001, 999_999_999], dtype=pl.Int64).cast(pl.Datetime("ns"))
    right = pl.DataFrame({"known_at": nanoseconds, "v": ["later", "before"]})

    joined = asof(left, right, on="t", by=[], right_on="known_at")

    assert {"t": pl.Datetime("ms"), "v": pl.String} == dict(joined.schema)
    assert ["before"] == joined["v"].to_list()


def test_several_keys_and_another_name_of_time() -> None:
    """Entities of several columns; the time of the right table may have its own name."""
    left = pl.DataFrame({"t": [3, 3], "a": ["x", "x"], "b": [1, 2]})
    right = pl.DataFrame({"b": [1, 2, 1], "a": ["x", "y", "x"], "since": [1, 1, 2], "v": [1.0, 2.0, 3.0]})

    assert {"t": [3, 3], "a": ["x", "x"], "b": [1, 2], "v": [3.0, None]} == asof(
        left, right, on="t", by=["a", "b"], right_on="since"
    ).to_dict(as_series=False)


def test_all_types_of_values_are_carried() -> None:
    """Values come over as they are, whatever their type."""
    right = pl.DataFrame(
        {"t": [1], "c": pl.Series(["a"], dtype=pl.Categorical), "l": [[1, 2]], "s": [{"x": 1}], "n": [float("nan")]}
    )

    joined = asof(pl.DataFrame({"t": [2, 0]}), right, on="t", by=[])

    assert {**right.schema} == {**joined.schema}
    assert ["a", None] == joined["c"].to_list()
    assert [[1, 2], None] == joined["l"].to_list()


@pytest.mark.parametrize("name", ["*", "^t$", "row", "time", "k0", "source", ""])
def test_hostile_names_are_only_names(name: str) -> None:
    """Names that polars could read as patterns or that we use inside join like others."""
    left = pl.DataFrame({name: [3, 1], "x": [0, 1]})
    right = pl.DataFrame({name: [1, 2], "v": [10, 20]})
    keyed = pl.DataFrame({name: ["a", "b"], "t": [3, 3]})
    known = pl.DataFrame({name: ["b", "a"], "t": [1, 1], "v": [10, 20]})

    assert [20, None] == asof(left, right, on=name, by=[])["v"].to_list()
    assert [20, 10] == asof(keyed, known, on="t", by=[name])["v"].to_list()


BERLIN = pl.DataFrame({"t": [datetime(2013, 1, 1)], "key": ["a"]}).with_columns(
    pl.col("t").dt.replace_time_zone("Europe/Berlin")
)
FAR = pl.DataFrame({"t": pl.Series([datetime(9999, 1, 1)], dtype=pl.Datetime("ms")), "key": ["a"]})
HUGE = pl.DataFrame({"t": pl.Series([2**63], dtype=pl.UInt64), "key": ["a"]})
ZONED = pl.DataFrame({"t": [datetime(2013, 1, 1, tzinfo=UTC)], "key": ["a"], "v": [1]})
NAIVE = pl.DataFrame({"t": [datetime(2013, 1, 1)], "key": ["a"]})


@pytest.mark.parametrize(
    ("code", "left", "right", "options"),
    [
        ("time-zone-mismatch", NAIVE, ZONED, {}),
        ("time-zone-mismatch", BERLIN, ZONED, {}),
        ("time-type-mismatch", NAIVE.with_columns(pl.col("t").dt.date()), NAIVE.with_columns(v=1), {}),
        ("time-type-mismatch", pl.DataFrame({"t": [1], "key": ["a"]}), NAIVE.with_columns(v=1), {}),
        ("invalid-time-column", pl.DataFrame({"t": ["x"], "key": ["a"]}), ZONED, {}),
        ("invalid-time-column", pl.DataFrame({"t": [1.5], "key": ["a"]}), ZONED, {}),
        ("invalid-time-column", pl.DataFrame({"t": [1], "key": ["a"]}), pl.DataFrame({"t": [1], "key": ["a"]}),
         {"tolerance": "1h"}),
        ("invalid-time-column", FAR, NAIVE.with_columns(pl.col("t").cast(pl.Datetime("ns")), v=1), {}),
        ("invalid-time-column", HUGE, pl.DataFrame({"t": [1], "key": ["a"], "v": [1]}), {}),
        ("invalid-duration", NAIVE, NAIVE.with_columns(v=1), {"tolerance": "one hour"}),
        ("entity-type-mismatch", ZONED.drop("v"), ZONED.with_columns(key=1), {}),
        ("unknown-column", NAIVE.rename({"key": "kee"}), ZONED, {}),
        ("unknown-column", NAIVE, NAIVE, {"right_on": "known_at"}),
        ("duplicate-column", ZONED, ZONED, {}),
        ("duplicate-column", ZONED, ZONED, {"prefix": "r_", "matched_at": "r_v"}),
        ("duplicate-column", ZONED, ZONED, {"prefix": "r_", "matched_at": "t"}),
    ],
)  # fmt: skip
def test_what_cannot_be_joined_is_refused(
    code: str, left: pl.DataFrame, right: pl.DataFrame, options: dict[str, Any]
) -> None:
    """Times and entities that cannot be compared, names that are missing or clash: an error with a hint."""
    with pytest.raises(Invalid) as caught:
        asof(left, right, on="t", by=["key"], **options)

    assert code == caught.value.code
    assert caught.value.hint or code == "invalid-duration"
