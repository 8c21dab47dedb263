"""What the book asks of a database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from stellwerk.core.errors import StellwerkError

if TYPE_CHECKING:
    import sqlalchemy as sa


class Session(Protocol):
    """One connection, which is somebody's until it is released."""

    raw: Any
    """That of the driver."""
    token: str
    """Names the transaction that was begun last, for a dialect that asks for its outcome later."""
    misfit: type[Exception]
    """What the driver raises where a row does not fit its table."""

    @property
    def connection(self) -> sa.Connection:
        """The same connection for statements that were made with SQLAlchemy."""
        ...

    def run(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """One statement, written with `?`; returns the driver's cursor."""
        ...

    def run_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """One statement for each row."""
        ...

    def one(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """The first row, or None."""
        ...

    def stream(self, statement: str) -> Any:
        """A cursor over many rows, that does not fetch all of them at once."""
        ...

    def release(self) -> None:
        """Take back what was begun, and leave the connection to others."""
        ...

    def close(self) -> None:
        """Give the connection up, in whatever state it is."""
        ...


class Dialect(Protocol):
    """A database that a book may lie in. One per process and book; safe for many threads."""

    name: str

    def check_present(self) -> None:
        """Raises `NotFound` where there is no database to open; `begin_writing` may make one."""
        ...

    def reader(self) -> Session:
        """A connection out of the pool, with a snapshot begun. Releasing it gives both back."""
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

    def prepare(self) -> None:
        """Load what `complete` and migrations need, so that nobody waits for that behind this process's writing."""
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
