"""Schema 1 to 2: `ledger_nodes` without a second index, its rows in the order of level and index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    """Rebuild the table on SQLite. PostgreSQL has no such tables, and keeps what it has."""
    if op.get_context().dialect.name != "sqlite":
        return
    for guard in ("no_update", "no_delete", "no_replace"):
        op.execute(f"DROP TRIGGER IF EXISTS ledger_nodes_{guard}")
    op.rename_table("ledger_nodes", "ledger_nodes_of_schema_1")
    op.create_table(
        "ledger_nodes",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.execute(
        'INSERT INTO ledger_nodes (level, "index", hash) '
        'SELECT level, "index", hash FROM ledger_nodes_of_schema_1 ORDER BY level, "index"'
    )
    op.drop_table("ledger_nodes_of_schema_1")
