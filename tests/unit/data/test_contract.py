"""Contracts: what is inferred holds, what is refined is checked, what is broken is named with its rows."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from stellwerk.core.errors import Invalid
from stellwerk.data.contract import check, confirm, describe, diff, infer, refine
from stellwerk.data.model import ColumnRule, Contract, ContractReport, Violation


def flights(**changes: list[Any]) -> pl.DataFrame:
    columns: dict[str, list[Any]] = {
        "origin": ["EWR", "JFK", "LGA", "EWR"] * 10,
        "month": [1, 2, 3, 3] * 10,
        "delay": [-3.0, 0.5, 120.25, 7.0] * 10,
        "flight": list(range(40)),
    }
    return pl.DataFrame(columns | changes)


def rule_of(contract: Contract, name: str) -> ColumnRule:
    return next(rule for rule in contract.columns if rule.name == name)


def broken(contract: Contract, frame: pl.DataFrame, **options: Any) -> list[Violation]:
    return list(check(contract, frame, **options).violations)


def one(contract: Contract, frame: pl.DataFrame) -> Violation:
    found = broken(contract, frame)
    assert 1 == len(found), found
    return found[0]


# --- inferring


tables = st.fixed_dictionaries(
    {
        "n": st.lists(st.one_of(st.none(), st.integers(-(2**60), 2**60)), min_size=12, max_size=12),
        "f": st.lists(
            st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), min_size=12, max_size=12
        ),
        "c": st.lists(st.one_of(st.none(), st.sampled_from("abcdefgh")), min_size=12, max_size=12),
        "b": st.lists(st.one_of(st.none(), st.booleans()), min_size=12, max_size=12),
        "d": st.lists(st.one_of(st.none(), st.dates()), min_size=12, max_size=12),
    }
)
SCHEMA = {"n": pl.Int64, "f": pl.Float64, "c": pl.String, "b": pl.Boolean, "d": pl.Date}


@given(tables)
def test_what_was_inferred_holds(table: dict[str, list[Any]]) -> None:
    """A table keeps the contract inferred from it, and the contract survives its JSON form."""
    frame = pl.DataFrame(table, schema=SCHEMA)
    contract = infer("t", frame)
    adapter = TypeAdapter(Contract)

    assert [] == broken(contract, frame)
    assert contract == adapter.validate_json(adapter.dump_json(contract))


def test_a_draft_leaves_room() -> None:
    """Ranges are wider than the data but keep their sign; a short list of values is the vocabulary."""
    contract = infer("flights", flights())

    assert "draft" == contract.status
    assert (0.0, 5.0) == (rule_of(contract, "month").minimum, rule_of(contract, "month").maximum)
    assert (-127.0, 244.0) == (rule_of(contract, "delay").minimum, rule_of(contract, "delay").maximum)
    assert ("EWR", "JFK", "LGA") == rule_of(contract, "origin").vocabulary
    assert rule_of(contract, "flight").unique
    assert 4 == contract.min_rows


def test_presence_leaves_room_for_what_chance_allows() -> None:
    """Many complete rows promise much, few promise little; a share of nulls may double."""
    many = infer("t", pl.DataFrame({"x": [1.0, 2.0] * 50_000})).columns[0]
    few = infer("t", pl.DataFrame({"x": [1.0, 2.0] * 5})).columns[0]
    half = infer("t", pl.DataFrame({"x": ([1.0, 2.0, 3.0] * 3 + [None]) * 10_000})).columns[0]

    assert 0.999 == many.min_fraction
    assert 0.5 < few.min_fraction < 0.6
    assert 0.8 == pytest.approx(half.min_fraction, abs=0.001)


def test_shares_between_0_and_1_stay_shares() -> None:
    """A float between 0 and 1 is bounded by them."""
    rule = infer("t", pl.DataFrame({"p": [0.25, 0.5, 0.75]})).columns[0]

    assert (0.0, 1.0) == (rule.minimum, rule.maximum)


def test_no_contract_without_rows() -> None:
    """A header alone promises nothing."""
    with pytest.raises(Invalid) as caught:
        infer("t", pl.DataFrame({"x": []}, schema={"x": pl.Int64}))

    assert "empty-table" == caught.value.code


# --- refining


def test_refine_changes_only_what_was_asked() -> None:
    """Overrides in code change named fields and nothing else; a given vocabulary is strict."""
    old = infer("flights", flights())
    new = refine(
        old, {"origin": {"vocabulary": ["LGA", "EWR", "JFK", "HPN"]}, "month": {"minimum": 1, "maximum": 12}}
    )

    assert [
        "~ origin.vocabulary: {'EWR', 'JFK', 'LGA'} → {'EWR', 'HPN', 'JFK', 'LGA'}",
        f"~ origin.min_domain_mass: {rule_of(old, 'origin').min_domain_mass:g} → 1",
        "~ month.minimum: 0 → 1",
        "~ month.maximum: 5 → 12",
    ] == diff(old, new)


def test_changing_a_confirmed_contract_makes_a_draft_of_the_next_version() -> None:
    """A confirmed promise is never edited in place; changing nothing keeps it."""
    contract = confirm(infer("flights", flights()))

    assert contract == refine(contract, {})
    assert contract == confirm(contract)
    assert (2, "draft") == (lambda c: (c.version, c.status))(refine(contract, {"month": {"maximum": 12}}))


def test_times_may_be_bounded_by_dates() -> None:
    """Bounds of time columns are given as dates and kept as seconds."""
    frame = pl.DataFrame({"t": [datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 6, 1, tzinfo=UTC)]})
    contract = refine(infer("t", frame), {"t": {"minimum": date(2013, 2, 1)}})

    assert [(1, "2013-01-01 00:00:00.000000+00:00")] == list(one(contract, frame).examples)


@pytest.mark.parametrize(
    ("code", "hint", "changes"),
    [
        ("unknown-column", "'origin'", {"orgin": {"unique": True}}),
        ("unknown-field", "'minimum'", {"month": {"minimun": 1}}),
        ("unknown-field", "known names", {"month": {"zzz": 1}}),
        ("invalid-contract", "", {"month": {"minimum": "1"}}),
        ("invalid-contract", "", {"month": {"minimum": True}}),
        ("invalid-contract", "", {"month": {"minimum": float("nan")}}),
        ("invalid-contract", "", {"month": {"minimum": 13, "maximum": 12}}),
        ("invalid-contract", "", {"month": {"min_fraction": 1.5}}),
        ("invalid-contract", "", {"month": {"unique": "yes"}}),
        ("invalid-contract", "", {"month": {"kind": "integer"}}),
        ("invalid-contract", "", {"month": {"dtype": "int"}}),
        ("invalid-contract", "", {"month": {"nan": True}}),
        ("invalid-contract", "", {"origin": {"vocabulary": "EWR"}}),
        ("invalid-contract", "", {"origin": {"vocabulary": []}}),
        ("invalid-contract", "", {"origin": {"vocabulary": [1]}}),
        ("invalid-contract", "", {"origin": {"minimum": 1}}),
        ("invalid-contract", "", {"delay": {"vocabulary": ["1.0"]}}),
    ],
)
def test_unusable_changes_are_refused(code: str, hint: str, changes: dict[str, dict[str, Any]]) -> None:
    """A rule that cannot be evaluated is an error, with the name that was probably meant."""
    with pytest.raises(Invalid) as caught:
        refine(infer("flights", flights()), changes)

    assert code == caught.value.code
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("unknown-column", {"unique": [["origin", "carier"]]}),
        ("invalid-contract", {"unique": ["origin"]}),
        ("invalid-contract", {"unique": [[]]}),
        ("invalid-contract", {"min_rows": -1}),
        ("invalid-contract", {"extra_columns": "maybe"}),
    ],
)
def test_unusable_table_rules_are_refused(code: str, options: dict[str, Any]) -> None:
    """The rules of the table as a whole are checked like those of its columns."""
    with pytest.raises(Invalid) as caught:
        refine(infer("flights", flights()), {}, **options)

    assert code == caught.value.code


# --- checking


@pytest.mark.parametrize(
    ("rule", "examples", "changes"),
    [
        ("vocabulary", [(2, "XXX")], {"origin": ["EWR", "XXX"] + ["JFK"] * 38}),
        ("maximum", [(3, "99")], {"month": [1, 2, 99] + [3] * 37}),
        ("minimum", [(1, "-4"), (4, "-5")], {"month": [-4, 2, 3, -5] + [3] * 36}),
        ("nan", [(2, "NaN")], {"delay": [1.0, float("nan")] + [3.0] * 38}),
        ("infinite", [(1, "inf"), (2, "-inf")], {"delay": [float("inf"), float("-inf")] + [3.0] * 38}),
        ("presence", [(row, None) for row in range(1, 6)], {"delay": [None] * 30 + [3.0] * 10}),
        ("unique", [(3, "1"), (40, "1")], {"flight": [0, 1, 1, *range(3, 39), 1]}),
        ("type", [(2, "late"), (3, "x")], {"delay": ["1.5", "late", "x", None] + ["2"] * 36}),
        ("type", [(1, "1.5")], {"month": [1.5, 2.0] + [3.0] * 38}),
        ("type", [(row, str(row)) for row in range(1, 6)], {"origin": list(range(1, 41))}),
    ],
)
def test_each_broken_rule_is_named_with_its_rows(
    rule: str, examples: list[tuple[int, str | None]], changes: dict[str, list[Any]]
) -> None:
    """A violation names rule, row numbers from 1 and values, so that a person can find the row."""
    contract = infer("flights", flights())
    contract = refine(contract, {"origin": {"vocabulary": ["EWR", "JFK", "LGA"]}})

    violation = one(contract, flights(**changes))

    assert (rule, next(iter(changes))) == (violation.rule, violation.column)
    assert examples == list(violation.examples)


def test_a_missing_column_is_named_with_what_it_may_be_called() -> None:
    """A renamed column is one missing and one unknown column."""
    contract = infer("flights", flights())
    found = broken(contract, flights().rename({"origin": "orgin"}))

    assert [("origin", "missing-column"), ("orgin", "extra-column")] == [(v.column, v.rule) for v in found]
    assert "did you mean 'orgin'?" in found[0].message


def test_columns_may_be_absent_by_permission() -> None:
    """The target may be absent when serving, unknown columns when the contract says so; typos may not."""
    contract = refine(infer("flights", flights()), {"month": {"required": False}}, extra_columns="allow")

    assert [] == broken(contract, flights().drop("delay", "month").with_columns(new=1), without=["delay"])
    with pytest.raises(Invalid) as caught:
        check(contract, flights(), without=["dealy"])
    assert "unknown-column" == caught.value.code


def test_too_few_rows() -> None:
    """The number of rows is a promise, too."""
    assert "min-rows" == one(infer("flights", flights()), flights().head(3)).rule


def test_keys_of_several_columns_are_unique() -> None:
    """A repeated key is named once per repetition; incomplete keys do not count."""
    frame = pl.DataFrame({"a": ["x", "x", "x", None, None], "b": [1, 2, 1, 3, 3], "c": [1.0, 2, 3, 4, 5]})
    contract = refine(infer("t", frame), {}, unique=[["a", "b"]])

    violation = one(contract, frame)

    assert ("unique", 1, [(3, "x | 1")]) == (violation.rule, violation.rows_affected, list(violation.examples))


def test_widths_and_units_of_types_do_not_matter() -> None:
    """Int32 keeps a promise of Int64, whole floats one of integers, categories one of text."""
    contract = infer("flights", flights())
    frame = flights().with_columns(
        pl.col("month").cast(pl.Float64), pl.col("flight").cast(pl.Int16), pl.col("origin").cast(pl.Categorical)
    )

    assert [] == broken(contract, frame)


def test_a_time_without_zone_breaks_a_promise_of_instants() -> None:
    """An instant and a time on some wall are different things."""
    zoned = pl.DataFrame({"t": [datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 2, tzinfo=UTC)]})

    assert "type" == one(infer("t", zoned), zoned.with_columns(pl.col("t").dt.replace_time_zone(None))).rule


def test_bad_rows_are_counted_once() -> None:
    """A row that breaks two rules is one bad row; a report survives its JSON form and reads as text."""
    contract = refine(infer("flights", flights()), {"origin": {"vocabulary": ["EWR", "JFK", "LGA"]}})
    report = check(contract, flights(origin=["XXX", *["JFK"] * 39], month=[99, 98, *[3] * 38]))
    adapter = TypeAdapter(ContractReport)

    assert (False, 2, 2) == (report.ok, len(report.violations), report.bad_rows)
    assert report == adapter.validate_json(adapter.dump_json(report))
    assert [
        "contract flights@1 is broken: 2 rules, 2 of 40 rows touched",
        "  origin: vocabulary: got XXX (expected EWR, JFK, LGA), 1 row",
        "    row 1: 'XXX'",
        "  month: maximum: got 99 (expected at most 5), 2 rows",
        "    row 1: '99', row 2: '98'",
    ] == describe(report)


def test_a_kept_contract_is_one_line() -> None:
    """Nothing to say is said in one line."""
    assert ["contract flights@1 holds: 40 rows"] == describe(check(infer("flights", flights()), flights()))


def test_an_empty_table_breaks_the_contract_instead_of_passing() -> None:
    """No rows are no proof of anything."""
    assert not check(infer("flights", flights()), flights().clear()).ok


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=40), st.integers(-10, 0), st.integers(0, 10))
def test_a_range_finds_exactly_the_rows_outside(values: list[int], low: int, high: int) -> None:
    """Rows affected are those outside the range, no more and no fewer."""
    rule = ColumnRule(name="x", kind="number", dtype="Int64", minimum=low, maximum=high)
    report = check(Contract(name="t", columns=(rule,)), pl.DataFrame({"x": values}))

    assert sum(1 for value in values if not low <= value <= high) == report.bad_rows
    assert report.ok == (report.bad_rows == 0)


def test_diff_names_columns_and_table_rules() -> None:
    """A reviewer sees new and lost columns and changed sizes."""
    old = infer("flights", flights())
    new = refine(infer("flights", flights().drop("delay").with_columns(gate=pl.lit("A1"))), {}, min_rows=9, note="n")

    assert [
        "- delay: number, Float64",
        "+ gate: constant, String",
        "~ min_rows: 4 → 9",
        "~ note: '' → 'n'",
    ] == diff(old, new)
    assert [] == diff(old, old)
