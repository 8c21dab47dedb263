"""Schema 2 to 3: a row for each metric, parameter and tag of a run, so that runs are found by them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

_AT_ONCE = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def upgrade(op: Operations) -> None:
    """Make the table and fill it from the runs that there are. A book without rooms gets its tables later."""
    if not sa.inspect(op.get_bind()).has_table("runs"):
        return
    postgresql = op.get_context().dialect.name == "postgresql"
    text: Any = sa.Text(collation="C") if postgresql else sa.Text()
    values = op.create_table(
        "run_values",
        *(sa.Column(name, text, primary_key=True) for name in ("workspace", "run", "entity", "key")),
        sa.Column("number", sa.Double() if postgresql else sa.REAL()),
        sa.Column("head", text),
        sa.Column("text", text),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    for index, column in (("run_values_by_number", "number"), ("run_values_by_text", "head")):
        op.create_index(index, "run_values", ["workspace", "entity", "key", column, "run"])
    connection = op.get_bind()
    runs = connection.execute(sa.text("SELECT workspace, id, document FROM runs")).all()
    for start in range(0, len(runs), _AT_ONCE):
        rows = [
            {"workspace": run.workspace, "run": run.id, "entity": entity, "key": key, **_row(value)}
            for run in runs[start : start + _AT_ONCE]
            for entity, key, value in _values_of(json.loads(run.document))
            if _can_be_sought(key)
        ]
        if rows:
            connection.execute(values.insert(), rows)


def _can_be_sought(key: str) -> bool:
    try:
        return "\x00" not in key and len(key.encode()) <= 500
    except UnicodeEncodeError:
        return False


def _values_of(run: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for key, value in run.get("metrics", {}).items():
        yield "metric", key, float(value)
    for key, value in run.get("params", {}).items():
        yield "param", key, json.dumps(value, sort_keys=True) if isinstance(value, (dict, list)) else str(value)
    for key, value in run.get("tags", {}).items():
        yield "tag", key, str(value)
    for key, field in (("run_name", "name"), ("user_id", "started_by"), ("kind", "kind")):
        yield "attribute", key, str(run[field])
    for key, field in (("start_time", "started_at"), ("end_time", "ended_at")):
        if run.get(field):
            moment = datetime.fromisoformat(run[field])
            yield "attribute", key, float((moment - _EPOCH) // timedelta(milliseconds=1))


def _row(value: float | str) -> dict[str, Any]:
    if isinstance(value, str):
        text = value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
        return {"number": None, "head": text[:200], "text": text}
    number = None if math.isnan(value) else max(-sys.float_info.max, min(value, sys.float_info.max))
    return {"number": number, "head": None, "text": None}
