"""The plain way to ask for predictions: records or columns in JSON, one object per row back. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from stellwerk.core.errors import Invalid
from stellwerk.serving import wire
from stellwerk.serving.model import BatchAnswer, Scalar

FORMS = "one of 'records' (a list of objects), 'record' (one object) or 'columns' (an object of lists)"

Table = dict[str, list[Scalar]]


class _Request(Struct, forbid_unknown_fields=True):
    records: list[dict[str, Scalar]] | UnsetType = UNSET
    record: dict[str, Scalar] | UnsetType = UNSET
    columns: Table | UnsetType = UNSET
    keys: list[str | None] | UnsetType = UNSET
    key: str | UnsetType | None = UNSET


_DECODER = msgspec.json.Decoder(_Request)


def request(body: bytes) -> tuple[Table, list[str | None] | None]:
    """Columns, and the caller's own references if there are any. Raises `Invalid`."""
    asked = wire.decode(_DECODER, body, _members)
    if sum(form is not UNSET for form in (asked.records, asked.record, asked.columns)) != 1:
        raise Invalid(f"the request must have exactly {FORMS}", code="invalid-request")
    if isinstance(asked.record, dict):
        if isinstance(asked.keys, list):
            raise Invalid("one record has one 'key', not 'keys'", code="invalid-request")
        return {name: [value] for name, value in asked.record.items()}, _key(asked)
    if not isinstance(asked.key, UnsetType):
        raise Invalid("several rows have 'keys', not one 'key'", code="invalid-request")
    keys = None if isinstance(asked.keys, UnsetType) else asked.keys
    return asked.columns if isinstance(asked.columns, dict) else _columns(asked.records), keys


def _key(asked: _Request) -> list[str | None] | None:
    return None if isinstance(asked.key, UnsetType) else [asked.key]


def _columns(records: list[dict[str, Scalar]] | UnsetType) -> Table:
    if isinstance(records, UnsetType) or not records:
        raise Invalid("the request has no rows", code="empty-batch")
    names = records[0].keys()
    for row, record in enumerate(records):
        if record.keys() != names:
            raise Invalid(
                f"record {row} has other columns than record 0: {_difference(set(record), set(names))}",
                code="ragged-columns",
                hint="null is allowed everywhere and means unknown",
            )
    return {name: [record[name] for record in records] for name in names}


def _difference(these: set[str], those: set[str]) -> str:
    without = [f"without {name[:60]!r}" for name in sorted(those - these)[:5]]
    return ", ".join([*without, *(f"with {name[:60]!r}" for name in sorted(these - those)[:5])])


def _members(asked: _Request) -> int:
    forms = (asked.records, asked.record, asked.columns, asked.keys, asked.key)
    count = sum(form is not UNSET for form in forms)
    count += len(asked.record) if isinstance(asked.record, dict) else 0
    count += len(asked.columns) if isinstance(asked.columns, dict) else 0
    return count + (sum(map(len, asked.records)) if isinstance(asked.records, list) else 0)


def response(answer: BatchAnswer) -> bytes:
    """The answer as JSON."""
    rows: list[dict[str, Any]] = []
    for row, (prediction, scores) in enumerate(zip(answer.predictions, answer.scores, strict=True)):
        item: dict[str, Any] = {"id": f"{answer.id}-{row}", "prediction": prediction}
        if answer.task == "binary":
            item["score"] = scores[1] if scores else None
        elif answer.task == "multiclass":
            item["probabilities"] = dict(zip(answer.classes, scores, strict=True)) if scores else None
        item["steered"] = None
        rows.append(item)
    for row, steer in answer.steered.items():
        rows[row]["steered"] = steer.reason
        if steer.to_people:
            rows[row]["case"] = answer.queue
    return wire.encode(
        {
            "predictions": rows,
            "model": answer.model or None,
            "release": answer.release or None,
            "signal": answer.signal,
        }
    )
