"""Everything a database says, in all workspaces and as it is written: for those who must not overlook a reference."""

from __future__ import annotations

from collections.abc import Iterator

from stellwerk.ledger.database import Database
from stellwerk.ledger.tables import whole

_PORTION = 2000


def entries(database: Database, start: int = 0) -> Iterator[tuple[int, str, str, str, bytes]]:
    """(sequence, workspace, kind, subject, bytes) of every entry from a sequence on, in order and in portions."""
    while True:
        with database.snapshot() as session:
            rows = session.run(
                "SELECT sequence, workspace, kind, subject, bytes FROM ledger_entries WHERE sequence >= ? "
                "ORDER BY sequence LIMIT ?",
                (start, _PORTION),
            ).fetchall()
        for row in rows:
            yield int(row[0]), str(row[1]), str(row[2]), str(row[3]), bytes(row[4])
        if len(rows) < _PORTION:
            return
        start = int(rows[-1][0]) + 1


def documents(database: Database) -> Iterator[bytes]:
    """Every row of current state, at one moment, but for tables that keep nothing alive."""
    with database.snapshot() as session:
        for table in whole().sorted_tables:
            if "document" in table.c and not table.info.get("weak"):
                for row in session.run(f'SELECT document FROM "{table.name}"'):  # noqa: S608 - a table of our own
                    yield str(row[0]).encode()
