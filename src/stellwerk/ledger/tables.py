"""The tables of the book. What they hold is in `docs/formats/ledger.md`; `shelf` adds those of the rooms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

import sqlalchemy as sa

# PostgreSQL's own INTEGER and REAL are half as wide as SQLite's, and its default order of text is that of a language.
TEXT: Any = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INTEGER: Any = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
REAL: Any = sa.REAL().with_variant(sa.Double(), "postgresql")
BYTES: Any = sa.LargeBinary()

metadata = sa.MetaData()
"""The tables of the book and of the rooms that are in use. Who must not overlook one takes `whole`."""
_LATER: dict[str, str] = {}


def present_only(column: str) -> dict[str, Any]:
    """Of an index: only rows that have a column.

    What PostgreSQL is to be told lies aside, for saying it here would load that dialect for everybody.
    """
    there = sa.text(f"{column} IS NOT NULL")
    return {"sqlite_where": there, "info": {"where": there}}


def later(modules: Mapping[str, Iterable[str]]) -> None:
    """Say which module defines which tables, so that it is loaded when one of them is used, or all are looked at."""
    _LATER.update({table: module for module, tables in modules.items() for table in tables})


def names() -> set[str]:
    """Of all tables, loaded or not."""
    return {*metadata.tables, *_LATER}


def whole() -> sa.MetaData:
    """All tables, also those of rooms that nobody has entered yet."""
    for module in dict.fromkeys(_LATER.values()):
        import_module(module)
    return metadata


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
