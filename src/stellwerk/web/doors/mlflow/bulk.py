"""Calls of pages that draw many runs at once."""

from __future__ import annotations

from collections.abc import Iterable

from stellwerk.core.errors import Invalid
from stellwerk.tracking.charting import UsedData
from stellwerk.tracking.model import Point
from stellwerk.web.doors.mlflow import messages
from stellwerk.web.doors.mlflow.calls import Calls
from stellwerk.web.doors.mlflow.wire import INTEGER, SOME_TEXT, TEXT, TEXTS, Ask, Field, number
from stellwerk.workspace.rooms import Rooms

CALLS = Calls("/2.0/mlflow")
MOST_RUNS, MOST_EXPERIMENTS = 100, 20
MOST_POINTS = 25_000
MOST_STEPS = 2500


@CALLS.add("GET", "metrics/get-history-bulk", "runs:read", run_id=TEXTS, metric_key=TEXT, max_results=INTEGER)
def histories(rooms: Rooms, ask: Ask) -> messages.Metrics:
    """The points of a metric of several runs."""
    runs, limit = ask.texts("run_id"), ask.integer("max_results", MOST_POINTS)
    if not runs:
        raise _invalid("GetMetricHistoryBulk request must specify at least one run_id.")
    if len(runs) > MOST_RUNS:
        raise _invalid(
            f"GetMetricHistoryBulk request cannot specify more than {MOST_RUNS} run_ids. Received {len(runs)} run_ids."
        )
    if "metric_key" not in ask:
        raise _invalid("GetMetricHistoryBulk request must specify a metric_key.")
    if limit < 1:
        raise _invalid("max_results must be positive.")
    return {"metrics": _shown(rooms.charting.histories(runs, ask.text("metric_key"), limit=min(limit, MOST_POINTS)))}


@CALLS.add(
    "GET", "metrics/get-history-bulk-interval", "runs:read",
    run_ids=Field(many=True, must=True), metric_key=SOME_TEXT,
    start_step=INTEGER, end_step=INTEGER, max_results=INTEGER,
)  # fmt: skip
def sampled(rooms: Rooms, ask: Ask) -> messages.Metrics:
    """Points of a metric at so many steps, of several runs."""
    runs, limit = ask.texts("run_ids"), ask.integer("max_results", MOST_STEPS)
    start, end = ask.integer("start_step"), ask.integer("end_step")
    if len(runs) > MOST_RUNS:
        raise _invalid(
            f"GetMetricHistoryBulkInterval request must specify at most {MOST_RUNS} run_ids. "
            f"Received {len(runs)} run_ids."
        )
    if not 1 <= limit <= MOST_STEPS:
        raise _invalid(f"max_results must be between 1 and {MOST_STEPS}.")
    if ("start_step" in ask) != ("end_step" in ask):
        raise _invalid("If either start step or end step are specified, both must be specified.")
    if start > end:
        raise _invalid(f"end_step must be greater than start_step. Found start_step={start} and end_step={end}.")
    between = (start, end) if "start_step" in ask else None
    return {"metrics": _shown(rooms.charting.sampled(runs, ask.text("metric_key"), limit=limit, between=between))}


@CALLS.add("POST", "experiments/search-datasets", "runs:read", experiment_ids=TEXTS)
def used_data(rooms: Rooms, ask: Ask) -> messages.DatasetSummaries:
    """The data that runs of some experiments used."""
    experiments = ask.texts("experiment_ids")
    if not experiments:
        raise _invalid("SearchDatasets request must specify at least one experiment_id.")
    if len(experiments) > MOST_EXPERIMENTS:
        raise _invalid(
            f"SearchDatasets request cannot specify more than {MOST_EXPERIMENTS} experiment_ids. "
            f"Received {len(experiments)} experiment_ids."
        )
    return {"dataset_summaries": [_summary(one) for one in rooms.charting.used(experiments)]}


def _summary(one: UsedData) -> messages.DatasetSummary:
    shown: messages.DatasetSummary = {"experiment_id": one.experiment, "name": one.name, "digest": one.digest}
    if one.context is not None:
        shown["context"] = one.context
    return shown


def _shown(found: Iterable[tuple[str, Point]]) -> list[messages.Metric]:
    return [
        {"key": key, "value": number(value), "timestamp": at, "step": step, "run_id": run}
        for run, (key, value, at, step) in found
    ]


def _invalid(message: str) -> Invalid:
    return Invalid(message, code="invalid-arguments")
