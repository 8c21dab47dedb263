"""Experiments, runs and what hangs on them, as MLflow's messages spell them (service.proto, 3.17)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from stellwerk.tracking import rules
from stellwerk.tracking.logbook import Found
from stellwerk.tracking.model import LEFT, DatasetUse, Experiment, Latest, Point, Run, Status
from stellwerk.web.doors.mlflow import messages
from stellwerk.web.doors.mlflow.wire import number, pairs

STATUS: dict[Status, Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]] = {
    "waiting": "RUNNING",
    "paused": "RUNNING",
    "running": "RUNNING",
    "scheduled": "SCHEDULED",
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
MEANT: dict[str, Status] = {word: status for status, word in STATUS.items() if status not in LEFT}
STATUS_NAMES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
VIEW_NAMES = {1: "ACTIVE_ONLY", 2: "DELETED_ONLY", 3: "ALL"}
VIEWS: dict[str, bool | None] = {"ACTIVE_ONLY": False, "DELETED_ONLY": True, "ALL": None}


def millis(at: datetime) -> int:
    """Milliseconds since 1970."""
    return rules.milliseconds(at)


def experiment(one: Experiment) -> messages.Experiment:
    """`Experiment`."""
    return {
        "experiment_id": one.id,
        "name": one.name,
        "artifact_location": one.location or f"mlflow-artifacts:/{one.id}",
        "lifecycle_stage": one.stage,
        "creation_time": millis(one.created_at),
        "last_update_time": millis(one.changed_at),
        "tags": pairs(one.tags),
    }


def info(run: Run, *, deleted: bool) -> messages.RunInfo:
    """`RunInfo`."""
    shown: messages.RunInfo = {
        "run_id": run.id,
        "run_uuid": run.id,
        "run_name": run.name,
        "experiment_id": run.experiment,
        "user_id": run.user or run.started_by,
        "status": STATUS[run.status],
        "start_time": millis(run.started_at),
        "artifact_uri": rules.artifacts_of(run),
        "lifecycle_stage": "deleted" if deleted else "active",
    }
    if run.ended_at is not None:
        shown["end_time"] = millis(run.ended_at)
    return shown


def run(found: Found) -> messages.Run:
    """`Run`: what it is, what it logged, what it used and what it made."""
    one = found.run
    return {
        "info": info(one, deleted=found.deleted),
        "data": {
            "metrics": [latest(metric) for metric in found.metrics],
            "params": [{"key": key, "value": rules.spelled(value)} for key, value in one.params.items()],
            "tags": pairs(one.tags if "mlflow.runName" in one.tags else {**one.tags, "mlflow.runName": one.name}),
        },
        "inputs": {
            "dataset_inputs": [_dataset(dataset) for dataset in one.datasets],
            "model_inputs": [{"model_id": use.model} for use in one.models if use.role == "used"],
        },
        "outputs": {
            "model_outputs": [{"model_id": use.model, "step": use.step} for use in one.models if use.role == "made"]
        },
    }


def latest(metric: Latest) -> messages.Metric:
    """`Metric` of how a metric stands."""
    return {"key": metric.key, "value": number(metric.value), "timestamp": metric.at, "step": metric.step}


def points(found: Sequence[Point]) -> list[messages.Metric]:
    """`Metric` of each point."""
    return [{"key": key, "value": number(value), "timestamp": at, "step": step} for key, value, at, step in found]


def _dataset(one: DatasetUse) -> messages.DatasetInput:
    shown: messages.Dataset = {
        "name": one.name,
        "digest": one.digest,
        "source_type": one.source_type,
        "source": one.source,
    }
    if one.schema:
        shown["schema"] = one.schema
    if one.profile:
        shown["profile"] = one.profile
    return {"tags": pairs(one.tags), "dataset": shown}
