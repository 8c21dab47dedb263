"""The call about figures of many traces, which clients since 3.7 and pages with charts ask."""

from __future__ import annotations

from stellwerk.tracking.measures import Aggregation, How, Measure, Question, View, read_filter
from stellwerk.web.doors.mlflow import trace_messages, wire
from stellwerk.web.doors.mlflow.calls import Calls
from stellwerk.web.doors.mlflow.wire import INTEGER, NUMBER, SOME_TEXT, TEXT, TEXTS, Ask, Field
from stellwerk.workspace.rooms import Rooms

CALLS = Calls("/3.0/mlflow")
USUAL, MOST = 1000, 50_000
MOST_FILTERS = 100
VIEW_NAMES = {1: "TRACES", 2: "SPANS", 3: "ASSESSMENTS"}
_VIEWS: dict[str, View] = {"TRACES": "traces", "SPANS": "spans", "ASSESSMENTS": "assessments"}
AGGREGATION_NAMES = {1: "COUNT", 2: "SUM", 3: "AVG", 4: "PERCENTILE", 5: "MIN", 6: "MAX"}
_HOWS: dict[str, How] = {
    "COUNT": "count",
    "SUM": "sum",
    "AVG": "average",
    "PERCENTILE": "percentile",
    "MIN": "least",
    "MAX": "most",
}
_WORDS = {how: word for word, how in _HOWS.items()}


@CALLS.add(
    "POST", "traces/metrics", "runs:read",
    experiment_ids=Field(many=True, must=True), view_type=Field(names=VIEW_NAMES, must=True), metric_name=SOME_TEXT,
    aggregations=Field(
        kind="row", many=True, must=True,
        inner={"aggregation_type": Field(names=AGGREGATION_NAMES, must=True), "percentile_value": NUMBER},
    ),
    dimensions=TEXTS, filters=TEXTS, time_interval_seconds=INTEGER, start_time_ms=INTEGER, end_time_ms=INTEGER,
    max_results=INTEGER, page_token=TEXT,
)  # fmt: skip
def measure(rooms: Rooms, ask: Ask) -> trace_messages.DataPoints:
    """Figures of many traces, summed up by group."""
    limit, offset = ask.integer("max_results") or USUAL, wire.offset_of(ask.text("page_token"))
    if not 0 < limit <= MOST:
        raise wire.invalid("max_results", limit)
    if len(ask.texts("filters")) > MOST_FILTERS:
        raise wire.invalid("filters", ask.texts("filters"))
    view = _VIEWS[ask.text("view_type")]
    asked = Question(
        view=view,
        figure=ask.text("metric_name"),
        aggregations=tuple(_aggregation(one) for one in ask.rows("aggregations")),
        by=tuple(dict.fromkeys(ask.texts("dimensions"))),
        filters=tuple(read_filter(one, view) for one in ask.texts("filters")),
        every=ask.integer("time_interval_seconds"),
        start=ask.integer("start_time_ms") if "start_time_ms" in ask else None,
        end=ask.integer("end_time_ms") if "end_time_ms" in ask else None,
    )
    found = rooms.measuring.measure(ask.texts("experiment_ids"), asked)
    shown, token = wire.page(found[offset : offset + limit + 1], limit, offset)
    return {"data_points": [_point(asked, one) for one in shown], **token}


def _aggregation(one: Ask) -> Aggregation:
    value = one.number("percentile_value") if "percentile_value" in one else None
    return Aggregation(_HOWS[one.text("aggregation_type")], value)


def _point(asked: Question, one: Measure) -> trace_messages.DataPoint:
    named = zip(asked.aggregations, one.values, strict=True)
    values = {_name(by): wire.number(value) for by, value in named if value is not None}
    return {"metric_name": asked.figure, "dimensions": dict(one.labels), "values": values}


def _name(by: Aggregation) -> str:
    return _WORDS[by.how] if by.percentile is None else f"P{by.percentile}"
