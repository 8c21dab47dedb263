"""Queries as sources: SQLite and PostgreSQL under one contract, reading only, one SELECT, no credentials anywhere."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stellwerk.core.errors import Invalid, NotFound, Refused, StellwerkError, Unavailable
from stellwerk.data.adapters.sql import SqliteReader, SqlReader
from stellwerk.data.sources import rules, service
from stellwerk.data.sources.ports import Reader
from stellwerk.testing.postgres import Server, postgres
from stellwerk.testing.sources import ROWS, SourceContract

__all__ = ["postgres"]


class Table:
    """Rows in a table of a database."""

    def __init__(self, source: str) -> None:
        self.source = source

    def connect(self) -> Any:
        raise NotImplementedError

    def run(self, statements: list[str], rows: list[tuple[Any, ...]] = (), insert: str = "") -> None:  # type: ignore[assignment]
        with closing(self.connect()) as connection, closing(connection.cursor()) as cursor:
            for statement in statements:
                cursor.execute(statement)
            if rows:
                cursor.executemany(insert, rows)
            connection.commit()

    mark = "?"

    def fill(self, rows: pl.DataFrame) -> None:
        made = "CREATE TABLE rows (id BIGINT, weight DOUBLE PRECISION, depot TEXT)"
        insert = f"INSERT INTO rows VALUES ({self.mark}, {self.mark}, {self.mark})"
        self.run(["DROP TABLE IF EXISTS rows", made], rows.rows(), insert)

    def remove(self) -> None:
        self.run(["DROP TABLE rows"])


class Lite(Table):
    def __init__(self, path: Path) -> None:
        super().__init__(f"sqlite:{path}?query=SELECT * FROM rows")
        self.path = path

    def connect(self) -> Any:
        return sqlite3.connect(self.path)


class Postgres(Table):
    mark = "%s"

    def __init__(self, url: str) -> None:
        super().__init__("sql:lake?query=SELECT * FROM rows WHERE depot IS NULL OR depot LIKE '%' OR id % 2 = 0")
        self.url = url

    def connect(self) -> Any:
        import psycopg

        return psycopg.connect(self.url)


class TestSqlite(SourceContract):
    @pytest.fixture
    def reader(self) -> Reader:
        return SqliteReader()

    @pytest.fixture
    def place(self, tmp_path: Path) -> Lite:
        return Lite(tmp_path / "rows #% ü.db")


class TestNamedSqlite(SourceContract):
    """A database that the operator named, with a journal of its own."""

    @pytest.fixture
    def reader(self, tmp_path: Path) -> Reader:
        return SqlReader({"lake": f"sqlite:///{tmp_path}/rows.db"})

    @pytest.fixture
    def place(self, tmp_path: Path) -> Lite:
        lite = Lite(tmp_path / "rows.db")
        lite.source = "sql:Lake?query=WITH r AS (SELECT * FROM rows) SELECT * FROM r;"
        lite.run(["PRAGMA journal_mode = WAL"])
        return lite


class TestPostgres(SourceContract):
    @pytest.fixture
    def url(self, postgres: Server) -> str:
        return postgres.new_database()

    @pytest.fixture
    def reader(self, url: str) -> Reader:
        return SqlReader({"lake": url})

    @pytest.fixture
    def place(self, url: str) -> Postgres:
        return Postgres(url)

    def test_the_pin_names_the_snapshot(self, reader: Reader, place: Postgres) -> None:
        """What the engine calls the state that was read."""
        (part,) = service.pin(self.source(place), self.readers(reader))[0].parts

        assert 2 == part.version.count(":")
        assert ("rows", 4) == (part.form, part.rows)

    @pytest.mark.parametrize(
        "statement",
        [
            "WITH gone AS (DELETE FROM rows RETURNING *) SELECT * FROM gone", "SELECT * INTO other FROM rows",
            "SELECT set_config('transaction_read_only', 'off', false), setval('numbers', 9)", "SELECT nextval('numbers')",
            "SELECT * FROM rows FOR UPDATE",
        ],
    )  # fmt: skip
    def test_nothing_is_changed(self, reader: Reader, place: Postgres, statement: str) -> None:
        """Whatever a SELECT may hide, the transaction can only read."""
        place.run(["CREATE SEQUENCE IF NOT EXISTS numbers"])
        with pytest.raises(Invalid) as caught:
            service.pin(rules.parse(f"sql:lake?query={statement}"), self.readers(reader))

        assert "statement-refused" == caught.value.code
        place.source = "sql:lake?query=SELECT * FROM rows"
        assert ROWS.height == service.pin(self.source(place), self.readers(reader))[0].rows

    def test_what_is_made_beside_the_tables_is_undone(self, reader: Reader, place: Postgres) -> None:
        """PostgreSQL lets some functions write in a reading transaction; it is never committed."""
        service.pin(rules.parse("sql:lake?query=SELECT lo_create(4711)::bigint AS made"), self.readers(reader))

        objects = "sql:lake?query=SELECT count(*) AS objects FROM pg_largeobject_metadata"
        assert [0] == service.pin(rules.parse(objects), self.readers(reader))[1]["objects"].to_list()

    def test_types_become_columns(self, reader: Reader, place: Postgres) -> None:
        """Numbers, times, flags, ids and bytes; the session's time zone does not matter."""
        query = (
            "SELECT 1.50::numeric AS amount, true AS flag, DATE '2026-05-01' AS day, "
            "TIMESTAMPTZ '2026-05-01 12:00:00+02' AS at, '6f1c1f2e-0000-4000-8000-000000000000'::uuid AS id, "
            "'\\x00ff'::bytea AS bytes, NULL::int AS nothing"
        )
        pinned, rows = service.pin(rules.parse(f"sql:lake?query={query}"), self.readers(reader))

        assert "2026-05-01T10:00:00+00:00" == rows["at"][0].isoformat()
        assert (True, "6f1c1f2e-0000-4000-8000-000000000000", b"\x00\xff", None) == tuple(
            rows[name][0] for name in ("flag", "id", "bytes", "nothing")
        )
        assert 1.5 == float(rows["amount"][0])
        assert service.verify(pinned, self.readers(reader)).ok

    def test_an_address_is_never_repeated(self, postgres: Server) -> None:
        """Neither user, password nor host, when nobody answers or the door is shut."""
        for url in (
            postgres.url("missing").replace("stellwerk@", "stellwerk:canary@"),
            "postgresql://anna:canary@127.0.0.1:1/canary",
            "postgresql://anna:canary@[::bad/canary",
        ):
            with pytest.raises((Unavailable, Invalid)) as caught:
                SqlReader({"lake": url}).read(rules.parse("sql:lake?query=SELECT 1 AS x"), "rows")
            assert "canary" not in str(caught.value) + caught.value.hint
            assert "anna" not in str(caught.value) + caught.value.hint


# One SELECT

NO_SELECT = [
    "", "DELETE FROM rows", "SELECT 1; DROP TABLE rows", "ATTACH 'x.db' AS y", "PRAGMA table_info(rows)", "VACUUM",
    "INSERT INTO rows VALUES (1, 2, 3)", "EXPLAIN SELECT 1", "COPY rows TO '/tmp/x'", "SELECTED", "/* */ SELECT 1",
    "SET x = 1", "SELECT 1 AS x\0", "SELECT ';' AS x",
]  # fmt: skip


@pytest.mark.parametrize("statement", NO_SELECT)
def test_only_one_select_is_a_source(tmp_path: Path, statement: str) -> None:
    """Refused before a database is opened."""
    with pytest.raises(Invalid) as caught:
        SqliteReader().read(rules.parse(f"sqlite:{tmp_path}/none.db?query={statement}"), "rows")
    assert caught.value.code in ("not-a-select", "invalid-source")


HIDDEN = [
    "WITH x AS (SELECT 1) DELETE FROM rows", "WITH x AS (SELECT 1 AS a) INSERT INTO rows SELECT a, a, a FROM x",
    "SELECT load_extension('x')", "SELECT * FROM pragma_table_info('rows')",
    "SELECT readfile('/etc/passwd') AS x", "SELECT nothing FROM rows", "VALUES (1), ('a', 2)",
]  # fmt: skip


@pytest.mark.parametrize("statement", HIDDEN)
def test_sqlite_only_reads(tmp_path: Path, statement: str) -> None:
    """Writing, attaching, loading and looking around are refused by the engine; the rows are what they were."""
    lite = Lite(tmp_path / "rows.db")
    lite.fill(ROWS)
    before = lite.path.read_bytes()

    with pytest.raises(Invalid) as caught:
        SqliteReader().read(rules.parse(f"sqlite:{lite.path}?query={statement}"), "rows")
    assert "statement-refused" == caught.value.code
    assert before == lite.path.read_bytes()


def test_an_order_of_the_engine_means_nothing(tmp_path: Path) -> None:
    """The same rows in another order are the same pin, and come in one order."""
    lite = Lite(tmp_path / "rows.db")
    found = []
    for rows in (ROWS, ROWS.reverse()):
        lite.fill(rows)
        found.append(service.pin(rules.parse(lite.source), lambda _: SqliteReader()))

    assert found[0][0].parts[0].digest == found[1][0].parts[0].digest
    assert found[0][1].equals(found[1][1])


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    """Columns of several kinds, names given twice, nothing at all: each with what to do."""
    reader, lite = SqliteReader(), Lite(tmp_path / "rows.db")
    lite.fill(ROWS)
    for query, code in (
        ("SELECT 1 AS x UNION SELECT 'a'", "mixed-types"),
        ("SELECT id, weight AS id FROM rows", "duplicate-column"),
        ("SELECT * FROM rows WHERE id > 99", "empty-table"),
    ):
        with pytest.raises(Invalid) as caught:
            service.pin(rules.parse(f"sqlite:{lite.path}?query={query}"), lambda _: reader)
        assert code == caught.value.code


def test_databases_are_named_by_the_operator(tmp_path: Path) -> None:
    """Another name, another kind, a file that is not there or no database: each says so."""
    (tmp_path / "text.db").write_text("this is no database, though it has some length to it" * 100)
    reader = SqlReader({"lake": "mysql://u:canary@h/x", "gone": f"sqlite:///{tmp_path}/gone.db", "odd": "canary"})

    for name, kind in (("other", Invalid), ("lake", Invalid), ("gone", NotFound), ("odd", Invalid)):
        with pytest.raises(kind) as caught:
            reader.read(rules.parse(f"sql:{name}?query=SELECT 1 AS x"), "rows")
        assert "canary" not in str(caught.value) + caught.value.hint
    with pytest.raises(StellwerkError) as caught_too:
        SqliteReader().read(rules.parse(f"sqlite:{tmp_path}/text.db?query=SELECT 1 AS x"), "rows")
    assert "statement-refused" == caught_too.value.code


def test_files_outside_are_no_databases(tmp_path: Path) -> None:
    """A reader that is held to a folder opens no database beside it."""
    lite = Lite(tmp_path / "rows.db")
    lite.fill(ROWS)

    with pytest.raises(Refused):
        SqliteReader([tmp_path / "inside"]).read(rules.parse(lite.source), "rows")
    assert 4 == SqliteReader([tmp_path]).read(rules.parse(lite.source), "rows").data.height  # type: ignore[union-attr]
