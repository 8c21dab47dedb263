"""Splits: a row never moves by hash, never looks into the future by time."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid
from stellwerk.data.model import PARTS, Part, Split
from stellwerk.data.splits import hashed_split, summary, time_split

THREE: dict[Part, float] = {"train": 0.6, "select": 0.2, "gate": 0.2}
TWO: dict[Part, float] = {"train": 0.5, "gate": 0.5}

values = st.one_of(st.none(), st.integers(-3, 3))
rows = st.lists(st.tuples(values, st.one_of(st.none(), st.sampled_from("abc:1-,"))), max_size=30)


def table(of: list[tuple[int | None, str | None]]) -> pl.DataFrame:
    return pl.DataFrame(of, schema={"n": pl.Int64, "s": pl.String}, orient="row")


def refusal(*args: Any, **options: Any) -> Invalid:
    function = options.pop("function")
    with pytest.raises(Invalid) as caught:
        function(*args, **options)
    return caught.value


# --- by hash


@given(rows, rows, st.text(max_size=3))
def test_a_row_never_moves(old: list[tuple[Any, Any]], new: list[tuple[Any, Any]], salt: str) -> None:
    """Rows keep their part when others are added before, between and behind them."""
    before = hashed_split(table(old), fractions=THREE, salt=salt)
    after = hashed_split(table([*new, *old, *new]), fractions=THREE, salt=salt)

    assert before.to_list() == after.to_list()[len(new) : len(new) + len(old)]


@given(rows)
def test_equal_rows_and_equal_entities_stay_together(of: list[tuple[Any, Any]]) -> None:
    """Duplicates are on one side, by content or by key."""
    frame = table(of)
    for keys in ([], ["s"], ["n", "s"]):
        labels = hashed_split(frame, fractions=TWO, salt="x", keys=keys)
        sides: dict[Any, set[str]] = {}
        for row, label in zip(frame.select(keys or frame.columns).rows(), labels, strict=True):
            sides.setdefault(row, set()).add(label)

        assert all(len(side) == 1 for side in sides.values())


@given(rows)
def test_types_and_order_of_columns_do_not_matter(of: list[tuple[Any, Any]]) -> None:
    """The same values as floats, as text, as categories or in other column order split the same."""
    frame = table(of)
    expected = hashed_split(frame, fractions=THREE, salt="x").to_list()
    others = [
        frame.with_columns(pl.col("n").cast(pl.Float64)),
        frame.with_columns(pl.col("n").cast(pl.String)),
        frame.with_columns(pl.col("n").cast(pl.Int8), pl.col("s").cast(pl.Categorical)),
        frame.select("s", "n"),
    ]

    assert [expected] * 4 == [hashed_split(other, fractions=THREE, salt="x").to_list() for other in others]


def test_golden_labels() -> None:
    """The labels of release 1: if this fails, every gate set in the field would change."""
    frame = pl.DataFrame(
        {
            "i": [0, 1, -7, None, 5],
            "f": [0.1, 1e22, -0.0, float("nan"), 1 / 3],
            "s": ["", "a", "ü", None, "5"],
            "b": [True, False, None, True, False],
            "d": [date(2013, 1, 1)] * 5,
            "t": [datetime(2013, 1, 1, 10, 30)] * 5,
        }
    )

    assert GOLDEN == {
        name: "".join(label[0] for label in hashed_split(frame, fractions=THREE, salt="golden", keys=[name]))
        for name in frame.columns
    }


GOLDEN = {"i": "tgtgt", "f": "tttst", "s": "ggtgt", "b": "sggsg", "d": "ggggg", "t": "ttttt"}


def test_the_salt_matters_and_shares_are_kept() -> None:
    """Another salt is another split; large tables come near the fractions."""
    frame = pl.DataFrame({"id": range(20_000)})
    one, other = (hashed_split(frame, fractions=THREE, salt=salt) for salt in ("one", "other"))
    found = Counter(one.to_list())

    assert not one.equals(other)
    assert {"train": 0.6, "select": 0.2, "gate": 0.2} == {part: round(found[part] / 20_000, 1) for part in PARTS}
    assert all(abs(found[part] / 20_000 - THREE[part]) < 0.015 for part in PARTS)


@given(st.floats(0.05, 0.45))
def test_a_larger_training_share_only_takes_rows(share: float) -> None:
    """Who trains under a share still trains under a larger one."""
    frame = pl.DataFrame({"id": range(200)})
    small = hashed_split(frame, fractions={"train": share, "gate": 1 - share}, salt="x") == "train"
    large = hashed_split(frame, fractions={"train": 2 * share, "gate": 1 - 2 * share}, salt="x") == "train"

    assert (small & ~large).sum() == 0


def test_columns_cannot_be_mistaken_for_each_other() -> None:
    """`a,b` and `c` split otherwise than `a` and `b,c`: lengths are part of what is hashed."""
    many = [(f"{n},", f"{n}") for n in range(64)]
    moved = [(f"{n}", f",{n}") for n in range(64)]
    schema = ["a", "b"]
    one, other = (
        hashed_split(pl.DataFrame(of, schema=schema, orient="row"), fractions=TWO, salt="x") for of in (many, moved)
    )

    assert not one.equals(other)


def test_nested_columns_cannot_decide_a_split() -> None:
    """Lists have no text that stays the same for certain; a key can be named instead."""
    frame = pl.DataFrame({"id": [1, 2], "v": [[1.0], [2.0]]})

    assert "nested-column" == refusal(frame, fractions=TWO, salt="x", function=hashed_split).code
    assert 2 == len(hashed_split(frame, fractions=TWO, salt="x", keys=["id"]))


@pytest.mark.parametrize(
    "fractions",
    [{}, {"train": 0.5, "gate": 0.4}, {"train": 1.5, "gate": -0.5}, {"train": 0.5, "test": 0.5},
     {"train": float("nan"), "gate": 1.0}, {"train": 1.0, "gate": 0.0}],
)  # fmt: skip
def test_unusable_fractions_are_refused(fractions: dict[Any, float]) -> None:
    """Parts are known, positive and sum to one."""
    frame = pl.DataFrame({"id": [1, 2]})

    assert "invalid-split" == refusal(frame, fractions=fractions, salt="x", function=hashed_split).code
    assert "invalid-split" == refusal(frame["id"], fractions=fractions, function=time_split).code


def test_unknown_keys_are_refused() -> None:
    """A key that does not exist is named with what was probably meant."""
    error = refusal(
        pl.DataFrame({"tailnum": ["N1"]}), fractions=TWO, salt="x", keys=["tailnr"], function=hashed_split
    )

    assert ("unknown-column", "did you mean 'tailnum'?") == (error.code, error.hint)


# --- by time


@given(st.lists(st.integers(0, 12), min_size=3, max_size=60).filter(lambda times: len(set(times)) >= 3))
def test_parts_follow_each_other_strictly(times: list[int]) -> None:
    """Training lies before selection before the gate; no part is empty, and equal times stay together."""
    labels = time_split(pl.Series("t", times), fractions=THREE).to_list()
    parts = {part: [t for t, label in zip(times, labels, strict=True) if label == part] for part in PARTS}

    assert max(parts["train"]) < min(parts["select"])
    assert max(parts["select"]) < min(parts["gate"])


@given(st.permutations(list(range(50))))
def test_borders_lie_at_the_fractions(times: list[int]) -> None:
    """With different times the shares are exact, in whatever order the rows come."""
    labels = time_split(pl.Series("t", times), fractions=THREE)
    split = summary(labels, times=pl.Series("t", times))

    assert (
        Split(method="time", train=30, select=10, gate=10, starts=(("train", "0"), ("select", "30"), ("gate", "40")))
        == split
    )


def test_dates_split_by_time() -> None:
    """Dates and times are as good as numbers."""
    days = pl.Series("day", [date(2013, 1, day) for day in (3, 1, 2, 2)])

    assert ["gate", "train", "train", "train"] == time_split(days, fractions={"train": 0.7, "gate": 0.3}).to_list()


@pytest.mark.parametrize(
    ("code", "part", "times"),
    [
        ("time-null", "2 rows, for example row 2, 4", pl.Series("t", [1, None, 3, None])),
        ("time-too-few", "1 different times", pl.Series("t", [1, 1, 1])),
        ("invalid-time-column", "String", pl.Series("t", ["2013-01-01", "2013-01-02"])),
        ("invalid-time-column", "Float64", pl.Series("t", [1.0, 2.0])),
        ("time-too-few", "0 different times", pl.Series("t", [], dtype=pl.Int64)),
    ],
)
def test_unusable_times_are_refused(code: str, part: str, times: pl.Series) -> None:
    """Time that is missing, standing still or no time cannot split."""
    error = refusal(times, fractions=TWO, function=time_split)

    assert code == error.code
    assert part in error.message


# --- the summary


def test_a_part_without_rows_is_refused() -> None:
    """Nothing can be judged on no rows; parts nobody needs may be empty."""
    labels = pl.Series("part", ["train", "train"])

    assert "empty-part" == refusal(labels, function=summary).code
    assert Split(method="hashed", train=2, select=0, gate=0, keys=("id",), salt="s") == summary(
        labels, keys=["id"], salt="s", needed=["train"]
    )
