"""The tables of the book, described for SQLAlchemy. What they hold is in `docs/formats/ledger.md`.

Whoever makes tables, or asks what no shelf answers, needs this; whoever opens a book does not, and must not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Any

import sqlalchemy as sa

from stellwerk.ledger import roster

# PostgreSQL's own INTEGER and REAL are half as wide as SQLite's, and its default order of text is that of a language.
TEXT: Any = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INTEGER: Any = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
REAL: Any = sa.REAL().with_variant(sa.Double(), "postgresql")
BYTES: Any = sa.LargeBinary()
KINDS: dict[str, Any] = {"text": TEXT, "integer": INTEGER, "real": REAL}

metadata = sa.MetaData()
"""The tables of the book and of the rooms that are in use. Who must not overlook one takes `whole`."""
_DESCRIBING = RLock()


def present_only(column: str) -> dict[str, Any]:
    """Of an index: only rows that have a column.

    What PostgreSQL is to be told lies aside, for saying it here would load that dialect for everybody.
    """
    there = sa.text(f"{column} IS NOT NULL")
    return {"sqlite_where": there, "info": {"where": there}}


def whole() -> sa.MetaData:
    """All tables, also those of rooms that nobody has entered yet."""
    roster.describe_all()
    return metadata


def once(name: str, make: Callable[[], sa.Table]) -> sa.Table:
    """The description of a table, which threads may ask for at the same time; one may need another's."""
    with _DESCRIBING:
        known = metadata.tables.get(name)
        return make() if known is None else known


meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", TEXT, primary_key=True),
    sa.Column("value", TEXT, nullable=False),
    sqlite_strict=True,
)

entries = sa.Table(
    "ledger_entries",
    metadata,
    sa.Column("sequence", INTEGER, primary_key=True, autoincrement=False),
    sa.Column("workspace", TEXT, nullable=False),
    sa.Column("at", TEXT, nullable=False),
    sa.Column("actor", TEXT, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("subject", TEXT, nullable=False),
    sa.Column("bytes", BYTES, nullable=False),
    sa.Index("ledger_by_subject", "workspace", "subject", "sequence"),
    sa.Index("ledger_by_kind", "workspace", "kind", "sequence"),
    sqlite_strict=True,
)

nodes = sa.Table(
    "ledger_nodes",
    metadata,
    sa.Column("level", INTEGER, primary_key=True, autoincrement=False),
    sa.Column("index", INTEGER, primary_key=True, autoincrement=False),
    sa.Column("hash", BYTES, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

checkpoints = sa.Table(
    "ledger_checkpoints",
    metadata,
    sa.Column("size", INTEGER, primary_key=True, autoincrement=False),
    sa.Column("note", TEXT, nullable=False),
    sqlite_strict=True,
)
