"""The language of search: what it says, and what it answers to those who say it wrongly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid
from stellwerk.core.search import Clause, Order, Subject, parse_filter, parse_order


def attribute(key: str) -> Subject:
    return Subject("attribute", key)


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("metrics.auc > 0.9", Clause(Subject("metric", "auc"), ">", 0.9)),
        ("metric.auc>=1e-3", Clause(Subject("metric", "auc"), ">=", 0.001)),
        ("metrics.a.b < -5", Clause(Subject("metric", "a.b"), "<", -5.0)),
        ("metrics.val/loss-1 = .5", Clause(Subject("metric", "val/loss-1"), "=", 0.5)),
        ("metrics.`val loss` != 2", Clause(Subject("metric", "val loss"), "!=", 2.0)),
        ('metrics."val loss" <= 2.', Clause(Subject("metric", "val loss"), "<=", 2.0)),
        ("params.depth = '6'", Clause(Subject("param", "depth"), "=", "6")),
        ('parameters.depth != "6"', Clause(Subject("param", "depth"), "!=", "6")),
        ("param.x LIKE 'a%'", Clause(Subject("param", "x"), "LIKE", "a%")),
        ("tags.`my team` ilike '%Risk_'", Clause(Subject("tag", "my team"), "ILIKE", "%Risk_")),
        ("tags.mlflow.user = 'it''s'", Clause(Subject("tag", "mlflow.user"), "=", "it's")),
        ("tag.x is null", Clause(Subject("tag", "x"), "IS NULL", None)),
        ("params.x IS NOT NULL", Clause(Subject("param", "x"), "IS NOT NULL", None)),
        ("status = 'FINISHED'", Clause(attribute("status"), "=", "finished")),
        ("attributes.status != 'KILLED'", Clause(attribute("status"), "!=", "interrupted")),
        ("attr.run_name = 'a AND b'", Clause(attribute("run_name"), "=", "a AND b")),
        ("run.`run name` = 'x'", Clause(attribute("run_name"), "=", "x")),
        ('"run name" = "x"', Clause(attribute("run_name"), "=", "x")),
        ("start_time >= 1700000000000", Clause(attribute("start_time"), ">=", 1.7e12)),
        ("created > 5", Clause(attribute("start_time"), ">", 5.0)),
        ("run_id IN ('a', 'b')", Clause(attribute("run_id"), "IN", ("a", "b"))),
        ("run_id not in ('a')", Clause(attribute("run_id"), "NOT IN", ("a",))),
        ("parent IS NULL", Clause(attribute("parent"), "IS NULL", None)),
        ("metrics.größe > 1", Clause(Subject("metric", "größe"), ">", 1.0)),
    ],
)
def test_a_condition(text: str, clause: Clause) -> None:
    """One condition means one thing, in every spelling that MLflow takes."""
    assert (clause,) == parse_filter(text)
    assert (clause, clause) == parse_filter(f"  {text}\n and {text} ")


def test_nothing_asks_for_everything() -> None:
    """An empty filter has no condition."""
    assert () == parse_filter("") == parse_filter(" \n ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("metrics.auc", "ends too early"),
        ("metrics.auc > ", "ends too early"),
        ("metrics.auc > '1'", "expected a number"),
        ("params.x = 6", "expected a text in quotes"),
        ("params.x > '6'", "cannot be asked with >"),
        ("metrics.x LIKE '6'", "cannot be asked with LIKE"),
        ("tags.x IN ('a')", "cannot be asked with IN"),
        ("metrics.a > 1 OR metrics.b > 1", "expected AND"),
        ("metrics.a > 1 metrics.b > 1", "expected AND"),
        ("metrics.a > 1 AND", "ends too early"),
        ("metrik.a > 1", "there is no 'metrik' to ask for"),
        ("colour = 'red'", "a run has no attribute 'colour'"),
        ("run_id IN ()", "expected texts in quotes"),
        ("run_id IN ('a'", "expected ')'"),
        ("run_id IN 'a'", "expected '('"),
        ("params.x IS 'a'", "after IS"),
        ("params.x NOT 'a'", "after NOT"),
        ("'metrics.a' > 1", "expected a name"),
        ("metrics.a ! 1", "cannot be read from '! 1' on"),
        ("params.x = 'open", "cannot be read"),
        ("metrics.a > 1; DROP TABLE runs", "cannot be read from '; DROP TABLE runs' on"),
        ("(metrics.a > 1)", "expected a name"),
        (f"params.x LIKE '{'[' * 5000}'", "has 5,002 characters"),
        ("a" * 20_001, "has 20,001 characters"),
        (" AND ".join(["metrics.a > 1"] * 101), "more than 100 conditions"),
    ],
)
def test_a_wrong_condition_says_what_was_expected(text: str, said: str) -> None:
    """Nothing is guessed and nothing is left out."""
    with pytest.raises(Invalid) as caught:
        parse_filter(text)

    assert "invalid-filter" == caught.value.code
    assert said in caught.value.message
    assert len(caught.value.message) < 300


def test_an_order() -> None:
    """Ascending unless it says otherwise."""
    found = parse_order(["metrics.auc DESC", "params.`a b` asc", "start_time", "attribute.run_name desc"])

    assert (
        Order(Subject("metric", "auc"), descending=True),
        Order(Subject("param", "a b"), descending=False),
        Order(attribute("start_time"), descending=False),
        Order(attribute("run_name"), descending=True),
    ) == found


@pytest.mark.parametrize("text", ["", "metrics.auc down", "auc", "metrics.auc DESC ASC", "metrics.a, metrics.b", "1"])
def test_a_wrong_order_is_named(text: str) -> None:
    """The error shows the criterion."""
    with pytest.raises(Invalid) as caught:
        parse_order([text])

    assert "invalid-order" == caught.value.code
    assert repr(text) in caught.value.message


def answer(read: Callable[[str], object], text: str) -> str:
    """`understood`, or the code of the refusal."""
    try:
        read(text)
    except Invalid as refused:
        return refused.code
    return "understood"


@given(st.text(max_size=60))
def test_whatever_is_typed_is_understood_or_refused(text: str) -> None:
    """No text ends in anything but clauses or `Invalid`."""
    assert answer(parse_filter, text) in ("understood", "invalid-filter")
    assert answer(lambda text: parse_order([text]), text) in ("understood", "invalid-order")


WORDS = ["metrics.a", ">", "1", "'x'", "AND", "IN", "(", ")", ",", "IS", "NOT", "NULL", "status"]


@given(st.lists(st.sampled_from(WORDS)))
def test_words_in_any_order_are_understood_or_refused(words: list[str]) -> None:
    """As above, with words that have a meaning; nothing is taken for two conditions that is not joined."""
    text = " ".join(words)

    assert answer(parse_filter, text) in ("understood", "invalid-filter")
    if answer(parse_filter, text) == "understood":
        assert len(parse_filter(text)) == (words.count("AND") + 1 if words else 0)
