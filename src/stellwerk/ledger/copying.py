"""A whole book with its tables, out of one database and into an empty one of either kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stellwerk.core.clock import format_instant
from stellwerk.core.errors import Corrupt
from stellwerk.ledger import rules
from stellwerk.ledger.dialects.port import Session
from stellwerk.ledger.group import Change

Row = tuple[str | int | float | None, ...]
BOOK = ("meta", "ledger_entries", "ledger_nodes", "ledger_checkpoints", "ledger_commits")
_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a room."""

    name: str
    columns: tuple[str, ...]


class Copy:
    """Everything a snapshot holds, a few thousand rows at a time."""

    def __init__(self, session: Session) -> None:
        from stellwerk.ledger.tables import whole

        self._session = session
        (self.schema,) = session.one("SELECT value FROM meta WHERE key = 'schema'")
        (last,) = session.one("SELECT MAX(sequence) FROM ledger_entries")
        self.size = 0 if last is None else int(last) + 1
        self.tables = tuple(
            Table(name, tuple(column.name for column in table.columns))
            for name, table in sorted(whole().tables.items())
            if name not in BOOK
        )

    def checkpoints(self) -> Iterator[str]:
        """The signed notes, oldest first."""
        for (note,) in self._session.run("SELECT note FROM ledger_checkpoints ORDER BY size").fetchall():
            yield str(note)

    def entries(self) -> Iterator[bytes]:
        """The bytes of all entries, which hold no line break."""
        for start in range(0, self.size, _AT_ONCE):
            rows = self._session.run(
                "SELECT bytes FROM ledger_entries WHERE sequence >= ? AND sequence < ? ORDER BY sequence",
                (start, start + _AT_ONCE),
            )
            for (data,) in rows.fetchall():
                yield bytes(data)

    def rows(self, table: Table) -> Iterator[Row]:
        """The rows of a table, in the order of its columns."""
        columns = ", ".join(f'"{column}"' for column in table.columns)
        cursor = self._session.stream(f'SELECT {columns} FROM "{table.name}"')  # noqa: S608 - names of our own
        while rows := cursor.fetchmany(_AT_ONCE):
            yield from map(tuple, rows)


class Written:
    """An empty book that is filled, inside one transaction."""

    def __init__(self, change: Change) -> None:
        self._change = change

    def checkpoints(self, notes: Iterable[str]) -> None:
        """Keep signed notes as they are; whether they are true is for the verifier."""
        rows = [(rules.read_checkpoint(note).size, note) for note in notes]
        self._change.session.run_many("INSERT INTO ledger_checkpoints (size, note) VALUES (?, ?)", rows)

    def entries(self, items: Iterable[bytes]) -> None:
        """Append entries as they are, and the nodes they make. Raises `Corrupt` where one is not the next."""
        rows = []
        for sequence, data in enumerate(items, self._change.size):
            entry = rules.parse_entry(data)
            if entry.sequence != sequence:
                raise Corrupt(f"expected entry {sequence}, got {entry.sequence}", code="corrupt-ledger")
            at = format_instant(entry.at)
            rows.append((sequence, entry.workspace, at, entry.actor, entry.kind, entry.subject, data))
        self._change.append(rows)

    def rows(self, table: Table, rows: Iterable[Row]) -> int:
        """Fill a table of a room; returns how many rows there were."""
        from stellwerk.ledger.tables import whole

        known = whole().tables.get(table.name)
        if known is None or table.name in BOOK or {column.name for column in known.columns} != set(table.columns):
            raise Corrupt(
                f"there are rows of a table {table.name!r} that this version does not have so",
                code="corrupt-database",
                hint="use the version of Stellwerk that wrote it",
            )
        width, found = len(table.columns), list(rows)
        if any(len(row) != width for row in found):
            raise Corrupt(f"a row of {table.name!r} has another width than its table", code="corrupt-database")
        columns = ", ".join(f'"{column}"' for column in table.columns)
        marks = ", ".join("?" * width)
        self._change.session.run_many(f'INSERT INTO "{table.name}" ({columns}) VALUES ({marks})', found)  # noqa: S608
        return len(found)
