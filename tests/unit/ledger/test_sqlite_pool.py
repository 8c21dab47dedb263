"""Connections to a SQLite file: nobody's is lost, none is older than the file, and SQLAlchemy ends nothing of ours."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import sqlalchemy as sa

from stellwerk.core.errors import Unavailable
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.ledger.dialects import sqlite_pool
from stellwerk.ledger.dialects.sqlite import SQLite
from stellwerk.ledger.dialects.sqlite_pool import Pool
from stellwerk.testing.fakes import StandingClock
from stellwerk.testing.things import THINGS, Thing


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(tmp_path / "a.db", lambda raw: None, timeout=1.0)


@pytest.fixture
def book(tmp_path: Path) -> WorkspaceBook:
    database = Database(tmp_path / "ledger.db", StandingClock())
    database.create("example.org/x")
    database.open()
    return WorkspaceBook(database, "default", "anna")


def test_a_connection_is_used_again(pool: Pool) -> None:
    """With what was begun taken back."""
    first = pool.take()
    first.run("BEGIN")
    first.release()
    second = pool.take()

    assert first is second
    assert not second.raw.in_transaction


def test_none_outlives_a_closing(pool: Pool) -> None:
    """The file may be another one afterwards: neither who waits in the pool nor who is given back later is used again."""
    held, waiting = pool.take(), pool.take()
    waiting.release()
    pool.close()
    held.release()
    fresh = pool.take()

    assert fresh not in (held, waiting)
    for old in (held, waiting):
        with pytest.raises(sqlite3.ProgrammingError):
            old.run("SELECT 1")


def test_too_many_are_refused(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, and in words; every place comes back, however its connection ended."""
    monkeypatch.setattr(sqlite_pool, "WAIT_SECONDS", 0.0)
    taken = [pool.take() for _ in range(sqlite_pool.MOST)]
    with pytest.raises(Unavailable) as told:
        pool.take()
    assert "database-busy" == told.value.code
    for number, session in enumerate(taken):
        session.close() if number % 2 else session.release()

    assert sqlite_pool.MOST == len([pool.take() for _ in range(sqlite_pool.MOST)])


def test_a_writer_that_cannot_be_made_takes_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is tried."""
    monkeypatch.setattr(sqlite_pool, "WAIT_SECONDS", 0.0)
    (tmp_path / "a.db").write_bytes(b"no database at all" * 100)
    dialect = SQLite(tmp_path / "a.db")
    for _ in range(sqlite_pool.MOST + 1):
        with pytest.raises(sqlite3.DatabaseError):
            dialect.writer()


def test_a_path_is_that_of_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes the folder meanwhile makes no other database there."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    database = Database(Path("ledger.db"), StandingClock())
    database.create("example.org/x")
    os.chdir(tmp_path / "elsewhere")
    database.close()

    assert "example.org/x" == database.open()
    assert [] == list((tmp_path / "elsewhere").iterdir())


def test_sqlalchemy_takes_nothing_back(book: WorkspaceBook) -> None:
    """A statement that it cannot make is no end of the transaction that was begun here."""
    with book.write() as tx:
        THINGS.put(tx, Thing(name="a"))
        with pytest.raises(sa.exc.StatementError):
            tx.execute(sa.select(sa.bindparam("never given")))
        THINGS.put(tx, Thing(name="b"))
        tx.record("thing.made", "thing:a")

    with book.read() as reader:
        assert ["a", "b"] == [thing.name for thing in THINGS.select(reader)]


def test_tables_are_described_by_many_at_once() -> None:
    """One thread asks for the index of a shelf, another for all tables: neither waits for the other for ever."""
    script = textwrap.dedent("""
        import threading
        from stellwerk.ledger import roster
        from stellwerk.tracking.traced import ASSESSMENTS, TRACES
        from stellwerk.workspace import shelving

        shelving.announce()
        roster.names()
        start = threading.Barrier(3)

        def first():
            start.wait()
            ASSESSMENTS.values

        def second():
            start.wait()
            TRACES.values

        def third():
            start.wait()
            roster.describe_all()

        threads = [threading.Thread(target=one, daemon=True) for one in (first, second, third)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        print([thread.is_alive() for thread in threads])
    """)
    for _ in range(3):
        said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=90, check=True)
        assert "[False, False, False]" == said.stdout.strip()
