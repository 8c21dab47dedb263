"""Figures of many traces: what can be asked, how it is summed up, and what is in no group."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid
from stellwerk.tracking import measures
from stellwerk.tracking.measures import (
    KNOWN,
    Aggregation,
    Filter,
    Measure,
    Question,
    Sample,
    View,
    read_filter,
    summed,
)

COUNT, MEDIAN = Aggregation("count"), Aggregation("percentile", 50.0)


def asked(view: View = "traces", figure: str = "latency", *aggregations: Aggregation, **more: Any) -> Question:
    return Question(view=view, figure=figure, aggregations=aggregations or (Aggregation("average"),), **more)


def samples(*values: float, at: float = 0.0, **labels: str | None) -> list[Sample]:
    return [Sample(value, at, labels) for value in values]


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=40))
def test_sums_are_those_of_the_figures(values: list[int]) -> None:
    """Least, most, sum, average and median of whatever was measured, in whatever order."""
    hows: Sequence[Aggregation] = [Aggregation(how) for how in ("least", "most", "sum", "average")]  # type: ignore[arg-type]
    (found,) = summed(asked("traces", "input_tokens", *hows, MEDIAN), samples(*values))

    wanted = [min(values), max(values), sum(values), sum(values) / len(values), statistics.median(values)]
    assert wanted == pytest.approx(list(found.values))


@pytest.mark.parametrize(("wanted", "value"), [(0, 1.0), (25, 1.75), (50, 2.5), (90, 3.7), (100, 4.0)])
def test_percentiles_lie_between_two_figures_in_proportion(wanted: float, value: float) -> None:
    """As numpy's default method and PostgreSQL's `percentile_cont` compute them."""
    assert value == pytest.approx(measures.percentile([4, 1, 3, 2], wanted))


def test_groups_are_stretches_of_time_and_labels_in_their_order() -> None:
    """A stretch begins at a multiple of its length; what lacks a label that is asked for is in no group."""
    question = asked("traces", "trace_count", COUNT, by=("trace_name",), every=60, start=0, end=200_000)
    given = [
        Sample("a", 59_999.9, {"trace_name": "y"}),
        Sample("b", 0, {"trace_name": "x"}),
        Sample("c", 60_000, {"trace_name": "x"}),
        Sample("d", -1, {"trace_name": "x"}),
        Sample("e", 0, {"trace_name": None}),
    ]

    found = [
        (one.labels["time_bucket"][11:16], one.labels["trace_name"], *one.values) for one in summed(question, given)
    ]
    assert [("23:59", "x", 1.0), ("00:00", "x", 1.0), ("00:00", "y", 1.0), ("00:01", "x", 1.0)] == found


def test_nothing_is_counted_as_nought_and_measured_as_nothing() -> None:
    """Where there are no groups; a group without figures does not exist."""
    assert [Measure({}, [0.0])] == summed(asked("traces", "trace_count", COUNT), [])
    assert [] == summed(asked(), [])
    assert [] == summed(asked("traces", "trace_count", COUNT, by=("trace_name",)), [])


def test_a_session_is_counted_once() -> None:
    """However many traces it had, in each stretch of time."""
    sessions = [Sample("s", 0, {}), Sample("s", 1, {}), Sample("t", 2, {})]

    assert [Measure({}, [2.0])] == summed(asked("traces", "session_count", COUNT), sessions)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (asked(figure="nothing"), "metric_name"),
        (asked("spans", "trace_count", COUNT), "metric_name"),
        (asked("traces", "trace_count", MEDIAN), "aggregation"),
        (asked(by=("trace_status",)), "dimension"),
        (asked("traces", "latency", Aggregation("percentile")), "percentile_value"),
        (asked("traces", "latency", Aggregation("percentile", 100.1)), "between 0 and 100"),
        (asked("traces", "latency", Aggregation("percentile", float("nan"))), "between 0 and 100"),
        (asked("traces", "latency", Aggregation("average", 50.0)), "percentile_value"),
        (asked(every=60), "start_time_ms and end_time_ms"),
        (asked(every=-1, start=0, end=1), "positive"),
    ],
)
def test_what_cannot_be_answered_is_named(wrong: Question, words: str) -> None:
    """With what could be."""
    with pytest.raises(Invalid, match=words):
        measures.check(wrong)


def test_everything_that_is_offered_can_be_asked() -> None:
    """Each figure with each way to sum it up and each label."""
    for view, figures in KNOWN.items():
        for figure, (hows, labels) in figures.items():
            ways = tuple(Aggregation(how, 50.0 if how == "percentile" else None) for how in hows)
            measures.check(asked(view, figure, *ways, by=labels))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("trace.status = 'OK'", Filter("trace", "status", "", "OK")),
        ('trace.tag.team="risk"', Filter("trace", "tag", "team", "risk")),
        (
            "trace.metadata.`mlflow.trace.session` = 'it''s'",
            Filter("trace", "metadata", "mlflow.trace.session", "it's"),
        ),
        ("trace.metadata.mlflow.sourceRun = 'r'", Filter("trace", "metadata", "mlflow.sourceRun", "r")),
        ("span.name = 'a = b'", Filter("span", "name", "", "a = b")),
    ],
)
def test_filters_are_read(text: str, found: Filter) -> None:
    """One clause, keys with dots bare or in backticks, a text in either quotes."""
    assert found == read_filter(text, "spans")


@pytest.mark.parametrize(
    "text",
    [
        "", "trace.status", "trace.status != 'OK'", "trace.status = OK", "trace.tag = 'x'", "trace.status.x = 'y'",
        "trace.nothing = 'x'", "run.status = 'x'", "trace.status = 'OK' AND trace.status = 'OK'", "span.name = 'x'",
        "trace.status = 'a' OR 'b'", "assessment.name = 'x'",
    ],
)  # fmt: skip
def test_what_is_no_filter_is_refused(text: str) -> None:
    """Also what is about something else than the question."""
    with pytest.raises(Invalid) as caught:
        read_filter(text, "traces")

    assert "invalid-filter" == caught.value.code


@pytest.mark.parametrize(
    ("text", "number"), [('{"input_tokens": 3}', 3), ('{"input_tokens": 3.0}', 3), ('{"input_tokens": 3.5}', None),
    ('{"input_tokens": true}', None), ('{"input_tokens": "3"}', None), ("[1]", None), ("{", None), (None, None),
    ('{"input_tokens": 1e400}', None), ('{"input_tokens": NaN}', None),
    ('{"input_tokens": 1e308}', None), ('{"input_tokens": 1' + "0" * 400 + "}", None)],
)  # fmt: skip
def test_tokens_are_whole_numbers_or_none(text: str | None, number: int | None) -> None:
    """Metadata are texts that anybody may write."""
    assert number == measures.tokens(text, "input_tokens")


@pytest.mark.parametrize(
    ("text", "figure"), [("true", 1.0), ("false", 0.0), ('" Yes "', 1.0), ('"no"', 0.0), ('"perhaps"', None),
    ("2.5", 2.5), ("1" + "0" * 400, None), ("null", None), ("[1]", None)],
)  # fmt: skip
def test_an_assessment_is_a_figure_where_it_is_a_number_or_yes_or_no(text: str, figure: float | None) -> None:
    """As MLflow's server sums them up."""
    assert figure == measures.judged(text)
