"""Schema 4 to 5: rows for what is said of traces, assessments, models, logged models and evaluation datasets."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

_AT_ONCE = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STATES = {"unspecified": "STATE_UNSPECIFIED", "running": "IN_PROGRESS", "ok": "OK", "failed": "ERROR"}
Document = dict[str, Any]
Said = Iterator[tuple[str, str, Any]]


def upgrade(op: Operations) -> None:
    """Make the tables and fill them from the documents. A book without such shelves gets all of them later."""
    connection = op.get_bind()
    orders: tuple[tuple[str, str, list[Any]], ...] = (
        ("traces_by_experiment_and_at_and_id", "traces", ["workspace", "experiment", sa.text("at DESC"), "id"]),
        ("logged_models_by_experiment_and_created_at_and_id", "logged_models",
         ["workspace", "experiment", sa.text("created_at DESC"), "id"]),
    )  # fmt: skip
    for index, shelf, columns in orders:
        if sa.inspect(connection).has_table(shelf):
            op.create_index(index, shelf, columns)
    if sa.inspect(connection).has_table("model_versions"):
        if not sa.inspect(connection).has_table("registered_models"):
            text = _text(op)
            keys = (sa.Column(key, text, primary_key=True) for key in ("workspace", "name"))
            op.create_table(
                "registered_models", *keys, sa.Column("document", text, nullable=False), sqlite_strict=True
            )
        _name_models(connection)
    for kind in _KINDS:
        if sa.inspect(connection).has_table(kind.shelf):
            _fill(op, kind)


def _name_models(connection: Any) -> None:
    """Versions of the time before there were models get one: what is said of it follows from them."""
    nameless = sa.text(
        "SELECT workspace, name, document FROM model_versions AS v WHERE NOT EXISTS "
        "(SELECT 1 FROM registered_models AS m WHERE m.workspace = v.workspace AND m.name = v.name)"
    )
    models: dict[tuple[str, str], list[Document]] = {}
    for row in connection.execute(nameless).all():
        models.setdefault((row.workspace, row.name), []).append(json.loads(row.document))
    rows = []
    for (workspace, name), versions in models.items():
        made = {
            "workspace": workspace, "name": name, "description": "", "tags": {},
            "created_at": min(one["created_at"] for one in versions),
            "changed_at": max(one.get("changed_at") or one["created_at"] for one in versions),
            "last": max(one["version"] for one in versions),
        }  # fmt: skip
        document = json.dumps(made, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        rows.append({"workspace": workspace, "name": name, "document": document})
    if rows:
        insertion = "INSERT INTO registered_models (workspace, name, document) VALUES (:workspace, :name, :document)"
        connection.execute(sa.text(insertion), rows)


def _fill(op: Operations, kind: _Kind) -> None:
    postgresql = op.get_context().dialect.name == "postgresql"
    text = _text(op)
    whole: Any = sa.BigInteger() if postgresql else sa.Integer()
    keys = [
        sa.Column(key, whole if key == "version" else text, primary_key=True, autoincrement=False)
        for key in ("workspace", *kind.keys, "entity", "key")
    ]
    table = op.create_table(
        kind.values,
        *keys,
        sa.Column("number", sa.Double() if postgresql else sa.REAL()),
        sa.Column("head", text),
        sa.Column("text", text),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    for column in ("number", "head"):
        there = sa.text(f"{column} IS NOT NULL")
        columns = ["workspace", "entity", "key", column, *kind.keys]
        op.create_index(
            f"{kind.values}_by_{column}", kind.values, columns, sqlite_where=there, postgresql_where=there
        )
    connection = op.get_bind()
    named = ", ".join(f'"{key}"' for key in ("workspace", *kind.keys))
    last: tuple[Any, ...] | None = None
    while True:
        # By their keys, some at a time: there may be many, and large ones.
        after = "" if last is None else f"WHERE ({named}) > ({', '.join(f':k{n}' for n in range(len(last)))})"
        query = f"SELECT {named}, document FROM {kind.shelf} {after} ORDER BY {named} LIMIT {_AT_ONCE}"  # noqa: S608
        some = connection.execute(sa.text(query), {f"k{n}": one for n, one in enumerate(last or ())}).all()
        if not some:
            return
        last = tuple(some[-1][:-1])
        rows = []
        for *name, document in some:
            own = dict(zip(("workspace", *kind.keys), name, strict=True))
            said = {(entity, _place(key)): value for entity, key, value in kind.said(json.loads(document))}
            rows += [{**own, "entity": entity, "key": key, **_row(value)} for (entity, key), value in said.items()]
        if rows:
            connection.execute(table.insert(), rows)


def _text(op: Operations) -> Any:
    return sa.Text(collation="C") if op.get_context().dialect.name == "postgresql" else sa.Text()


def _place(key: str) -> str:
    data = key.encode()
    if len(data) <= 1000 and "\x00" not in key and not key.startswith("\x01"):
        return key
    return f"\x01{hashlib.sha256(data).hexdigest()}"


def _row(value: Any) -> dict[str, Any]:
    number, text = value if isinstance(value, tuple) else (None, value) if isinstance(value, str) else (value, None)
    if text is not None:
        text = text.replace("\x00", "\ufffd")
    if number is not None:
        number = None if math.isnan(number) else max(-sys.float_info.max, min(float(number), sys.float_info.max))
    long = text is not None and len(text) > 64
    return {"number": number, "head": None if text is None else text[:64], "text": text if long else None}


def _tags(document: Document, field: str = "tags", entity: str = "tag") -> Said:
    yield from ((entity, key, text) for key, text in (document.get(field) or {}).items())


def _attributes(found: dict[str, Any]) -> Said:
    yield from (("attribute", key, value) for key, value in found.items() if value is not None)


def _milliseconds(instant: str) -> float:
    return float((datetime.fromisoformat(instant) - _EPOCH) // timedelta(milliseconds=1))


def _trace(one: Document) -> Said:
    tags, metadata = one.get("tags") or {}, one.get("metadata") or {}
    yield from _tags(one)
    yield from _tags(one, "metadata", "metadata")
    yield from _attributes(
        {
            "name": tags.get("mlflow.traceName"),
            "status": _STATES[one.get("state", "unspecified")],
            "client_request_id": one.get("client_id"),
            "run_id": metadata.get("mlflow.sourceRun"),
            "execution_time_ms": one.get("duration"),
            "end_time_ms": one["at"] + (one.get("duration") or 0),
        }
    )
    try:
        prompts = {f"{said['name']}/{said['version']}" for said in json.loads(tags.get("mlflow.linkedPrompts", "[]"))}
    except (ValueError, TypeError, KeyError, RecursionError):
        return
    yield from (("prompt", prompt, "") for prompt in prompts)


def _assessment(one: Document) -> Said:
    if not one.get("valid", True):
        return
    if one["kind"] == "issue":
        yield "issue", one["name"], ""
        return
    found = json.loads(one["value"])
    number = found if isinstance(found, int | float) and not isinstance(found, bool) else None
    try:
        number = None if number is None else float(number)
    except OverflowError:
        number = math.inf if number is not None and number > 0 else -math.inf
    yield (
        one["kind"],
        one["name"],
        (number, found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)),
    )


def _model(one: Document) -> Said:
    yield from _tags(one)
    yield from _attributes(
        {
            "creation_timestamp": _milliseconds(one["created_at"]),
            "last_updated_timestamp": _milliseconds(one["changed_at"]),
        }
    )


def _version(one: Document) -> Said:
    yield from _tags(one)
    yield from _attributes(
        {
            "run_id": one["run_id"],
            "source_path": one.get("source", ""),
            "stage": one.get("stage", "None"),
            "creation_timestamp": _milliseconds(one["created_at"]),
            "last_updated_timestamp": _milliseconds(one.get("changed_at") or one["created_at"]),
        }
    )


def _logged(one: Document) -> Said:
    yield from _tags(one)
    yield from _tags(one, "params", "param")
    yield from _attributes(
        {
            "name": one["name"],
            "status": one.get("status", "pending"),
            "model_type": one.get("model_type") or None,
            "source_run_id": one.get("source_run") or None,
            "creation_timestamp": _milliseconds(one["created_at"]),
            "last_updated_timestamp": _milliseconds(one["changed_at"]),
        }
    )
    if one.get("deleted_at"):
        yield "state", "deleted", "yes"


def _evaluation(one: Document) -> Said:
    yield from _tags(one)
    yield from (("experiment", experiment, "") for experiment in one.get("experiments", ()))
    created = datetime.fromisoformat(one["created_at"])
    yield from _attributes(
        {
            "name": one["name"],
            "digest": one["digest"],
            "created_by": one["created_by"],
            "last_updated_by": one["changed_by"],
            "created_at": created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "created_time": _milliseconds(one["created_at"]),
            "last_update_time": _milliseconds(one["changed_at"]),
        }
    )


@dataclass(frozen=True)
class _Kind:
    """A shelf, the table of what is said of its things, and what that is."""

    shelf: str
    values: str
    keys: tuple[str, ...]
    said: Callable[[Document], Said]


_KINDS = (
    _Kind("traces", "trace_values", ("id",), _trace),
    _Kind("trace_assessments", "assessment_values", ("trace", "id"), _assessment),
    _Kind("registered_models", "registered_values", ("name",), _model),
    _Kind("model_versions", "version_values", ("name", "version"), _version),
    _Kind("logged_models", "logged_values", ("id",), _logged),
    _Kind("evaluation_datasets", "evaluation_values", ("id",), _evaluation),
)
