"""Calls about evaluation datasets. Their tags, schemas, profiles and records are JSON within texts (datasets.proto)."""

from __future__ import annotations

import json
from typing import Any

from stellwerk.core.errors import Invalid
from stellwerk.tracking.evaluations import EvaluationDataset, EvaluationRecord
from stellwerk.web.doors.mlflow import trace_messages, wire
from stellwerk.web.doors.mlflow.calls import Calls
from stellwerk.web.doors.mlflow.shapes import millis
from stellwerk.web.doors.mlflow.wire import INTEGER, SOME_TEXT, TEXT, TEXTS, Ask
from stellwerk.workspace.rooms import Rooms

CALLS = Calls("/3.0/mlflow")
MOST, USUAL = 50_000, 1000
MOST_RECORDS = 10_000
"""In one page; whoever asks for more gets a token for the rest."""


@CALLS.add("POST", "datasets/create", "runs:write", name=SOME_TEXT, experiment_ids=TEXTS, tags=TEXT)
def create(rooms: Rooms, ask: Ask) -> trace_messages.OneDataset:
    """Make a dataset."""
    made = rooms.evaluations.create(ask.text("name"), tags=_tags(ask), of=ask.texts("experiment_ids"))
    return {"dataset": dataset(made)}


def search(rooms: Rooms, ask: Ask) -> trace_messages.Datasets:
    """Datasets that meet a filter."""
    limit, offset = ask.integer("max_results") or USUAL, wire.offset_of(ask.text("page_token"))
    if not 0 < limit <= MOST:
        raise Invalid(
            f"Invalid value {limit} for parameter 'max_results' supplied. It must be at most {MOST} and positive",
            code="invalid-number",
        )
    found = rooms.evaluations.search(
        ask.texts("experiment_ids"),
        where=ask.text("filter_string"),
        order=ask.texts("order_by"),
        limit=limit + 1,
        offset=offset,
    )
    shown, token = wire.page(found, limit, offset)
    return {"datasets": [dataset(one) for one in shown], **token}


for _method in ("POST", "GET"):  # before the call about one dataset, which would take the word for an id
    CALLS.add(
        _method,
        "datasets/search",
        "runs:read",
        experiment_ids=TEXTS,
        filter_string=TEXT,
        max_results=INTEGER,
        order_by=TEXTS,
        page_token=TEXT,
    )(search)


@CALLS.add("GET", "datasets/{dataset_id}", "runs:read")
def get(rooms: Rooms, ask: Ask) -> trace_messages.OneDataset:
    """One dataset without its records."""
    return {"dataset": dataset(rooms.evaluations.get(ask.path["dataset_id"]))}


@CALLS.add("DELETE", "datasets/{dataset_id}", "runs:write")
def delete(rooms: Rooms, ask: Ask) -> None:
    """Take a dataset away with its records."""
    rooms.evaluations.delete(ask.path["dataset_id"])


@CALLS.add("PATCH", "datasets/{dataset_id}/tags", "runs:write", tags=SOME_TEXT)
def set_tags(rooms: Rooms, ask: Ask) -> trace_messages.OneDataset:
    """Set tags of a dataset."""
    return {"dataset": dataset(rooms.evaluations.tag(ask.path["dataset_id"], _tags(ask)))}


@CALLS.add("DELETE", "datasets/{dataset_id}/tags/{key:path}", "runs:write")
def delete_tag(rooms: Rooms, ask: Ask) -> None:
    """Take a tag of a dataset away."""
    rooms.evaluations.untag(ask.path["dataset_id"], ask.path["key"])


@CALLS.add("GET", "datasets/{dataset_id}/experiment-ids", "runs:read")
def experiment_ids(rooms: Rooms, ask: Ask) -> trace_messages.DatasetExperiments:
    """The experiments of a dataset."""
    return {"experiment_ids": list(rooms.evaluations.get(ask.path["dataset_id"]).experiments)}


@CALLS.add("POST", "datasets/{dataset_id}/add-experiments", "runs:write", experiment_ids=TEXTS)
def add_experiments(rooms: Rooms, ask: Ask) -> trace_messages.OneDataset:
    """Add a dataset to experiments."""
    return {"dataset": dataset(rooms.evaluations.join(ask.path["dataset_id"], ask.texts("experiment_ids")))}


@CALLS.add("POST", "datasets/{dataset_id}/remove-experiments", "runs:write", experiment_ids=TEXTS)
def remove_experiments(rooms: Rooms, ask: Ask) -> trace_messages.OneDataset:
    """Take a dataset out of experiments."""
    return {"dataset": dataset(rooms.evaluations.leave(ask.path["dataset_id"], ask.texts("experiment_ids")))}


@CALLS.add("GET", "datasets/{dataset_id}/records", "runs:read", max_results=INTEGER, page_token=TEXT)
def records(rooms: Rooms, ask: Ask) -> trace_messages.Records:
    """A page of the records of a dataset."""
    limit, offset = ask.integer("max_results") or USUAL, wire.offset_of(ask.text("page_token"))
    if limit < 0:
        raise wire.invalid("max_results", limit)
    limit = min(limit, MOST_RECORDS)
    found = rooms.evaluations.records(ask.path["dataset_id"], limit=limit + 1, offset=offset)
    shown, token = wire.page(found, limit, offset)
    return {"records": json.dumps([record(one) for one in shown]), **token}


@CALLS.add("POST", "datasets/{dataset_id}/records", "runs:write", records=SOME_TEXT)
def merge_records(rooms: Rooms, ask: Ask) -> trace_messages.MergedRecords:
    """Add records, or add to those that have the same inputs."""
    merged = rooms.evaluations.merge(ask.path["dataset_id"], _json(ask, "records", list))
    return {"inserted_count": merged.inserted, "updated_count": merged.updated}


@CALLS.add("DELETE", "datasets/{dataset_id}/records", "runs:write", dataset_record_ids=TEXTS)
def delete_records(rooms: Rooms, ask: Ask) -> trace_messages.DeletedRecords:
    """Take records away."""
    return {"deleted_count": rooms.evaluations.prune(ask.path["dataset_id"], ask.texts("dataset_record_ids"))}


def dataset(one: EvaluationDataset) -> trace_messages.EvaluationDataset:
    """`Dataset`."""
    shown: trace_messages.EvaluationDataset = {
        "dataset_id": one.id,
        "name": one.name,
        "tags": json.dumps(one.tags),
        "digest": one.digest,
        "created_time": millis(one.created_at),
        "last_update_time": millis(one.changed_at),
        "created_by": one.created_by,
        "last_updated_by": one.changed_by,
        "experiment_ids": list(one.experiments),
    }
    if one.fields:
        shown["schema"] = json.dumps({**one.fields, "version": "1.0"})
    if one.count:
        shown["profile"] = json.dumps({"num_records": one.count})
    return shown


def record(one: EvaluationRecord) -> dict[str, Any]:
    """`DatasetRecord`, whose parts are JSON and no texts here, because all records are one text."""
    shown = {
        "dataset_record_id": one.id,
        "dataset_id": one.dataset,
        "inputs": json.loads(one.inputs),
        "created_time": millis(one.created_at),
        "last_update_time": millis(one.changed_at),
        "tags": json.loads(one.tags),
        "created_by": one.created_by,
        "last_updated_by": one.changed_by,
    }
    shown |= {
        name: value
        for name, value in (("outputs", json.loads(one.outputs)), ("expectations", json.loads(one.expectations)))
        if value is not None
    }
    if one.source_type:
        data = json.loads(one.source)
        shown |= {"source": {"source_type": one.source_type, "source_data": data}, "source_type": one.source_type}
        named = data.get("trace_id" if one.source_type == "TRACE" else "source_id")
        if isinstance(named, str):
            shown["source_id"] = named
    return shown


def _tags(ask: Ask) -> dict[str, Any]:
    found: dict[str, Any] = _json(ask, "tags", dict) if ask.text("tags") else {}
    return found


def _json(ask: Ask, name: str, kind: type) -> Any:
    """What a text holds. Raises `Invalid`; NaN and infinities are what Python's JSON knows, and clients send them."""
    try:
        found = json.loads(ask.text(name))
    except (ValueError, RecursionError) as cause:
        raise Invalid(f"'{name}' must be valid JSON", code="invalid-json") from cause
    if not isinstance(found, kind):
        raise Invalid(
            f"'{name}' must be JSON of {'an array' if kind is list else 'an object'}", code="invalid-arguments"
        )
    return found
