"""Comparing tables: what a difference says is what was changed."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from stellwerk.core.errors import Invalid
from stellwerk.data.comparing import compare, lines
from stellwerk.data.model import CellChange, TableDiff

cells = st.one_of(st.none(), st.sampled_from([0.0, 1.0, float("nan")]))
tables = st.lists(st.tuples(st.integers(0, 4), cells), max_size=12)


def table(rows: list[tuple[int, float | None]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"k": pl.Int64, "v": pl.Float64}, orient="row")


@given(tables, tables)
def test_without_a_key_rows_are_counted_as_a_whole(
    old: list[tuple[int, float]], new: list[tuple[int, float]]
) -> None:
    """Added and removed rows are the differences of the two multisets."""
    before, after = (Counter(map(repr, rows)) for rows in (old, new))
    diff = compare(table(old), table(new))

    assert ((after - before).total(), (before - after).total(), 0) == (
        diff.rows_added,
        diff.rows_removed,
        diff.rows_changed,
    )


@given(st.dictionaries(st.integers(0, 6), cells), st.dictionaries(st.integers(0, 6), cells))
def test_with_a_key_rows_are_matched(old: dict[int, float], new: dict[int, float]) -> None:
    """Added, removed and changed rows are those of the two mappings."""
    diff = compare(table(list(old.items())), table(list(new.items())), key=["k"])
    changed = [k for k in old if k in new and repr(old[k]) != repr(new[k])]

    assert (len(new.keys() - old.keys()), len(old.keys() - new.keys())) == (diff.rows_added, diff.rows_removed)
    assert (len(changed), (("v", len(changed)),) if changed else ()) == (diff.rows_changed, diff.changed)
    assert {(str(k),) for k in changed[:5]} <= {(str(k),) for k in changed}
    assert min(len(changed), 5) == len(diff.examples)


@given(tables, st.randoms(use_true_random=False))
def test_order_does_not_matter(rows: list[tuple[int, float]], random: object) -> None:
    """Shuffled rows and columns are no difference."""
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    diff = compare(table(rows), table(shuffled).select("v", "k"))

    assert [f"no difference: {len(rows):,} rows"] == lines(diff)


def test_a_difference_reads_as_lines() -> None:
    """Columns, types, counts and examples, one per line."""
    old = pl.DataFrame({"id": [1, 2, 3], "origin": ["EWR", "JFK", None], "gone": [0, 0, 0], "n": [1, 2, 3]})
    new = pl.DataFrame({"id": [3, 2, 4], "origin": ["LGA", "JFK", "EWR"], "n": [3.0, 2.5, 1.0], "new": ["", "", ""]})
    diff = compare(old, new, key=["id"])
    adapter = TypeAdapter(TableDiff)

    assert [
        "rows: 3 → 3 (+1 −1 ~2)",
        "+ column new",
        "- column gone",
        "~ column n: Int64 → Float64",
        "~ origin: 1 values",
        "~ n: 1 values",
        "  3: origin null → LGA",
        "  2: n 2.0 → 2.5",
    ] == lines(diff)
    assert (CellChange(key=("3",), column="origin", old=None, new="LGA")) == diff.examples[0]
    assert diff == adapter.validate_json(adapter.dump_json(diff))


def test_tables_without_shared_columns_differ_wholly() -> None:
    """Every row is gone and every row is new."""
    diff = compare(pl.DataFrame({"a": [1, 2]}), pl.DataFrame({"b": [1]}))

    assert (2, 1) == (diff.rows_removed, diff.rows_added)


def test_texts_that_hold_numbers_are_compared_as_text() -> None:
    """A retyped column whose values read the same has changed its type only."""
    diff = compare(pl.DataFrame({"id": [1], "v": [7]}), pl.DataFrame({"id": [1], "v": ["7"]}), key=["id"])

    assert (("v", "Int64", "String"),) == diff.columns_retyped
    assert 0 == diff.rows_changed


@pytest.mark.parametrize(
    ("code", "part", "key"),
    [("key-not-unique", "old table, for example in row 1, 2", ["a"]), ("unknown-column", "'x'", ["x"])],
)
def test_unusable_keys_are_refused(code: str, part: str, key: list[str]) -> None:
    """A key that repeats or is missing matches nothing for certain."""
    with pytest.raises(Invalid) as caught:
        compare(pl.DataFrame({"a": [1, 1]}), pl.DataFrame({"a": [1, 2]}), key=key)

    assert code == caught.value.code
    assert part in caught.value.message


@pytest.mark.parametrize("name", ["*", "^x$", "sign", "0", "1.new"])
def test_hostile_names_are_only_names(name: str) -> None:
    """Names that polars could read as patterns or that we use inside compare like others."""
    old = pl.DataFrame({name: [1, 2], "1": ["a", "b"]})
    new = pl.DataFrame({name: [1, 2], "1": ["a", "c"]})

    assert (1, (("1", 1),)) == (lambda d: (d.rows_changed, d.changed))(compare(old, new, key=[name]))
    assert (1, 1) == (lambda d: (d.rows_added, d.rows_removed))(compare(old, new))
