"""Where the book of a workspace lies: a file in its folder, or a PostgreSQL server that the settings name."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Literal

from stellwerk.core.clock import Clock
from stellwerk.core.errors import Invalid
from stellwerk.ledger.database import Database
from stellwerk.ledger.model import Finding
from stellwerk.ledger.verify import Check, verify_book
from stellwerk.workspace import shelving
from stellwerk.workspace.layout import Layout
from stellwerk.workspace.settings import Settings


def open_database(layout: Layout, settings: Settings, clock: Clock) -> Database:
    """The database of a workspace, not yet looked at."""
    shelving.announce()
    if layout.server == "sqlite":
        return Database(layout.database, clock)
    address = url(settings)
    from stellwerk.ledger.dialects.postgresql import PostgreSQL

    return Database(PostgreSQL(address), clock)


def verify(
    layout: Layout, settings: Settings, check: Check, notes: Iterable[str], public_key: bytes | None
) -> tuple[int, list[Finding]]:
    """Verify the whole book, by code that shares nothing with the one that writes."""
    if layout.server == "sqlite":
        return verify_book(layout.database, layout.identity, check, notes, public_key=public_key)
    from stellwerk.ledger.adapters.postgresql_reader import verify_server

    return verify_server(url(settings), layout.identity, check, notes, public_key=public_key)


def stored_entries(layout: Layout, settings: Settings) -> Iterator[tuple[int, str, bytes]]:
    """Sequence, kind and bytes of all entries, read without the writer's code."""
    if layout.server == "sqlite":
        place = f"{layout.database.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(place, uri=True)) as connection:
            yield from connection.execute("SELECT sequence, kind, bytes FROM ledger_entries ORDER BY sequence")
        return
    from stellwerk.ledger.adapters.postgresql_reader import stored_entries as on_server

    yield from on_server(url(settings))


def chosen(settings: Settings, database: str | None) -> tuple[Literal["sqlite", "postgresql"], Settings]:
    """Which database somebody asked for: none, `postgresql` where the settings say, or an address."""
    if not database:
        return "sqlite", settings
    if database != "postgresql":
        settings = replace(settings, database_url=database)
    url(settings)
    return "postgresql", settings


def url(settings: Settings) -> str:
    """The address of the server. Raises `Invalid` where nobody said it."""
    if not settings.database_url:
        raise Invalid(
            "this workspace keeps its book on PostgreSQL, and nobody said where",
            code="needs-database",
            hint="set STELLWERK_DATABASE_URL to postgresql://user:password@host/name",
        )
    return settings.database_url
