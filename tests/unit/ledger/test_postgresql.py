"""PostgreSQL keeps the book's contract, and its own: guards, settings that must hold, and failures in our words."""

from __future__ import annotations

import pytest

from stellwerk.testing.books import BookContract
from stellwerk.testing.things import OpenBook

pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg

from stellwerk.core.errors import Invalid, NotFound, StellwerkError, Unavailable
from stellwerk.ledger import rules
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.ledger.dialects.port import Session
from stellwerk.ledger.dialects.postgresql import PostgreSQL
from stellwerk.testing.fakes import StandingClock
from stellwerk.testing.postgres import Server

ORIGIN = "example.com/book"


@pytest.fixture
def url(postgres: Server) -> str:
    return postgres.new_database()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    made = Database(PostgreSQL(url), StandingClock())
    made.create(ORIGIN)
    yield made
    made.close()


class TestPostgreSQL(BookContract):
    @pytest.fixture
    def open_book(self, database: Database) -> OpenBook:
        return lambda workspace, actor: WorkspaceBook(database, workspace, actor)


def fill(database: Database, *subjects: str) -> None:
    for subject in subjects:
        with database.write("default", "anna") as tx:
            tx.record("thing.made", subject)


def subjects(database: Database) -> list[str]:
    return [entry.subject for entry in database.entries("default")]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entries SET subject = 'x' WHERE sequence = 1",
        "DELETE FROM ledger_entries WHERE sequence = 2",
        "TRUNCATE ledger_entries",
        "INSERT INTO ledger_entries SELECT 7, workspace, at, actor, kind, 'x', bytes FROM ledger_entries"
        " WHERE sequence = 0",
        "INSERT INTO ledger_entries SELECT 1, workspace, at, actor, kind, 'x', bytes FROM ledger_entries"
        " WHERE sequence = 0 ON CONFLICT (sequence) DO UPDATE SET subject = 'x'",
        "UPDATE ledger_nodes SET hash = '' WHERE level = 0",
        "DELETE FROM ledger_nodes",
        "TRUNCATE ledger_nodes, ledger_checkpoints",
        """INSERT INTO ledger_nodes VALUES (0, 0, '') ON CONFLICT (level, "index") DO UPDATE SET hash = ''""",
        "INSERT INTO ledger_checkpoints VALUES (1, 'x'); DELETE FROM ledger_checkpoints",
    ],
)
def test_the_book_is_append_only(database: Database, url: str, statement: str) -> None:
    """No statement changes, removes, replaces or leaves out an entry, a tree node or a checkpoint."""
    fill(database, "a", "b", "c")

    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        connection.execute(statement)

    assert ["a", "b", "c"] == subjects(database)


def test_the_tree_is_that_of_the_same_entries_in_sqlite(database: Database, tmp_path: Any) -> None:
    """The same changes make the same bytes and the same root in both databases."""
    other = Database(tmp_path / "ledger.db", StandingClock())
    other.create(ORIGIN)
    roots = []
    for book in (database, other):
        fill(book, "a", "ü", "c")
        with book.write("default", "anna") as tx:
            tx.record_many(("thing.made", f"thing:{number}", {"n": number}) for number in range(40))
        with book.snapshot() as session:
            found = session.run('SELECT level, "index", hash FROM ledger_nodes').fetchall()
            nodes = {(level, index): bytes(value) for level, index, value in found}
        roots.append((book.entries("default"), rules.root(43, lambda level, index: nodes[level, index])))  # noqa: B023

    assert roots[0] == roots[1]
    other.close()


def test_a_lost_guard_is_made_again(database: Database, url: str) -> None:
    """Opening a book completes what is missing, also triggers that somebody switched off."""
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE ledger_entries DISABLE TRIGGER ledger_entries_no_change")
        connection.execute("DROP TABLE contract_things")

    assert ORIGIN == database.open()

    with psycopg.connect(url) as connection:
        connection.execute("SELECT * FROM contract_things")
        fill(database, "a")
        with pytest.raises(psycopg.errors.RaiseException):
            connection.execute("DELETE FROM ledger_entries")


def test_a_database_without_a_book_is_not_found(url: str) -> None:
    """And nothing is made in it."""
    empty = Database(PostgreSQL(url), StandingClock())
    with pytest.raises(NotFound):
        empty.open()
    empty.close()

    with psycopg.connect(url) as connection:
        assert [] == connection.execute("SELECT 1 FROM pg_class WHERE relname = 'meta'").fetchall()


def test_an_address_is_never_repeated(postgres: Server) -> None:
    """A wrong address is refused in words that hold no password, and at once."""
    with pytest.raises(Invalid) as caught:
        PostgreSQL("mysql://anna:secret-word@host/x")
    assert "secret-word" not in str(caught.value)

    wrong = Database(
        PostgreSQL(postgres.url("missing").replace("stellwerk@", "stellwerk:secret-word@")), StandingClock()
    )
    with pytest.raises(Unavailable) as refused:
        wrong.open()
    assert "database-unavailable" == refused.value.code
    assert "secret-word" not in str(refused.value)
    wrong.close()


def end_others(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_connection_that_died_while_idle_is_replaced(database: Database, url: str) -> None:
    """Nothing had begun on it: nobody notices."""
    fill(database, "a")
    end_others(url)
    assert ["a"] == subjects(database)
    end_others(url)
    fill(database, "b")

    assert ["a", "b"] == subjects(database)


def test_a_connection_that_dies_in_a_change_keeps_nothing_of_it(database: Database, url: str) -> None:
    """The change is refused, also when the loss is found at the end; the next one works."""

    def lose(late: bool) -> None:
        with database.write("default", "anna") as tx:
            tx.record("thing.made", "lost")
            end_others(url)
            if not late:
                tx.record("thing.made", "lost")

    for late in (False, True):
        with pytest.raises(StellwerkError) as caught:
            lose(late)
        assert "database-unavailable" == caught.value.code

    fill(database, "kept")
    assert ["kept"] == subjects(database)


class Deaf(PostgreSQL):
    """A server whose answer to COMMIT does not arrive."""

    def commit(self, session: Session) -> None:
        run = session.run

        def deaf(statement: str, values: Any = ()) -> Any:
            run(statement, values)
            session.raw.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

        with contextlib.suppress(AttributeError):
            session.run = deaf  # type: ignore[method-assign]
        super().commit(session)


def test_a_commit_without_an_answer_is_looked_up(url: str) -> None:
    """It was kept, and is acknowledged, once."""
    database = Database(Deaf(url), StandingClock())
    database.create(ORIGIN)
    fill(database, "a", "b")

    assert ["a", "b"] == subjects(database)
    database.close()


def test_a_server_that_may_lose_data_is_refused(postgres: Server, url: str) -> None:
    """Without `fsync` an acknowledged change may be gone after a power cut."""
    postgres.stop()
    postgres.start("fsync=off")
    try:
        careless = Database(PostgreSQL(url), StandingClock())
        with pytest.raises(Unavailable) as caught:
            careless.create(ORIGIN)
        careless.close()
    finally:
        postgres.restart()

    assert "fsync=off" in str(caught.value)
