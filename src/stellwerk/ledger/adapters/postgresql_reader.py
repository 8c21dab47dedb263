"""Reading a book on PostgreSQL for verification: the driver and nothing of the code that writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from stellwerk.core.errors import Unavailable
from stellwerk.ledger.model import Finding
from stellwerk.ledger.verify import Check, Verification, verify_tables

_AT_ONCE = 2000


def verify_server(
    url: str, origin: str, check: Check, notes: Iterable[str] = (), *, public_key: bytes | None = None
) -> tuple[int, list[Finding]]:
    """Verify a book on a server as `verify_book` does a file. Raises `Unavailable` where it cannot be reached."""
    verification = Verification(origin, check, public_key)
    with opened(url) as snapshot:
        try:
            verify_tables(verification, snapshot, notes)
        except (psycopg.DataError, psycopg.ProgrammingError, psycopg.InternalError) as cause:
            verification.report(f"the database cannot be read: {_reason(cause)}")
    return verification.count, verification.findings


def stored_entries(url: str) -> Iterator[tuple[int, str, bytes]]:
    """Sequence, kind and bytes of all entries, in order."""
    with opened(url) as snapshot:
        yield from snapshot.execute("SELECT sequence, kind, bytes FROM ledger_entries ORDER BY sequence")


class Snapshot:
    """One moment of the database; rows come a few thousand at a time."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._count = 0

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        self._count += 1
        cursor = self._connection.cursor(f"rows_{self._count}")
        cursor.itersize = _AT_ONCE
        return cursor.execute(statement.replace("?", "%s").encode(), values or None)


@contextmanager
def opened(url: str) -> Iterator[Snapshot]:
    """A snapshot for reading only, at one moment, whatever is written meanwhile."""
    try:
        with psycopg.connect(url.replace("postgresql+psycopg:", "postgresql:", 1), connect_timeout=10) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            yield Snapshot(connection)
    except psycopg.OperationalError as cause:
        raise Unavailable(f"the book cannot be read: {_reason(cause)}", code="database-unavailable") from cause


def _reason(cause: Exception) -> str:
    return str(cause).split("\n", 1)[0].rsplit("failed: ", 1)[-1]
