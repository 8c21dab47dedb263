"""Calls about runs: what they are, log, use and make."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from stellwerk.core.errors import Invalid
from stellwerk.tracking import rules
from stellwerk.tracking.experiments import DEFAULT
from stellwerk.tracking.model import DatasetUse, ModelUse, Point, Score
from stellwerk.web.doors.mlflow import messages, shapes, wire
from stellwerk.web.doors.mlflow.calls import Calls
from stellwerk.web.doors.mlflow.wire import (
    INTEGER,
    PAIRS,
    SOME_INTEGER,
    SOME_NUMBER,
    SOME_TEXT,
    TEXT,
    TEXTS,
    Ask,
    Field,
    row,
    rows,
)
from stellwerk.workspace.rooms import Rooms

CALLS = Calls("/2.0/mlflow")
MOST_RUNS = 50_000
USUAL_RUNS = 1000
MOST_POINTS = 25_000
"""In one page of a history, as clients ask for them."""
MAX_BATCH = 1_000_000
"""Bytes of one batch, as MLflow's server takes them."""

HISTORY_TAG = "mlflow.log-model.history"
_OF_MODEL = {"artifact_path", "flavors", "utc_time_created", "run_id"}

METRIC: Mapping[str, Field] = {
    "key": SOME_TEXT,
    "value": SOME_NUMBER,
    "timestamp": SOME_INTEGER,
    "step": INTEGER,
    "model_id": TEXT,
    "dataset_name": TEXT,
    "dataset_digest": TEXT,
}
# Clients before 1.0 call it run_uuid.
RUN: Mapping[str, Field] = {"run_id": TEXT, "run_uuid": TEXT}


@CALLS.add(
    "POST", "runs/create", "runs:write",
    experiment_id=TEXT, user_id=TEXT, run_name=TEXT, start_time=INTEGER, tags=PAIRS,
)  # fmt: skip
def create(rooms: Rooms, ask: Ask) -> messages.OneRun:
    """Begin a run."""
    made = rooms.logbook.create(
        ask.text("experiment_id") or DEFAULT,
        name=ask.text("run_name"),
        user=ask.text("user_id"),
        start=ask.integer("start_time") if "start_time" in ask else None,
        tags=ask.pairs("tags"),
    )
    return {"run": shapes.run(made)}


@CALLS.add("GET", "runs/get", "runs:read", **RUN)
def get(rooms: Rooms, ask: Ask) -> messages.OneRun:
    """One run with all that it logged but the histories of its metrics."""
    return {"run": shapes.run(rooms.logbook.get(_run(ask)))}


@CALLS.add(
    "POST", "runs/update", "runs:write",
    **RUN, status=Field(names=shapes.STATUS_NAMES), end_time=INTEGER, run_name=TEXT,
)  # fmt: skip
def update(rooms: Rooms, ask: Ask) -> messages.ChangedRun:
    """Change name, status or end of a run."""
    changed = rooms.logbook.update(
        _run(ask),
        status=shapes.MEANT[ask.text("status")] if "status" in ask else None,
        end=ask.integer("end_time") if "end_time" in ask else None,
        name=ask.maybe("run_name"),
    )
    return {"run_info": shapes.info(changed.run, deleted=changed.deleted)}


@CALLS.add("POST", "runs/delete", "runs:write", **RUN)
def delete(rooms: Rooms, ask: Ask) -> None:
    """Put a run into the bin."""
    rooms.logbook.delete(_run(ask))


@CALLS.add("POST", "runs/restore", "runs:write", **RUN)
def restore(rooms: Rooms, ask: Ask) -> None:
    """Take a run out of the bin."""
    rooms.logbook.restore(_run(ask))


@CALLS.add(
    "POST", "runs/search", "runs:read",
    experiment_ids=TEXTS, filter=TEXT, run_view_type=Field(names=shapes.VIEW_NAMES),
    max_results=Field(kind="integer", most=MOST_RUNS), order_by=TEXTS, page_token=TEXT,
)  # fmt: skip
def search(rooms: Rooms, ask: Ask) -> messages.Runs:
    """Runs of some experiments that meet a filter."""
    limit, offset = ask.integer("max_results", USUAL_RUNS), wire.offset_of(ask.text("page_token"))
    if limit < 0:
        raise wire.invalid("max_results", limit)
    found = rooms.logbook.search(
        ask.texts("experiment_ids"),
        where=ask.text("filter"),
        order=ask.texts("order_by"),
        deleted=shapes.VIEWS[ask.text("run_view_type") or "ACTIVE_ONLY"],
        limit=limit + 1 if limit else 0,
        offset=offset,
    )
    shown, token = wire.page(found, limit, offset)
    return {"runs": [shapes.run(one) for one in shown], **token}


@CALLS.add("POST", "runs/log-metric", "runs:write", **{**METRIC, **RUN})
def log_metric(rooms: Rooms, ask: Ask) -> None:
    """One point of a metric."""
    point = _point(ask)
    run = _run(ask)
    rules.check_points([point], path="")
    rooms.logbook.log(run, points=[point], scores=_scores(run, [ask]))


@CALLS.add("POST", "runs/log-parameter", "runs:write", **RUN, key=SOME_TEXT, value=TEXT)
def log_parameter(rooms: Rooms, ask: Ask) -> None:
    """One parameter."""
    params = [(ask.text("key"), ask.text("value"))]
    run = _run(ask)
    rules.check_params(params, path="")
    rooms.logbook.log(run, params=params)


@CALLS.add("POST", "runs/set-tag", "runs:write", **RUN, key=SOME_TEXT, value=TEXT)
def set_tag(rooms: Rooms, ask: Ask) -> None:
    """One tag."""
    tags = [(ask.text("key"), ask.text("value"))]
    run = _run(ask)
    rules.check_tags(tags, path="")
    rooms.logbook.log(run, tags=tags)


@CALLS.add("POST", "runs/delete-tag", "runs:write", **RUN, key=SOME_TEXT)
def delete_tag(rooms: Rooms, ask: Ask) -> None:
    """Take a tag away."""
    rooms.logbook.untag(_run(ask), ask.text("key"))


@CALLS.add("POST", "runs/log-batch", "runs:write", MAX_BATCH, **RUN, metrics=rows(**METRIC), params=PAIRS, tags=PAIRS)
def log_batch(rooms: Rooms, ask: Ask) -> None:
    """Many points, parameters and tags, all or none."""
    points, params, tags = [_point(one) for one in ask.rows("metrics")], ask.pairs("params"), ask.pairs("tags")
    run = _run(ask)
    rules.check_batch(len(points), len(params), len(tags))
    rules.check_points(points)
    rules.check_params(params)
    rules.check_tags(tags)
    rooms.logbook.log(run, points=points, params=params, tags=tags, scores=_scores(run, ask.rows("metrics")))


@CALLS.add("POST", "runs/log-model", "runs:write", **RUN, model_json=SOME_TEXT)
def log_model(rooms: Rooms, ask: Ask) -> None:
    """Note in a tag which model a run logged, as clients before 3 do."""
    run, text = _run(ask), ask.text("model_json")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise Invalid(f"Malformed model info. {text[:200]!r} is not a valid JSON.", code="invalid-json") from cause
    absent = _OF_MODEL - set(said) if isinstance(said, dict) else _OF_MODEL
    if absent:
        raise Invalid(f"Model json is missing mandatory fields: {sorted(absent)}", code="invalid-arguments")
    rooms.logbook.note(run, HISTORY_TAG, said)


_DATASET = row(
    name=SOME_TEXT, digest=SOME_TEXT, source_type=SOME_TEXT, source=SOME_TEXT, schema=TEXT, profile=TEXT
)  # fmt: skip


@CALLS.add(
    "POST", "runs/log-inputs", "runs:write",
    **RUN, datasets=rows(tags=PAIRS, dataset=_DATASET), models=rows(model_id=SOME_TEXT),
)  # fmt: skip
def log_inputs(rooms: Rooms, ask: Ask) -> None:
    """Data and models that a run used."""
    datasets = []
    for one in ask.rows("datasets"):
        said = one.row("dataset")
        fields = {name: said.text(name) for name in ("name", "digest", "source_type", "source", "schema", "profile")}
        datasets.append(DatasetUse(**fields, tags=dict(one.pairs("tags"))))
    models = [ModelUse(model=one.text("model_id"), role="used") for one in ask.rows("models")]
    rooms.logbook.use(_run(ask), datasets=datasets, models=models)


@CALLS.add(
    "POST", "runs/outputs", "runs:write",
    **RUN, models=Field(kind="row", many=True, must=True, inner={"model_id": SOME_TEXT, "step": INTEGER}),
)  # fmt: skip
def log_outputs(rooms: Rooms, ask: Ask) -> None:
    """Models that a run made."""
    made = [ModelUse(model=one.text("model_id"), role="made", step=one.integer("step")) for one in ask.rows("models")]
    rooms.logbook.use(_run(ask), models=made)


@CALLS.add(
    "GET", "metrics/get-history", "runs:read",
    **RUN, metric_key=SOME_TEXT, page_token=TEXT, max_results=INTEGER,
)  # fmt: skip
def get_history(rooms: Rooms, ask: Ask) -> messages.Metrics:
    """The points of a metric, a page at a time where one asks for pages."""
    run, key, offset = _run(ask), ask.text("metric_key"), wire.offset_of(ask.text("page_token"))
    limit = ask.integer("max_results")
    if limit < 0:
        raise wire.invalid("max_results", limit)
    if not limit:  # clients that know no pages read one answer
        return {"metrics": shapes.points(rooms.logbook.history(run, key, offset=offset))}
    limit = min(limit, MOST_POINTS)
    shown, token = wire.page(rooms.logbook.history(run, key, limit=limit + 1, offset=offset), limit, offset)
    return {"metrics": shapes.points(shown), **token}


def _run(ask: Ask) -> str:
    found = ask.text("run_id") or ask.text("run_uuid")
    if not found:
        raise wire.missing("run_id")
    return found


def _scores(run: str, metrics: Sequence[Ask]) -> list[Score]:
    """Of those metrics that are of a logged model."""
    return [
        Score(one.text("model_id"), run, *_point(one), one.text("dataset_name"), one.text("dataset_digest"))
        for one in metrics
        if one.text("model_id")
    ]


def _point(ask: Ask) -> Point:
    return Point(ask.text("key"), ask.number("value"), ask.integer("timestamp"), ask.integer("step"))
