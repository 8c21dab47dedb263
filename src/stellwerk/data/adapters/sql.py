"""Queries of databases as sources: one SELECT, in one snapshot, by a connection that can only read."""

from __future__ import annotations

import re
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from stellwerk.core.errors import Invalid, NotFound, StellwerkError, Unavailable
from stellwerk.data.adapters.places import Places, path_of
from stellwerk.data.sources.model import Content, Source

PART = "rows"
SECONDS = 600
MOST_ROWS = 20_000_000
_QUERY = "?query="
_BEGINS = re.compile(r"(?:select|with|values)\b", re.IGNORECASE)
_NO_TABLE = {"42P01", "3F000"}
_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_STEPS = 100_000


class SqlReader:
    """Reads `sql:NAME?query=SELECT …` from databases that the operator named.

    Args:
        urls: Name to database URL, which may hold a password and is never shown.
    """

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = dict(urls)

    def list(self, source: Source) -> Sequence[str]:
        _split(source)
        return (PART,)

    def read(self, source: Source, part: str, version: str = "") -> Content:
        name, statement = _split(source)
        _only(part)
        text = self._urls.get(name.lower())
        if text is None:
            raise Invalid(
                f"no database is called {name[:40]!r} here (known: {', '.join(sorted(self._urls)) or 'none'})",
                code="unknown-database",
                hint=f"STELLWERK_SQL_{re.sub('[^A-Za-z0-9]', '_', name[:40]).upper()} names its URL",
            )
        try:
            url = make_url(text)
            kind = url.get_backend_name()
        except (ArgumentError, ValueError) as cause:
            raise Invalid(f"the URL of the database {name!r} cannot be read", code="invalid-setting") from cause
        if kind == "sqlite" and url.database:
            return _sqlite(Path(url.database), statement, name)
        if kind == "postgresql":
            return _postgresql(text, statement, name)
        raise Invalid(
            f"databases of kind {kind!r} cannot be read (expected postgresql or sqlite)", code="unknown-database"
        )


class SqliteReader:
    """Reads `sqlite:PATH?query=SELECT …` below some folders, or below any."""

    def __init__(self, folders: Sequence[Path] | None = None) -> None:
        self._admit = Places(folders).admit

    def list(self, source: Source) -> Sequence[str]:
        _split(source)
        self._admit(path_of(source))
        return (PART,)

    def read(self, source: Source, part: str, version: str = "") -> Content:
        _, statement = _split(source)
        _only(part)
        path = self._admit(path_of(source))
        return _sqlite(path, statement, path.name)


def _split(source: Source) -> tuple[str, str]:
    """The database and the statement of a source."""
    name, mark, statement = source.location.partition(_QUERY)
    statement = statement.strip().removesuffix(";").rstrip()
    if not mark or not name:
        raise Invalid(
            "a query needs a database and a statement", code="invalid-source", hint="sql:warehouse?query=SELECT …"
        )
    if not _BEGINS.match(statement) or ";" in statement or "\0" in statement:
        raise Invalid(
            "the statement of a source must be one SELECT without a semicolon",
            code="not-a-select",
            hint="make a view of what is more than that",
        )
    return name, statement


def _only(part: str) -> None:
    if part != PART:
        raise Invalid(f"{part[:60]!r} is no part of a query", code="invalid-source")


# SQLite


def _sqlite(path: Path, statement: str, name: str) -> Content:
    if not path.is_file():
        raise NotFound(f"there is no database file {path.name!r}", code="file-not-found", hint="check the path")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.isolation_level = None
            connection.execute("PRAGMA query_only = ON")
            journal = connection.execute("PRAGMA journal_mode").fetchone()[0]
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the snapshot begins with a read
            version = "" if journal == "wal" else f"change-{_counter(path)}"
            connection.set_authorizer(_authorize)
            until = time.monotonic() + SECONDS
            connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
            with closing(connection.execute(statement)) as cursor:
                return _content(cursor, version)
    except sqlite3.Error as cause:
        raise _refusal(name, str(cause), missing="no such table" in str(cause)) from cause


def _authorize(action: int, first: str | None, second: str | None, _database: str | None, _by: str | None) -> int:
    """Reading only: also a statement that slipped through every other check attaches, writes and loads nothing."""
    harmless = action in _READS and second != "load_extension"
    return sqlite3.SQLITE_OK if harmless else sqlite3.SQLITE_DENY


def _counter(path: Path) -> int:
    """How often the file was changed, by its header."""
    with path.open("rb") as file:
        return int.from_bytes(file.read(28)[24:28], "big")


# PostgreSQL


def _postgresql(url: str, statement: str, name: str) -> Content:
    with _connection(url, name) as connection:
        try:
            with closing(connection.cursor()) as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                cursor.execute(f"SET LOCAL statement_timeout = '{SECONDS}s'")
                cursor.execute("SET LOCAL TIME ZONE 'UTC'")
                cursor.execute("SELECT pg_current_snapshot()::text")
                version = str(cursor.fetchone()[0])
            # A cursor on the server takes one SELECT and nothing else.
            with closing(connection.cursor("stellwerk_source")) as cursor:
                cursor.execute(statement)
                return _content(cursor, version)
        except StellwerkError:
            raise
        except Exception as cause:  # the driver's own, which only its extra can name
            state = getattr(cause, "sqlstate", None) or ""
            said = getattr(getattr(cause, "diag", None), "message_primary", None) or "it gave no reason"
            if state[:2] in ("08", "57", "53", ""):
                raise _unreachable(name) from cause
            raise _refusal(name, said, missing=state in _NO_TABLE) from cause


@contextmanager
def _connection(url: str, name: str) -> Iterator[Any]:
    """A connection of the driver itself: a statement must reach the server as it was written."""
    try:
        parsed = make_url(url)
        driver = parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed
        engine = create_engine(driver, connect_args={"connect_timeout": 10})
        try:
            raw = engine.raw_connection()
        except BaseException:
            engine.dispose()
            raise
    except (ImportError, NoSuchModuleError) as cause:
        raise Unavailable(
            "this installation cannot talk to PostgreSQL",
            code="needs-extra",
            hint="pip install 'stellwerk[postgres]'",
        ) from cause
    except Exception as cause:  # the driver's own, which only its extra can name
        raise _unreachable(name) from cause
    try:
        yield raw.driver_connection
    finally:
        raw.invalidate()
        engine.dispose()


def _unreachable(name: str) -> Unavailable:
    # What drivers say about connections names hosts, users and more.
    return Unavailable(
        f"the database {name!r} does not answer, or does not let us in",
        code="database-unreachable",
        hint=f"check STELLWERK_SQL_{name.upper()}",
    )


def _refusal(name: str, said: str, *, missing: bool) -> StellwerkError:
    line = said.partition("\n")[0][:200]
    if missing:
        return NotFound(f"the database {name!r} has no such table: {line}", code="no-such-table")
    return Invalid(f"the database {name!r} refuses the statement: {line}", code="statement-refused")


# Rows


def _content(cursor: Any, version: str) -> Content:
    names = [column[0] for column in cursor.description]
    if len(set(names)) != len(names) or not all(names):
        raise Invalid("the query names a column twice, or not at all", code="duplicate-column", hint="use AS")
    rows: list[Any] = []
    while some := cursor.fetchmany(50_000):
        rows += some
        if len(rows) > MOST_ROWS:
            raise Invalid(f"the query gives more than {MOST_ROWS:,} rows", code="too-large", hint="narrow it")
    columns = {name: _column(name, [row[at] for row in rows]) for at, name in enumerate(names)}
    return Content(data=pl.DataFrame(columns), version=version, ordered=False)


_PLAIN: dict[type, Callable[[Any], Any]] = {uuid.UUID: str, memoryview: bytes}


def _column(name: str, values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    for kind in kinds & _PLAIN.keys():
        values = [_PLAIN[kind](value) if type(value) is kind else value for value in values]
    if kinds == {int, float}:
        values = [None if value is None else float(value) for value in values]
    elif len(kinds) > 1:
        shown = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise Invalid(
            f"column {name!r} holds values of several kinds: {shown}",
            code="mixed-types",
            hint="use CAST in the query",
        )
    try:
        series = (
            pl.Series(name, values, strict=False) if kinds != {bool} else pl.Series(name, values, dtype=pl.Boolean)
        )
    except (pl.exceptions.PolarsError, TypeError, OverflowError) as cause:
        raise Invalid(
            f"column {name!r} has no table form", code="mixed-types", hint="use CAST in the query"
        ) from cause
    if series.dtype == pl.Object:
        raise Invalid(f"column {name!r} has no table form", code="mixed-types", hint="use CAST in the query")
    return series
