"""The book in one SQLite file: WAL, `synchronous=FULL`, strict tables, one writer at a time."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from stellwerk.core.clock import monotonic
from stellwerk.core.errors import Bug, Corrupt, NotFound, StellwerkError
from stellwerk.core.files import sync_folder
from stellwerk.ledger.dialects.port import Session
from stellwerk.ledger.dialects.sqlite_pool import Pool
from stellwerk.ledger.failures import busy, full, unusable
from stellwerk.ledger.roster import APPEND_ONLY
from stellwerk.ledger.turns import Queue

BUSY_MILLISECONDS = 15_000
SCRUB_SECONDS = 5.0

_GUARDS = {
    f"{table}_no_{verb.lower()}": f"BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    for table in APPEND_ONLY
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


class SQLite:
    """One file. Many threads and processes use it; writers take turns."""

    name = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._queue = Queue(path.with_name(f"{path.name}-queue"))
        self._pool = Pool(self.path, _configure, timeout=BUSY_MILLISECONDS / 1000)

    def check_present(self) -> None:
        if not self.path.is_file():
            raise NotFound("there is no book here", hint="`stellwerk init` begins one")

    def reader(self) -> Session:
        session = self._pool.take()
        try:
            session.run("BEGIN DEFERRED")
        except BaseException:
            session.close()
            raise
        return session

    def writer(self) -> Session:
        session = self._pool.take()
        try:
            # SQLite's own waiting sleeps up to 100 ms at a time; `begin_writing` has a better one.
            session.run("PRAGMA busy_timeout=0").close()
            session.run("PRAGMA cache_size=-65536").close()  # a large change is written once, not page by page
        except BaseException:
            session.close()
            raise
        return session

    def begin_writing(self, session: Session) -> None:
        deadline, pause = monotonic() + BUSY_MILLISECONDS / 1000, 0.0001
        with self._queue.place(deadline):  # one process at a time tries, so it may do so often
            while True:
                try:
                    session.run("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError as cause:
                    if _code(cause) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or monotonic() > deadline:
                        raise
                time.sleep(pause)  # SQLite has no lock that one could wait for, only one to ask for again
                pause = min(pause * 1.5, 0.005)

    def in_transaction(self, session: Session) -> bool:
        return bool(session.raw.in_transaction)

    def commit(self, session: Session) -> None:
        session.run("COMMIT")

    def committed(self, session: Session) -> bool:
        return not self.in_transaction(session)

    def is_lost(self, cause: BaseException) -> bool:
        return False

    def scrub(self) -> bool:
        # Deleted cells are zeroed (`secure_delete`); what they were still stands in the write-ahead log.
        deadline = monotonic() + SCRUB_SECONDS
        session = self._pool.take()
        try:
            while True:
                busy, _, _ = session.one("PRAGMA wal_checkpoint(TRUNCATE)")
                if not busy or monotonic() > deadline:
                    return not busy
                time.sleep(0.02)  # readers hold the log; when they are done is theirs to know
        finally:
            session.release()

    def present(self, session: Session) -> set[str]:
        found = session.run("SELECT name FROM sqlite_master WHERE type IN ('table', 'trigger')")
        return {str(name) for (name,) in found}

    def prepare(self) -> None:
        from stellwerk.ledger.tables import whole

        whole()
        self._pool.prepare()

    def complete(self, session: Session) -> None:
        from stellwerk.ledger.tables import whole

        whole().create_all(session.connection)
        for name, body in _GUARDS.items():
            session.run(f"CREATE TRIGGER IF NOT EXISTS {name} {body}")

    def safeguard(self, session: Session, schema: str) -> str:
        # Others cannot write now, and what is committed is what another connection sees.
        target = self.path.with_name(f"{self.path.name}-schema-{schema}")
        copy_file(self.path, target)
        return target.name

    def guards(self) -> set[str]:
        return set(_GUARDS)

    def explain(self, cause: Exception) -> StellwerkError | None:
        cause = getattr(cause, "orig", None) or cause
        if not isinstance(cause, sqlite3.Error):
            return None
        code = _code(cause)
        if code == sqlite3.SQLITE_FULL:
            return full()
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return busy()
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return Corrupt("the database file is damaged", code="corrupt-database", hint="restore it from a backup")
        if isinstance(cause, sqlite3.OperationalError):
            return unusable(str(cause))
        return Bug(f"the database refused a statement: {cause}")

    def close(self) -> None:
        self._pool.close()
        self._queue.close()


def copy_file(source: Path, target: Path) -> None:
    """A consistent, durable copy of a database at one moment, whatever is written meanwhile; replaces the target."""
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        old = sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)
        with closing(old), closing(sqlite3.connect(partial)) as new:
            old.backup(new)
            new.execute("PRAGMA journal_mode=DELETE")  # one file, with nothing beside it
        descriptor = os.open(partial, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        partial.replace(target)
        sync_folder(target.parent)
    except OSError as cause:
        raise full() if cause.errno == errno.ENOSPC else unusable(cause.strerror or "unknown reason") from cause
    finally:
        partial.unlink(missing_ok=True)


def _code(cause: Exception) -> int:
    return int(getattr(cause, "sqlite_errorcode", 0)) & 0xFF


def _configure(connection: sqlite3.Connection) -> None:
    _use_wal(connection)
    for pragma in (
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_MILLISECONDS}",
        "trusted_schema=OFF",
        "cell_size_check=ON",
        "secure_delete=ON",
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
            if _code(cause) != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
            time.sleep(0.005)  # as above: a lock that can only be asked for again
    if mode != "wal":
        raise unusable(f"its file system does not carry a write-ahead log (journal mode {mode!r})")
