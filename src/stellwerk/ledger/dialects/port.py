"""What the book asks of a database."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import sqlalchemy as sa

from stellwerk.core.errors import StellwerkError


class Session:
    """One connection: through SQLAlchemy for statements of rooms, and through its driver where each microsecond counts.

    Statements for the driver are written with `?`.
    """

    def __init__(self, connection: sa.Connection, *, mark: str = "?") -> None:
        self.connection = connection
        self.raw: Any = connection.connection.dbapi_connection
        self.token = ""
        """Names the transaction that was begun last, for a dialect that asks for its outcome later."""
        self._mark = mark
        self._spelled: dict[str, str] = {}

    def run(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """One statement; returns the driver's cursor."""
        return self.raw.execute(self._spell(statement), values) if values else self.raw.execute(statement)

    def run_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """One statement for each row."""
        self.raw.cursor().executemany(self._spell(statement), rows)

    def one(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """The first row, or None."""
        return self.run(statement, values).fetchone()

    def stream(self, statement: str) -> Any:
        """A cursor over many rows, that does not fetch all of them at once."""
        if self._mark == "?":
            return self.raw.execute(statement)
        cursor = self.raw.cursor(f"stream_{secrets.token_hex(8)}")
        return cursor.execute(statement)

    def close(self) -> None:
        """Give the connection up, in whatever state it is."""
        with suppress(Exception):
            self.connection.invalidate()
        with suppress(Exception):
            self.connection.close()

    def _spell(self, statement: str) -> str:
        if self._mark == "?":
            return statement
        spelled = self._spelled.get(statement)
        if spelled is None:
            spelled = self._spelled[statement] = statement.replace("?", self._mark)
        return spelled


class Dialect(Protocol):
    """A database that a book may lie in. One per process and book; safe for many threads."""

    name: str
    engine: sa.Engine

    def check_present(self) -> None:
        """Raises `NotFound` where there is no database to open; `begin_writing` may make one."""
        ...

    def reader(self) -> Session:
        """A connection out of the pool, with a snapshot begun. Closing the connection gives both back."""
        ...

    def writer(self) -> Session:
        """A connection for `begin_writing`, to be kept."""
        ...

    def begin_writing(self, session: Session) -> None:
        """Begin the one write transaction, waiting for others; nobody else writes until it ends."""
        ...

    def in_transaction(self, session: Session) -> bool:
        """Whether what was begun is still open and can be committed."""
        ...

    def commit(self, session: Session) -> None:
        """Make durable what was begun. Where the answer was lost, find out; raising means that nothing was kept."""
        ...

    def committed(self, session: Session) -> bool:
        """Whether a `commit` that was interrupted took place."""
        ...

    def is_lost(self, cause: BaseException) -> bool:
        """Whether the connection is gone, so that another one may do better."""
        ...

    def scrub(self) -> bool:
        """Overwrite what deleted rows left behind, and say whether nothing of it is left in the database's files."""
        ...

    def present(self, session: Session) -> set[str]:
        """Names of the tables and guards there are."""
        ...

    def complete(self, session: Session) -> None:
        """Make the tables and guards that are missing."""
        ...

    def safeguard(self, session: Session, schema: str) -> str:
        """Copy everything as it is, before a migration inside this transaction; says where the copy is."""
        ...

    def guards(self) -> set[str]:
        """Names of what keeps the book append-only."""
        ...

    def explain(self, cause: Exception) -> StellwerkError | None:
        """An error of the driver, or of SQLAlchemy, in our words; None for what is no error of the database."""
        ...

    def close(self) -> None:
        """Release all connections. The next use opens new ones."""
        ...
