"""The one database, and the transaction that carries a change and its ledger entries together (law 7).

In one SQLite file or on a PostgreSQL server; what differs is in `dialects`. Rooms reach their rows through `shelf`;
nobody else writes SQL.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from stellwerk.core import failpoints
from stellwerk.core.clock import Clock
from stellwerk.core.errors import Bug, Conflict, Corrupt, NotFound, Unavailable
from stellwerk.ledger import migrations, roster, rules
from stellwerk.ledger.copying import Written
from stellwerk.ledger.dialects.port import Dialect, Session
from stellwerk.ledger.dialects.sqlite import SQLite
from stellwerk.ledger.failures import failpoint
from stellwerk.ledger.group import Change, Committer
from stellwerk.ledger.migrations import Step
from stellwerk.ledger.model import Checkpoint, Entry
from stellwerk.ledger.parameters import MAX_INTEGER, plain, position
from stellwerk.ledger.ports import Misfit, Signer
from stellwerk.ledger.spelling import Spelling

failpoints.declare("ledger.record")

failpoints.declare("migrate.copied", "migrate.step")

Item = tuple[str, str, Mapping[str, Any] | None]
"""Kind, subject and body of an entry to record."""

_CHUNK = 8192
CAUSE = "caused_by"
"""The key of a body that names the firing of a trigger for which somebody worked who wrote the entry."""


class Database:
    """One book with its tables. Safe for many threads and processes; writers take turns and share commits.

    Args:
        place: A SQLite file, or another dialect.
        clock: Says what time entries happened.
    """

    def __init__(self, place: Path | Dialect, clock: Clock) -> None:
        self.dialect: Dialect = SQLite(place) if isinstance(place, Path) else place
        self._clock = clock
        self._committer = Committer(self.dialect)

    def create(self, origin: str) -> None:
        """Make the tables and the identity of this book; does nothing where they exist."""
        rules.check_origin(origin)
        if self._is_made():
            return
        self.dialect.prepare()
        with self._change() as change:
            self.dialect.complete(change.session)
            if change.session.one("SELECT value FROM meta WHERE key = 'schema'") is None:
                for key, value in (("schema", migrations.CURRENT), ("origin", origin)):
                    change.session.run("INSERT INTO meta (key, value) VALUES (?, ?)", (key, value))

    def _is_made(self) -> bool:
        with self._explained():
            try:
                self.dialect.check_present()
            except NotFound:
                return False
        with self.snapshot() as session:
            return self._is_whole(self.dialect.present(session)) and _schema(session) is not None

    def _is_whole(self, present: set[str]) -> bool:
        return present >= {*roster.names(), *self.dialect.guards()}

    def open(self) -> str:
        """Check the format; returns the origin (identity) of the book. Damage is for `verify` to find.

        Raises `NotFound` where there is no book: one that is gone must not be replaced by an empty one.
        """
        with self._explained():
            self.dialect.check_present()
        with self.snapshot() as session:
            present = self.dialect.present(session)
            if "meta" not in present:
                raise Corrupt("the database has no Stellwerk tables", code="corrupt-database")
            rows = {str(key): str(value) for key, value in session.run("SELECT key, value FROM meta").fetchall()}
        if migrations.pending(rows.get("schema")):
            raise Unavailable(
                f"the database has schema {rows['schema']!r} of an earlier version",
                code="needs-migration",
                hint="`stellwerk migrate` makes a copy and brings it up to date",
            )
        if "origin" not in rows:
            raise Corrupt("the database does not say which book it is", code="corrupt-database")
        if not self._is_whole(present):
            # Tables of rooms that were added since this workspace was made.
            self.dialect.prepare()
            with self._change() as change:
                self.dialect.complete(change.session)
        self._committer.check = _check_schema
        return rows["origin"]

    def schema(self) -> str | None:
        """Which schema the database has, also where that is not this version's."""
        with self._explained():
            self.dialect.check_present()
        with self.snapshot() as session:
            if "meta" not in self.dialect.present(session):
                raise Corrupt("the database has no Stellwerk tables", code="corrupt-database")
            return _schema(session)

    def migrate(self, steps: tuple[Step, ...] = migrations.STEPS) -> Migrated:
        """Bring the schema of an earlier version up to date, in one transaction, after a copy was made.

        Where another process does it at the same time, this one waits and finds nothing left to do; where it is
        killed, nothing has changed.
        """
        with self._explained():
            self.dialect.check_present()
        self.dialect.prepare()
        with self._change() as change:
            session, before = change.session, _schema(change.session)
            pending = migrations.pending(before, steps)
            if not pending or before is None:
                return Migrated(before=before or "", after=before or "", steps=(), copy="")
            copy = self.dialect.safeguard(session, before)
            failpoint("migrate.copied")
            for step in pending:
                migrations.run(step, session.connection)
                failpoint("migrate.step")
            session.run("UPDATE meta SET value = ? WHERE key = 'schema'", (pending[-1].to,))
            self.dialect.complete(session)
        return Migrated(before=before, after=pending[-1].to, steps=pending, copy=copy)

    def scrub(self) -> bool:
        """Overwrite at once what deleted rows left behind. False where that must wait for somebody who reads."""
        with self._explained():
            return self.dialect.scrub()

    def close(self) -> None:
        """Release all connections."""
        self._committer.close()
        self.dialect.close()

    @contextmanager
    def write(self, workspace: str, actor: str, cause: str = "") -> Iterator[Writing]:
        """One change; durable when the block is left without an exception.

        Changes of many threads share a commit, one after another, each whole or not at all. Inside the block nothing
        may wait for another thread's change.

        Args:
            cause: What its entries name as their cause, if anything.
        """
        with self._change() as change:
            writing = Writing(change, workspace, actor, self._clock, cause)
            yield writing
            writing.check()

    @contextmanager
    def read(self, workspace: str) -> Iterator[Reading]:
        """A consistent snapshot; inside a change of this thread, what the change has come to."""
        with self.snapshot() as session:
            reading = Reading(session, workspace)
            try:
                yield reading
            finally:
                reading.end()

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
        conditions, values = ["workspace = ?", "sequence >= ?"], [plain(workspace), position(start)]
        if subject is not None:
            conditions.append("subject = ?")
            values.append(plain(subject))
        if kinds is not None:
            each = [_of_kind(kind) for kind in kinds]
            conditions.append(f"({' OR '.join(condition for condition, _ in each) or '1 = 0'})")
            values += [value for _, some in each for value in some]
        values.append(MAX_INTEGER if limit is None else position(limit))
        question = f"SELECT bytes FROM ledger_entries WHERE {' AND '.join(conditions)} ORDER BY sequence LIMIT ?"  # noqa: S608
        with self.snapshot() as session:
            rows = session.run(question, values).fetchall()
        return [rules.stored_entry(bytes(data)) for (data,) in rows]

    def size(self) -> int:
        """How many entries the book has."""
        with self.snapshot() as session:
            (last,) = session.one("SELECT MAX(sequence) FROM ledger_entries")
        return 0 if last is None else int(last) + 1

    def checkpoint(self, origin: str, signer: Signer) -> Checkpoint:
        """Sign the present size and root, and keep the note. A book that contradicts its last one is not signed."""
        with self._change() as change:
            session, size, lookup = change.session, change.size, _lookup(change.session)
            last = session.one("SELECT size, note FROM ledger_checkpoints ORDER BY size DESC LIMIT 1")
            if last is not None:
                _check_grown(rules.read_checkpoint(last[1]), size, lookup)
            result = rules.sign_checkpoint(origin, size, rules.root(size, lookup), signer)
            if last is None or last[0] != size:
                session.run("INSERT INTO ledger_checkpoints (size, note) VALUES (?, ?)", (size, result.note))
        return result

    def inclusion(self, sequence: int, size: int) -> list[bytes]:
        """Proof that entry `sequence` is in the book's first `size` entries."""
        with self.snapshot() as session:
            return rules.inclusion_proof(sequence, size, _lookup(session))

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Proof that the first `old` entries are a prefix of the first `new`."""
        with self.snapshot() as session:
            return rules.consistency_proof(old, new, _lookup(session))

    @contextmanager
    def _change(self) -> Iterator[Change]:
        with self._explained(), self._committer.block() as change:
            yield change

    @contextmanager
    def restoring(self, origin: str) -> Iterator[Written]:
        """Fill an empty database from a copy, in one transaction. Raises `Conflict` where there is a book already."""
        rules.check_origin(origin)
        self.dialect.prepare()
        with self._change() as change:
            self.dialect.complete(change.session)
            if change.session.one("SELECT 1 FROM meta") is not None:
                raise Conflict("this database holds a book already", code="already-exists")
            for key, value in (("schema", migrations.CURRENT), ("origin", origin)):
                change.session.run("INSERT INTO meta (key, value) VALUES (?, ?)", (key, value))
            yield Written(change)

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """The whole book at one moment, for those who read beyond one workspace."""
        inside = self._committer.inside
        if inside is not None:
            yield inside
            return
        with self._explained():
            session = self.dialect.reader()
            try:
                yield session
            finally:
                session.release()  # which takes the snapshot back

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as cause:
            words = self.dialect.explain(cause)
            if words is None:
                raise
            raise words from cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrated:
    """What a migration did."""

    before: str
    after: str
    steps: tuple[Step, ...]
    copy: str
    """Where everything was copied to before: a file beside the database, or a schema on the server."""


class Reading:
    """A snapshot of one workspace."""

    def __init__(self, session: Session, workspace: str) -> None:
        self._open: Session | None = session
        self.workspace = workspace

    @property
    def _session(self) -> Session:
        if self._open is None:
            raise Bug("a reader was used after its block, when its connection may be somebody else's")
        return self._open

    def end(self) -> None:
        self._open = None

    def rows(self, question: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return _rows(self._session, question, values)

    def execute(self, statement: Any, parameters: Any = None) -> Any:
        if not statement.is_select:
            raise Bug("a reader was asked to write")
        return self._session.connection.execute(statement, parameters)

    def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        raise Bug("a reader was asked to write")


class Writing:
    """A change under way."""

    def __init__(self, change: Change, workspace: str, actor: str, clock: Clock, cause: str = "") -> None:
        self._change, self._cause = change, cause
        self.workspace = workspace
        self.actor = actor
        self._clock = clock
        self._changed = self._recorded = False

    def rows(self, question: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return _rows(self._change.session, question, values)

    def execute(self, statement: Any, parameters: Any = None) -> Any:
        self._changed = self._changed or not statement.is_select
        return self._change.session.connection.execute(statement, parameters)

    def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        self._changed, session = True, self._change.session
        try:
            return int(session.run(statement, values).rowcount)
        except session.misfit as cause:
            raise Misfit(str(cause)) from cause

    def write_many(self, statement: str, rows: Sequence[Sequence[Any]], *, pours: bool = False) -> None:
        # What pours in is sealed by the entry that ends it, and not by one entry each (docs/decisions/0022).
        if rows:
            self._changed = self._changed or not pours
            self._change.session.run_many(statement, rows)

    def record(self, kind: str, subject: str, body: Mapping[str, Any] | None = None) -> Entry:
        now, sequence = self._clock.now(), self._change.size
        (inner,) = self._append([(kind, subject, body)], now)
        return Entry(
            sequence=sequence,
            at=now.astimezone(UTC),
            workspace=self.workspace,
            actor=self.actor,
            kind=kind,
            subject=subject,
            body=json.loads(inner),
        )

    def record_many(self, items: Iterable[Item]) -> range:
        """Append many entries, all with the present time; returns their sequence numbers.

        The book is the same as after recording them one by one.
        """
        first, now = self._change.size, self._clock.now()
        remaining = iter(items)
        while chunk := list(islice(remaining, _CHUNK)):
            self._append(chunk, now)
        return range(first, self._change.size)

    def check(self) -> None:
        """Law 7: no change without an entry."""
        if self._changed and not self._recorded:
            raise Bug("a transaction changed rows without recording a ledger entry")

    def _append(self, items: Sequence[Item], now: datetime) -> list[bytes]:
        """Write entries and the nodes they complete; returns the canonical bytes of the bodies."""
        change, spelling = self._change, Spelling(self.workspace, self.actor, now)
        workspace, at, actor = spelling.workspace, spelling.at, spelling.actor
        rows, bodies = [], []
        for sequence, (kind, subject, body) in enumerate(items, change.size):
            if self._cause:
                body = {**(body or {}), CAUSE: self._cause}
            data, inner = spelling.entry(sequence, kind, subject, body)
            rows.append((sequence, workspace, at, actor, kind, subject, data))
            bodies.append(inner)
        failpoint("ledger.record")
        change.append(rows)
        self._recorded = True
        return bodies


_WORKING_FOR: ContextVar[str] = ContextVar("stellwerk-cause", default="")


@contextmanager
def working_for(cause: str) -> Iterator[None]:
    """What this thread writes meanwhile names a cause: that of a caller from elsewhere."""
    before = _WORKING_FOR.set(cause)
    try:
        yield
    finally:
        _WORKING_FOR.reset(before)


class WorkspaceBook:
    """A database as one workspace and one actor see it: the `Book` port."""

    def __init__(self, database: Database, workspace: str, actor: str, cause: str = "") -> None:
        self._database = database
        self.workspace = workspace
        self.actor = actor
        self._cause = cause

    def write(self) -> Any:
        return self._database.write(self.workspace, self.actor, _WORKING_FOR.get() or self._cause)

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


def _rows(session: Session, question: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    if not question.startswith("SELECT"):
        raise Bug("a reader was asked to write")
    found: list[tuple[Any, ...]] = session.run(question, values).fetchall()
    return found


def _of_kind(kind: str) -> tuple[str, tuple[str, ...]]:
    plain(kind)
    if not kind.endswith("."):
        return "kind = ?", (kind,)
    # A range and not LIKE, which would ignore case and the index: "/" is the character after ".".
    return "kind >= ? AND kind < ?", (kind, kind[:-1] + "/")


def _check_grown(last: Checkpoint, size: int, lookup: rules.Node) -> None:
    if last.size > size or rules.root(last.size, lookup) != last.root:
        raise Corrupt(
            f"the book no longer begins with the {last.size} entries of its last checkpoint",
            code="corrupt-ledger",
            hint="`stellwerk verify` says what is wrong; restore the book from a backup",
        )


def _check_schema(session: Session) -> None:
    """A process that was started before a migration must not write with what it knew."""
    found = _schema(session)
    if found != migrations.CURRENT:
        raise Unavailable(
            f"the database has schema {found!r} now, this process works with {migrations.CURRENT!r}",
            code="schema-mismatch",
            hint="somebody migrated it: start again, with the version of Stellwerk that did",
        )


def _schema(session: Session) -> str | None:
    row = session.one("SELECT value FROM meta WHERE key = 'schema'")
    return None if row is None else str(row[0])


def _lookup(session: Session) -> rules.Node:
    def node(level: int, index: int) -> bytes:
        row = session.one('SELECT hash FROM ledger_nodes WHERE level = ? AND "index" = ?', (level, index))
        if row is None:
            raise NotFound(f"the book has no tree node {level}/{index}", code="not-found")
        return bytes(row[0])

    return node
