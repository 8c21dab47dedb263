"""The one database, and the transaction that carries a change and its ledger entries together (law 7).

SQLite with WAL and `synchronous=FULL`; PostgreSQL comes with the team edition. Rooms reach their rows through
`shelf`; nobody else writes SQL.
"""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from stellwerk.core import failpoints
from stellwerk.core.clock import Clock, format_instant, monotonic
from stellwerk.core.errors import Bug, Corrupt, NotFound, Unavailable
from stellwerk.ledger import rules
from stellwerk.ledger.model import Checkpoint, Entry
from stellwerk.ledger.parameters import plain, position
from stellwerk.ledger.ports import Signer

failpoints.declare("ledger.record", "ledger.commit", "ledger.committed")

SCHEMA_VERSION = "1"
BUSY_MILLISECONDS = 15_000

metadata = sa.MetaData()

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sqlite_strict=True,
)

entries = sa.Table(
    "ledger_entries",
    metadata,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("workspace", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("bytes", sa.LargeBinary, nullable=False),
    sa.Index("ledger_by_subject", "workspace", "subject", "sequence"),
    sa.Index("ledger_by_kind", "workspace", "kind", "sequence"),
    sqlite_strict=True,
)

nodes = sa.Table(
    "ledger_nodes",
    metadata,
    sa.Column("level", sa.Integer, primary_key=True),
    sa.Column("index", sa.Integer, primary_key=True),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sqlite_strict=True,
)

checkpoints = sa.Table(
    "ledger_checkpoints",
    metadata,
    sa.Column("size", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("note", sa.Text, nullable=False),
    sqlite_strict=True,
)

_APPEND_ONLY = {
    f"{table}_no_{verb.lower()}": f"BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    for table in ("ledger_entries", "ledger_nodes", "ledger_checkpoints")
    for verb in ("UPDATE", "DELETE")
} | {
    # INSERT OR REPLACE would remove the old row without asking the triggers above.
    f"{table}_no_replace": f"BEFORE INSERT ON {table} WHEN {condition} "
    f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    for table, condition in {
        "ledger_entries": "NEW.sequence IS NOT (SELECT COALESCE(MAX(sequence) + 1, 0) FROM ledger_entries)",
        "ledger_nodes": 'EXISTS (SELECT 1 FROM ledger_nodes WHERE level = NEW.level AND "index" = NEW."index")',
        "ledger_checkpoints": "EXISTS (SELECT 1 FROM ledger_checkpoints WHERE size = NEW.size)",
    }.items()
}


class Database:
    """One SQLite file. Safe for many threads and processes; writers take turns."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock, self._path = clock, path
        self._engine = sa.create_engine(
            f"sqlite:///{path}",
            poolclass=sa.pool.QueuePool,
            pool_size=8,
            max_overflow=24,
            connect_args={
                "isolation_level": None,
                "timeout": BUSY_MILLISECONDS / 1000,
                "check_same_thread": False,
            },
        )
        sa.event.listen(self._engine, "connect", _configure)

    def create(self, origin: str) -> None:
        """Make the tables and the identity of this book; does nothing where they exist."""
        rules.check_origin(origin)
        with self._begin("IMMEDIATE") as connection:
            _complete(connection)
            if connection.execute(sa.select(meta.c.value).where(meta.c.key == "schema")).first() is None:
                connection.execute(
                    meta.insert(),
                    [{"key": "schema", "value": SCHEMA_VERSION}, {"key": "origin", "value": origin}],
                )

    def open(self) -> str:
        """Check the format; returns the origin (identity) of the book. Damage is for `verify` to find.

        Raises `NotFound` where there is no file: a book that is gone must not be replaced by an empty one.
        """
        if not self._path.is_file():
            raise NotFound("there is no book here", hint="`stellwerk init` begins one")
        with self._begin("DEFERRED") as connection:
            present = _present(connection)
            if meta.name not in present:
                raise Corrupt("the database has no Stellwerk tables", code="corrupt-database")
            rows = {row.key: row.value for row in connection.execute(sa.select(meta))}
            if rows.get("schema") != SCHEMA_VERSION:
                raise Unavailable(
                    f"the database has schema {rows.get('schema')!r}, this version reads {SCHEMA_VERSION!r}",
                    code="schema-mismatch",
                    hint="use the version of Stellwerk that wrote it, or migrate",
                )
            if "origin" not in rows:
                raise Corrupt("the database does not say which book it is", code="corrupt-database")
        if not present >= {*metadata.tables, *_APPEND_ONLY}:
            # Tables of rooms that were added since this workspace was made.
            with self._begin("IMMEDIATE") as connection:
                _complete(connection)
        return str(rows["origin"])

    def close(self) -> None:
        """Release all connections."""
        self._engine.dispose()

    @contextmanager
    def _begin(self, mode: str) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql(f"BEGIN {mode}")
                try:
                    yield connection
                except BaseException:
                    # A full or failing disk makes SQLite roll back by itself; a second one would hide the cause.
                    if getattr(connection.connection.dbapi_connection, "in_transaction", True):
                        connection.exec_driver_sql("ROLLBACK")
                    raise
                connection.exec_driver_sql("COMMIT")
        except DatabaseError as cause:
            raise _wrap(cause) from cause
        except PoolTimeout as cause:
            raise Unavailable(
                "too many transactions are open at once", code="database-busy", hint="wait and try again"
            ) from cause

    @contextmanager
    def write(self, workspace: str, actor: str) -> Iterator[Writing]:
        """One transaction; durable when the block is left without an exception."""
        with self._begin("IMMEDIATE") as connection:
            transaction = Writing(connection, workspace, actor, self._clock)
            yield transaction
            transaction.check()
            _failpoint("ledger.commit")
        _failpoint("ledger.committed")

    @contextmanager
    def read(self, workspace: str) -> Iterator[Reading]:
        """A consistent snapshot."""
        with self._begin("DEFERRED") as connection:
            yield Reading(connection, workspace)

    def entries(
        self,
        workspace: str,
        *,
        kinds: Iterable[str] | None = None,
        subject: str | None = None,
        start: int = 0,
        limit: int | None = None,
    ) -> list[Entry]:
        """Entries of a workspace in order; a kind ending in `.` is a prefix."""
        query = sa.select(entries.c.bytes).where(
            entries.c.workspace == plain(workspace), entries.c.sequence >= position(start)
        )
        if subject is not None:
            query = query.where(entries.c.subject == plain(subject))
        if kinds is not None:
            query = query.where(sa.or_(sa.false(), *map(_of_kind, kinds)))
        with self._begin("DEFERRED") as connection:
            rows = connection.execute(query.order_by(entries.c.sequence).limit(position(limit))).all()
        return [rules.stored_entry(row.bytes) for row in rows]

    def size(self) -> int:
        """How many entries the book has."""
        with self._begin("DEFERRED") as connection:
            return _size(connection)

    def checkpoint(self, origin: str, signer: Signer) -> Checkpoint:
        """Sign the present size and root, and keep the note. A book that contradicts its last one is not signed."""
        with self._begin("IMMEDIATE") as connection:
            size, lookup = _size(connection), _lookup(connection)
            last = connection.execute(sa.select(checkpoints).order_by(checkpoints.c.size.desc()).limit(1)).first()
            if last is not None:
                _check_grown(rules.read_checkpoint(last.note), size, lookup)
            result = rules.sign_checkpoint(origin, size, rules.root(size, lookup), signer)
            if last is None or last.size != size:
                connection.execute(checkpoints.insert().values(size=size, note=result.note))
        return result

    def inclusion(self, sequence: int, size: int) -> list[bytes]:
        """Proof that entry `sequence` is in the book's first `size` entries."""
        with self._begin("DEFERRED") as connection:
            return rules.inclusion_proof(sequence, size, _lookup(connection))

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Proof that the first `old` entries are a prefix of the first `new`."""
        with self._begin("DEFERRED") as connection:
            return rules.consistency_proof(old, new, _lookup(connection))


class Reading:
    """A snapshot of one workspace."""

    def __init__(self, connection: sa.Connection, workspace: str) -> None:
        self._connection = connection
        self.workspace = workspace

    def execute(self, statement: Any, parameters: Any = None) -> Any:
        if not isinstance(statement, sa.Select):
            raise Bug("a reader was asked to write")
        return self._connection.execute(statement, parameters)


class Writing:
    """A change under way."""

    def __init__(self, connection: sa.Connection, workspace: str, actor: str, clock: Clock) -> None:
        self._connection = connection
        self.workspace = workspace
        self.actor = actor
        self._clock = clock
        self._changed = self._recorded = False

    def execute(self, statement: Any, parameters: Any = None) -> Any:
        self._changed = self._changed or not isinstance(statement, sa.Select)
        return self._connection.execute(statement, parameters)

    def record(self, kind: str, subject: str, body: Any = None) -> Entry:
        size = _size(self._connection)
        entry = Entry(
            sequence=size,
            at=self._clock.now(),
            workspace=self.workspace,
            actor=self.actor,
            kind=kind,
            subject=subject,
            body=dict(body or {}),
        )
        for text in (entry.workspace, entry.actor, kind, subject):
            plain(text)
        data = rules.entry_bytes(entry)
        _failpoint("ledger.record")
        self._connection.execute(
            entries.insert().values(
                sequence=size,
                workspace=entry.workspace,
                at=format_instant(entry.at),
                actor=entry.actor,
                kind=kind,
                subject=subject,
                bytes=data,
            )
        )
        fresh = rules.new_nodes(size, rules.leaf_hash(data), _lookup(self._connection))
        self._connection.execute(
            nodes.insert(), [{"level": level, "index": index, "hash": value} for level, index, value in fresh]
        )
        self._recorded = True
        return rules.stored_entry(data)

    def check(self) -> None:
        """Law 7: no change without an entry."""
        if self._changed and not self._recorded:
            raise Bug("a transaction changed rows without recording a ledger entry")


class WorkspaceBook:
    """A database as one workspace and one actor see it: the `Book` port."""

    def __init__(self, database: Database, workspace: str, actor: str) -> None:
        self._database = database
        self.workspace = workspace
        self.actor = actor

    def write(self) -> Any:
        return self._database.write(self.workspace, self.actor)

    def read(self) -> Any:
        return self._database.read(self.workspace)

    def entries(
        self,
        *,
        kinds: Iterable[str] | None = None,
        subject: str | None = None,
        start: int = 0,
        limit: int | None = None,
    ) -> list[Entry]:
        return self._database.entries(self.workspace, kinds=kinds, subject=subject, start=start, limit=limit)


def _configure(connection: Any, _record: Any) -> None:
    _use_wal(connection)
    for pragma in (
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_MILLISECONDS}",
        "trusted_schema=OFF",
        "cell_size_check=ON",
        "wal_autocheckpoint=1000",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _use_wal(connection: Any) -> None:
    # While several processes make one book, SQLite answers "locked" here at once, whatever the timeout.
    deadline = monotonic() + BUSY_MILLISECONDS / 1000
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            break
        except sqlite3.OperationalError as cause:
            if cause.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
            time.sleep(0.005)
    if mode != "wal":
        raise _unusable(f"its file system does not carry a write-ahead log (journal mode {mode!r})")


def _failpoint(name: str) -> None:
    try:
        failpoints.hit(name)
    except OSError as cause:
        raise _full() if cause.errno == errno.ENOSPC else _unusable(cause.strerror or "unknown reason") from cause


def _present(connection: sa.Connection) -> set[str]:
    found = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type IN ('table', 'trigger')")
    return {str(row.name) for row in found}


def _complete(connection: sa.Connection) -> None:
    metadata.create_all(connection)
    for name, body in _APPEND_ONLY.items():
        connection.exec_driver_sql(f"CREATE TRIGGER IF NOT EXISTS {name} {body}")


def _of_kind(kind: str) -> Any:
    plain(kind)
    if not kind.endswith("."):
        return entries.c.kind == kind
    # A range and not LIKE, which would ignore case and the index: "/" is the character after ".".
    return sa.and_(entries.c.kind >= kind, entries.c.kind < kind[:-1] + "/")


def _check_grown(last: Checkpoint, size: int, lookup: rules.Node) -> None:
    if last.size > size or rules.root(last.size, lookup) != last.root:
        raise Corrupt(
            f"the book no longer begins with the {last.size} entries of its last checkpoint",
            code="corrupt-ledger",
            hint="`stellwerk verify` says what is wrong; restore the book from a backup",
        )


def _size(connection: sa.Connection) -> int:
    last = connection.execute(sa.select(sa.func.max(entries.c.sequence))).scalar()
    return 0 if last is None else int(last) + 1


def _lookup(connection: sa.Connection) -> rules.Node:
    query = sa.select(nodes.c.hash).where(nodes.c.level == sa.bindparam("l"), nodes.c.index == sa.bindparam("i"))

    def node(level: int, index: int) -> bytes:
        found = connection.execute(query, {"l": level, "i": index}).scalar()
        if found is None:
            raise NotFound(f"the book has no tree node {level}/{index}", code="not-found")
        return bytes(found)

    return node


def is_taken(cause: IntegrityError) -> bool:
    """Whether a statement failed because its key exists already, and not because its values do not fit."""
    code = getattr(cause.orig, "sqlite_errorcode", 0)
    return code in (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE)


def _full() -> Unavailable:
    return Unavailable("the disk is full; nothing was lost", code="disk-full", hint="free some space and try again")


def _unusable(reason: str) -> Unavailable:
    return Unavailable(f"the database cannot be used: {reason}", code="database-unavailable")


def _wrap(cause: DatabaseError) -> Unavailable | Corrupt | Bug:
    text = str(cause.orig)
    code = getattr(cause.orig, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return _full()
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unavailable(
            "another process is writing to this workspace",
            code="database-busy",
            hint="wait for it and try again",
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Corrupt("the database file is damaged", code="corrupt-database", hint="restore it from a backup")
    if isinstance(cause, OperationalError):
        return _unusable(text)
    return Bug(f"the database refused a statement: {text}")
