"""Logged models as MLflow's client knows them (mlflow/store/tracking/rest_store.py, 3.17)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from stellwerk.core.errors import Invalid
from stellwerk.tracking.logged import Criterion, LoggedModel, OnData, Status
from stellwerk.tracking.model import Score
from stellwerk.web.doors.mlflow import messages, shapes, wire
from stellwerk.web.doors.mlflow.artifacts import level, read_listed
from stellwerk.web.doors.mlflow.calls import Calls
from stellwerk.web.doors.mlflow.wire import FLAG, INTEGER, PAIRS, SOME_TEXT, TEXT, Ask, Field, rows
from stellwerk.workspace.rooms import Rooms

Said = Literal["LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"]
STATUS: dict[Status, Said] = {
    "pending": "LOGGED_MODEL_PENDING",
    "ready": "LOGGED_MODEL_READY",
    "failed": "LOGGED_MODEL_UPLOAD_FAILED",
}
_MEANT: dict[str, Status] = {name: status for status, name in STATUS.items()}
_NAMES = {0: "LOGGED_MODEL_STATUS_UNSPECIFIED", **dict(enumerate(STATUS.values(), 1))}
DEFAULT, MOST = 100, 50_000
"""Models in one answer."""

CALLS = Calls("/2.0/mlflow")


@CALLS.add(
    "POST",
    "logged-models",
    "runs:write",
    experiment_id=SOME_TEXT,
    name=TEXT,
    model_type=TEXT,
    source_run_id=TEXT,
    params=PAIRS,
    tags=PAIRS,
)
def create(rooms: Rooms, ask: Ask) -> messages.OneLoggedModel:
    """A new model."""
    model = rooms.logged_models.create(
        experiment=ask.text("experiment_id"),
        name=ask.text("name"),
        model_type=ask.text("model_type"),
        source_run=ask.text("source_run_id"),
        params=ask.pairs("params"),
        tags=ask.pairs("tags"),
    )
    return _answer(rooms, model)


@CALLS.add(
    "POST",
    "logged-models/search",
    "runs:read",
    experiment_ids=Field(many=True, must=True),
    filter=TEXT,
    datasets=rows(dataset_name=TEXT, dataset_digest=TEXT),
    max_results=INTEGER,
    order_by=rows(field_name=SOME_TEXT, ascending=FLAG, dataset_name=TEXT, dataset_digest=TEXT),
    page_token=TEXT,
)
def search(rooms: Rooms, ask: Ask) -> messages.LoggedModels:
    """Models of some experiments, newest first where nothing else is asked for."""
    if not ask.texts("experiment_ids"):
        raise wire.missing("experiment_ids")
    limit, offset = ask.integer("max_results") or DEFAULT, wire.offset_of(ask.text("page_token"))
    if not 0 < limit <= MOST:
        raise Invalid(
            f"Invalid value {limit} for parameter 'max_results' supplied: It must be at most {MOST:,} and positive",
            code="invalid-arguments",
        )
    found = rooms.logged_models.search(
        among=ask.texts("experiment_ids"),
        where=ask.text("filter"),
        order=[_criterion(one) for one in ask.rows("order_by")],
        on=[_data(one) for one in ask.rows("datasets")],
        limit=limit + 1,
        offset=offset,
    )
    some, more = wire.page(found, limit, offset)
    return {"models": [_shown(model, rooms.logged_models.metrics_of(model.id)) for model in some], **more}


@CALLS.add("GET", "logged-models/{model_id}", "runs:read", allow_deleted=FLAG)
def get(rooms: Rooms, ask: Ask) -> messages.OneLoggedModel:
    """One model."""
    return _answer(rooms, rooms.logged_models.get(ask.path["model_id"], deleted=ask.flag("allow_deleted")))


@CALLS.add("PATCH", "logged-models/{model_id}", "runs:write", status=Field(must=True, names=_NAMES))
def finish(rooms: Rooms, ask: Ask) -> messages.OneLoggedModel:
    """Whether its files have arrived."""
    status = _MEANT.get(ask.text("status"))
    if status is None:
        raise wire.invalid("status", ask.text("status"))
    return _answer(rooms, rooms.logged_models.finish(ask.path["model_id"], status))


@CALLS.add("DELETE", "logged-models/{model_id}", "runs:write")
def delete(rooms: Rooms, ask: Ask) -> None:
    """Hide a model."""
    rooms.logged_models.delete(ask.path["model_id"])


@CALLS.add("PATCH", "logged-models/{model_id}/tags", "runs:write", tags=PAIRS)
def tag(rooms: Rooms, ask: Ask) -> messages.OneLoggedModel:
    """Set tags."""
    return _answer(rooms, rooms.logged_models.tag(ask.path["model_id"], ask.pairs("tags")))


@CALLS.add("DELETE", "logged-models/{model_id}/tags/{tag_key:path}", "runs:write")
def untag(rooms: Rooms, ask: Ask) -> None:
    """Take a tag away."""
    rooms.logged_models.untag(ask.path["model_id"], ask.path["tag_key"])


@CALLS.add("POST", "logged-models/{model_id}/params", "runs:write", params=PAIRS)
def describe(rooms: Rooms, ask: Ask) -> None:
    """Add parameters."""
    rooms.logged_models.describe(ask.path["model_id"], ask.pairs("params"))


@CALLS.add(
    "GET",
    "logged-models/{model_id}/artifacts/directories",
    "runs:read",
    artifact_directory_path=TEXT,
    page_token=TEXT,
)
def list_files(rooms: Rooms, ask: Ask) -> messages.RootedFiles:
    """One level of the files of a model."""
    inner = read_listed(ask.text("artifact_directory_path"))
    return level(rooms, rooms.logged_models.get(ask.path["model_id"]).home, inner, ask.text("page_token"))


def _criterion(one: Ask) -> Criterion:
    ascending = "ascending" not in one or one.flag("ascending")
    on = OnData(one.text("dataset_name"), one.text("dataset_digest"))
    return Criterion(one.text("field_name"), not ascending, on)


def _data(one: Ask) -> OnData:
    if not one.text("dataset_name"):
        raise Invalid("`dataset_name` in the `datasets` clause must be specified.", code="invalid-arguments")
    return OnData(one.text("dataset_name"), one.text("dataset_digest"))


def _answer(rooms: Rooms, model: LoggedModel) -> messages.OneLoggedModel:
    return {"model": _shown(model, rooms.logged_models.metrics_of(model.id))}


def _shown(model: LoggedModel, metrics: Sequence[Score]) -> messages.LoggedModel:
    info: messages.LoggedModelInfo = {
        "model_id": model.id,
        "experiment_id": model.experiment,
        "name": model.name,
        "creation_timestamp_ms": shapes.millis(model.created_at),
        "last_updated_timestamp_ms": shapes.millis(model.changed_at),
        "artifact_uri": model.home,
        "status": STATUS[model.status],
        "model_type": model.model_type,
        "source_run_id": model.source_run,
        "tags": wire.pairs(model.tags),
    }
    shown = [_metric(model, metric) for metric in metrics]
    return {"info": info, "data": {"params": wire.pairs(model.params), "metrics": shown}}


def _metric(model: LoggedModel, metric: Score) -> messages.Metric:
    shown: messages.Metric = {
        "key": metric.key,
        "value": wire.number(metric.value),
        "timestamp": metric.at,
        "step": metric.step,
        "model_id": model.id,
        "run_id": metric.run,
    }
    if metric.dataset:
        shown["dataset_name"], shown["dataset_digest"] = metric.dataset, metric.dataset_digest
    return shown
