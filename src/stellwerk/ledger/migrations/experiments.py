"""Schema 3 to 4: a row for each experiment, columns for how a metric stands, and indexes of half the size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

_AT_ONCE = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def upgrade(op: Operations) -> None:
    """Add columns and tables, and fill them from the runs that there are. A book without rooms gets its tables later."""
    connection = op.get_bind()
    if not sa.inspect(connection).has_table("run_values"):
        return
    postgresql = op.get_context().dialect.name == "postgresql"
    text: Any = sa.Text(collation="C") if postgresql else sa.Text()
    integer: Any = sa.BigInteger() if postgresql else sa.Integer()
    real: Any = sa.Double() if postgresql else sa.REAL()
    for name, kind in (("step", integer), ("at", integer), ("low", real), ("high", real)):
        op.add_column("run_values", sa.Column(name, kind))
    _measure(op, text, integer, real)
    for index, column in (("run_values_by_number", "number"), ("run_values_by_text", "head")):
        op.drop_index(index, table_name="run_values")
        there = sa.text(f"{column} IS NOT NULL")
        columns = ["workspace", "entity", "key", column, "run"]
        op.create_index(index, "run_values", columns, sqlite_where=there, postgresql_where=there)
    together = ["experiment", "started_at", "id"]
    op.create_index(f"runs_by_{'_and_'.join(together)}", "runs", ["workspace", *together])
    table = op.create_table(
        "experiments",
        *(sa.Column(name, text, primary_key=True) for name in ("workspace", "id")),
        sa.Column("name", text),
        sa.Column("stage", text),
        sa.Column("document", text, nullable=False),
        sqlite_strict=True,
    )
    for column in ("name", "stage"):
        op.create_index(f"experiments_by_{column}", "experiments", ["workspace", column])
    first = sa.text("SELECT workspace, experiment, MIN(started_at) AS at FROM runs GROUP BY workspace, experiment")
    rows = [
        {
            "workspace": row.workspace,
            "id": row.experiment,
            "name": row.experiment,
            "stage": "active",
            "document": _document(row),
        }
        for row in connection.execute(first).all()
    ]
    if rows:
        connection.execute(table.insert(), rows)


def _measure(op: Operations, text: Any, integer: Any, real: Any) -> None:
    """A point for each metric of each run, at its end, and how the metric stands; where the run keeps its artifacts."""
    points = op.create_table(
        "metric_points",
        *(sa.Column(name, text, primary_key=True) for name in ("workspace", "run", "key")),
        *(sa.Column(name, integer, primary_key=True, autoincrement=False) for name in ("at", "step")),
        sa.Column("value", real, primary_key=True, autoincrement=False),
        sa.Column("special", text, primary_key=True),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    connection = op.get_bind()
    stands = sa.text(
        "UPDATE run_values SET step = 0, at = :at, low = number, high = number "
        "WHERE workspace = :workspace AND run = :run AND entity = 'metric' AND \"key\" = :key"
    )
    keeps = sa.text(
        'INSERT INTO run_values (workspace, run, entity, "key", head, text) '
        "VALUES (:workspace, :run, 'attribute', 'artifact_uri', :head, :text)"
    )
    runs = connection.execute(sa.text("SELECT workspace, id, document FROM runs")).all()
    for start in range(0, len(runs), _AT_ONCE):
        some = [(run.workspace, run.id, json.loads(run.document)) for run in runs[start : start + _AT_ONCE]]
        rows = [row for workspace, run, document in some for row in _points_of(workspace, run, document)]
        if rows:
            connection.execute(points.insert(), rows)
            connection.execute(stands, rows)
        places = (
            (w, run, f"mlflow-artifacts:/{document['experiment']}/{run}/artifacts") for w, run, document in some
        )
        connection.execute(
            keeps, [{"workspace": w, "run": run, "head": uri[:200], "text": uri} for w, run, uri in places]
        )


def _points_of(workspace: str, run: str, document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    ended = datetime.fromisoformat(document.get("ended_at") or document["started_at"])
    at = (ended - _EPOCH) // timedelta(milliseconds=1)
    for key, value in document.get("metrics", {}).items():  # finite, as every number of a document
        if "\x00" not in key and len(key.encode()) <= 500:
            common = {"workspace": workspace, "run": run, "key": key}
            yield {**common, "at": at, "step": 0, "value": float(value), "special": ""}


def _document(row: Any) -> str:
    made = {
        "id": row.experiment, "name": row.experiment, "created_at": row.at, "changed_at": row.at, "tags": {},
        "location": "", "stage": "active",
    }  # fmt: skip
    return json.dumps(made, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
