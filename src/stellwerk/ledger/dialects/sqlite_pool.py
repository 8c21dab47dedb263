"""Connections to one SQLite file, straight from its driver. SQLAlchemy goes around one where somebody asks for that."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stellwerk.core.errors import Unavailable

if TYPE_CHECKING:
    import sqlalchemy as sa

MOST = 32
"""Connections that are somebody's at the same time."""
KEPT = 8
"""Connections that are kept open for whoever comes next."""
WAIT_SECONDS = 30.0


class Connected:
    """A connection out of a pool."""

    misfit: type[Exception] = sqlite3.IntegrityError

    def __init__(self, raw: sqlite3.Connection, pool: Pool, age: int) -> None:
        self.raw: Any = raw
        self.token = ""
        self.age = age
        self._pool = pool

    @cached_property
    def connection(self) -> sa.Connection:
        return self._pool.around(self.raw)

    def run(self, statement: str, values: Sequence[Any] = ()) -> Any:
        return self.raw.execute(statement, values)

    def run_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        self.raw.executemany(statement, rows)

    def one(self, statement: str, values: Sequence[Any] = ()) -> Any:
        return self.raw.execute(statement, values).fetchone()

    def stream(self, statement: str) -> Any:
        return self.raw.execute(statement)

    def release(self) -> None:
        try:
            if "connection" in self.__dict__:
                self.connection.rollback()  # for SQLAlchemy, which thinks that it began one
            if self.raw.in_transaction:
                self.raw.execute("ROLLBACK")
        except Exception:  # noqa: BLE001 - what cannot take back what it began is of no use to anybody
            self.close()
            return
        except BaseException:
            self.close()
            raise
        self._pool.keep(self)

    def close(self) -> None:
        self.end()
        self._pool.forget()

    def end(self) -> None:
        """Close it, in whatever state it is."""
        if "connection" in self.__dict__:
            with suppress(Exception):
                self.connection.close()
        with suppress(Exception):
            self.raw.close()


class Pool:
    """The connections of one process to one file. Safe for many threads.

    Args:
        configure: Told each new connection.
    """

    def __init__(self, path: Path, configure: Callable[[sqlite3.Connection], None], *, timeout: float) -> None:
        self._path, self._configure, self._timeout = path, configure, timeout
        self._free: list[Connected] = []
        self._age = 0
        self._changing = threading.Lock()
        self._places = threading.BoundedSemaphore(MOST)
        self._wrapping = threading.Lock()
        self._to_wrap: sqlite3.Connection | None = None

    def take(self) -> Connected:
        """A connection in no transaction. Raises `Unavailable` where too many are somebody's for too long."""
        if not self._places.acquire(timeout=WAIT_SECONDS):
            raise Unavailable(
                "too many transactions are open at once", code="database-busy", hint="wait and try again"
            )
        try:
            with self._changing:
                age, session = self._age, self._free.pop() if self._free else None
            return session or self._connect(age)
        except BaseException:
            self._places.release()
            raise

    def keep(self, session: Connected) -> None:
        """Somebody needs a connection no more."""
        with self._changing:
            kept = session.age == self._age and len(self._free) < KEPT
            if kept:
                self._free.append(session)
        if not kept:
            session.end()
        self._places.release()

    def forget(self) -> None:
        """Somebody closed a connection."""
        self._places.release()

    def close(self) -> None:
        """Close what nobody holds now, and the rest when it is given back. The next use opens new ones."""
        with self._changing:
            self._age += 1
            outdated, self._free = self._free, []
        for session in outdated:
            session.end()

    def prepare(self) -> None:
        """Load what goes around connections."""
        with self._wrapping:
            _ = self._engine

    def around(self, raw: sqlite3.Connection) -> sa.Connection:
        """A connection of SQLAlchemy's that is this one, and closes it when it is closed."""
        with self._wrapping:
            engine = self._engine
            self._to_wrap = raw
            try:
                return engine.connect()
            finally:
                self._to_wrap = None

    @cached_property
    def _engine(self) -> sa.Engine:
        import sqlalchemy as sa

        engine = sa.create_engine(
            "sqlite://",
            creator=lambda: self._to_wrap,
            poolclass=sa.pool.NullPool,
            skip_autocommit_rollback=True,  # transactions are begun and taken back here, and never by SQLAlchemy
        )
        # What it asks its first connection must not be asked inside a transaction of ours.
        self._to_wrap = sqlite3.connect(":memory:")
        engine.connect().close()
        return engine

    def _connect(self, age: int) -> Connected:
        raw = sqlite3.connect(
            self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        try:
            self._configure(raw)
        except BaseException:
            raw.close()
            raise
        return Connected(raw, self, age)
