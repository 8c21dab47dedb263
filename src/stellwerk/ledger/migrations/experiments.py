"""Schema 3 to 4: a row for each experiment, columns for how a metric stands, and indexes of half the size."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations


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
    op.execute("UPDATE run_values SET step = 0, at = 0, low = number, high = number WHERE entity = 'metric'")
    for index, column in (("run_values_by_number", "number"), ("run_values_by_text", "head")):
        op.drop_index(index, table_name="run_values")
        there = sa.text(f"{column} IS NOT NULL")
        columns = ["workspace", "entity", "key", column, "run"]
        op.create_index(index, "run_values", columns, sqlite_where=there, postgresql_where=there)
    table = op.create_table(
        "experiments",
        *(sa.Column(name, text, primary_key=True) for name in ("workspace", "id")),
        sa.Column("name", text),
        sa.Column("document", text, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("experiments_by_name", "experiments", ["workspace", "name"])
    first = sa.text("SELECT workspace, experiment, MIN(started_at) AS at FROM runs GROUP BY workspace, experiment")
    rows = [
        {"workspace": row.workspace, "id": row.experiment, "name": row.experiment, "document": _document(row)}
        for row in connection.execute(first).all()
    ]
    if rows:
        connection.execute(table.insert(), rows)


def _document(row: Any) -> str:
    made = {
        "id": row.experiment, "name": row.experiment, "created_at": row.at, "changed_at": row.at, "tags": {},
        "location": "", "deleted_at": None,
    }  # fmt: skip
    return json.dumps(made, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
