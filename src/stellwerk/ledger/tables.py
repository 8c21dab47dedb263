"""The tables of the book. What they hold is in `docs/formats/ledger.md`; `shelf` adds those of the rooms."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

# PostgreSQL's own INTEGER and REAL are half as wide as SQLite's, and its default order of text is that of a language.
TEXT: Any = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INTEGER: Any = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
REAL: Any = sa.REAL().with_variant(sa.Double(), "postgresql")
BYTES: Any = sa.LargeBinary()

metadata = sa.MetaData()

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

APPEND_ONLY = ("ledger_entries", "ledger_nodes", "ledger_checkpoints")
