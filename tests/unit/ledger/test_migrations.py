"""A database of an earlier schema is brought up to date: once, whole, after a copy; a later one is left alone."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

import stellwerk
from stellwerk.core.errors import Corrupt, Unavailable
from stellwerk.ledger import migrations
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier
from stellwerk.ledger.database import Database
from stellwerk.ledger.migrations import Step
from stellwerk.ledger.verify import verify_book
from stellwerk.testing.fakes import StandingClock
from stellwerk.testing.old import unpack
from stellwerk.testing.postgres import Server
from stellwerk.tracking.adapters.finder import SqlFinder
from stellwerk.tracking.adapters.schema import values
from stellwerk.workspace import migrating
from stellwerk.workspace.facade import connect
from stellwerk.workspace.layout import Layout, find
from stellwerk.workspace.settings import Settings

FIXTURE = Path(__file__).parents[2] / "compat" / "schema-1"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A whole workspace that version 0.1 wrote: data, contract, runs, a model, a plan."""
    unpack(FIXTURE / "workspace.tar.gz", tmp_path)
    return tmp_path


@pytest.fixture
def layout(place: Path) -> Layout:
    return find(place)


def digest_of(path: Path) -> tuple[Any, ...]:
    """All rows of all tables."""
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return tuple(
            (name, sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"')))) for name in sorted(names)
        )


def findings(layout: Layout) -> tuple[int, list[Any]]:
    note = (layout.checkpoints / "latest.txt").read_text()
    count, found = verify_book(layout.database, layout.identity, Ed25519Verifier().verify, [note])
    return count, list(found)


def test_an_old_workspace_says_what_to_type(place: Path, layout: Layout) -> None:
    """It is not opened, not changed, and the hint names the command."""
    before = digest_of(layout.database)

    with pytest.raises(Unavailable) as caught:
        connect(place)

    assert "needs-migration" == caught.value.code
    assert "stellwerk migrate" in caught.value.hint
    assert before == digest_of(layout.database)


def test_an_old_book_verifies_before_and_after(layout: Layout) -> None:
    """The verifier reads both schemas: whoever migrates can know that nothing was touched."""
    before = findings(layout)
    migrating.migrate(layout, Settings(actor="anna"))

    assert (24, []) == before == findings(layout)


def test_everything_is_there_afterwards(place: Path, layout: Layout) -> None:
    """Entries and rows of every room come back, and the workspace goes on."""
    done = migrating.migrate(layout, Settings(actor="anna"))
    expected = [tuple(item) for item in json.loads((FIXTURE / "entries.json").read_text())]

    assert ("1", migrations.CURRENT) == (done.before, done.after)
    with connect(place, actor="anna") as live:
        found = live._caller.rooms.book.entries()  # type: ignore[attr-defined]
        assert expected == [(entry.sequence, entry.kind, entry.subject) for entry in found][: len(expected)]
        assert 300 == live.data.frame("parcels").height
        assert () == live.verify().findings
        assert () == live.fsck()


def test_runs_are_found_by_what_they_logged_then(place: Path, layout: Layout) -> None:
    """What the step writes for an old run is what is written for a new one."""
    migrating.migrate(layout, Settings(actor="anna"))

    with connect(place, actor="anna") as live:
        rooms = live._caller.rooms  # type: ignore[attr-defined]
        runs = live.runs(limit=1000)
        asked = sa.select(values).order_by(values.c.run, values.c.entity, values.c.key)
        with rooms.book.write() as tx:
            migrated = tx.execute(asked).all()
            for run in runs:
                SqlFinder().enter(tx, run)
            assert migrated == tx.execute(asked).all()
            tx.record("thing.made", "thing:a")
        measured = next(run for run in runs if run.metrics and run.params)
        name, number = next(iter(measured.metrics.items()))
        assert measured.id in {run.id for run in live.runs(f"metrics.`{name}` = {number!r} AND end_time > 0")}


def test_models_are_found_that_nobody_described_then(place: Path, layout: Layout) -> None:
    """The first schema had versions alone; each of them belongs to a model that is listed."""
    migrating.migrate(layout, Settings(actor="anna"))

    with connect(place, actor="anna") as live:
        catalogue = live._caller.rooms.catalogue  # type: ignore[attr-defined]
        assert ["tardy"] == [page.model.name for page in catalogue.search_models()]
        assert [("tardy", 1)] == [(one.name, one.version) for one in catalogue.search_versions("name = 'tardy'")]


def test_the_copy_is_the_database_as_it_was(layout: Layout) -> None:
    """Whole, in one file beside it; put in its place, an earlier version reads it again."""
    before = digest_of(layout.database)

    done = migrating.migrate(layout, Settings(actor="anna"))

    copy = layout.folder / done.copy
    assert "ledger.db-schema-1" == copy.name
    assert before == digest_of(copy)
    assert not list(layout.folder.glob("*.partial"))


def test_a_preview_changes_nothing(layout: Layout) -> None:
    """It says the same steps that migrating takes."""
    before = digest_of(layout.database)
    told = migrating.preview(layout, Settings(actor="anna"))

    assert before == digest_of(layout.database)
    assert told.steps == migrating.migrate(layout, Settings(actor="anna")).steps
    assert () == migrating.preview(layout, Settings(actor="anna")).steps
    assert ("", ()) == (lambda done: (done.copy, done.steps))(migrating.migrate(layout, Settings(actor="anna")))


def test_migrated_by_two_at_once(layout: Layout) -> None:
    """One does it, the other waits and finds nothing to do."""
    start, done = threading.Barrier(3), []

    def migrate() -> None:
        start.wait()
        done.append(migrating.migrate(layout, Settings(actor="anna")))

    threads = [threading.Thread(target=migrate) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [0, 0, len(migrations.STEPS)] == sorted(len(report.steps) for report in done)
    assert (24, []) == findings(layout)


MIGRATE = """
import sys
from pathlib import Path
from stellwerk.workspace.layout import find
from stellwerk.workspace import migrating
from stellwerk.workspace.settings import Settings
migrating.migrate(find(Path(sys.argv[1])), Settings(actor="anna"))
"""


@pytest.mark.parametrize("failpoint", ["migrate.copied", "migrate.step", "ledger.commit", "ledger.committed"])
def test_killed_in_between(place: Path, layout: Layout, failpoint: str) -> None:
    """Killed at any step it has happened whole or not at all, and can be run again."""
    before = digest_of(layout.database)
    ended = subprocess.run(
        [sys.executable, "-c", MIGRATE, str(place)],
        env={
            "PYTHONPATH": str(Path(stellwerk.__file__).parents[1]),
            "STELLWERK_FAIL": f"{failpoint}:kill:1",
            "PATH": os.environ["PATH"],
        },
        check=False,
    )

    assert -signal.SIGKILL == ended.returncode
    if failpoint != "ledger.committed":
        assert before == digest_of(layout.database)
    migrating.migrate(layout, Settings(actor="anna"))
    assert (24, []) == findings(layout)
    assert () == migrating.preview(layout, Settings(actor="anna")).steps


def test_a_later_schema_is_left_alone(layout: Layout) -> None:
    """By opening and by migrating; the error says to use that version."""
    with closing(sqlite3.connect(layout.database)) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
        connection.commit()
    before = digest_of(layout.database)

    for act in (lambda: connect(layout.root), lambda: migrating.migrate(layout, Settings(actor="anna"))):
        with pytest.raises(Unavailable) as caught:
            act()
        assert "schema-mismatch" == caught.value.code
        assert "99" in str(caught.value)
    assert before == digest_of(layout.database)


def test_a_schema_that_is_no_number_is_corrupt(layout: Layout) -> None:
    """Damage is not taken for another version."""
    for value in ("", "x", "2.5"):
        with pytest.raises(Corrupt):
            migrations.pending(value)
    with pytest.raises(Corrupt):
        migrations.pending(None)


def test_a_process_that_was_there_before_stops_writing(layout: Layout) -> None:
    """A migration under its feet is noticed at its next change, before anything is written."""
    migrating.migrate(layout, Settings(actor="anna"))
    running = Database(layout.database, StandingClock())
    running.open()
    size = running.size()
    with closing(sqlite3.connect(layout.database)) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
        connection.commit()

    with pytest.raises(Unavailable) as caught, running.write("default", "anna") as tx:
        tx.record("thing.made", "thing:a")

    assert "schema-mismatch" == caught.value.code
    assert size == running.size()
    running.close()


def add_column(op: Any) -> None:
    """A step as later versions will have them: a column more, filled from what is there."""
    op.add_column("meta", sa.Column("note", sa.Text))
    op.execute("UPDATE meta SET note = 'was ' || value")


LATER = (
    *migrations.STEPS,
    Step(to=str(int(migrations.CURRENT) + 1), summary="a column more", module="stellwerk_test_step"),
)


def test_steps_work_on_postgresql_too(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same step, in one transaction, after everything was copied to a schema of its own."""
    pytest.importorskip("psycopg")
    import psycopg

    from stellwerk.ledger.dialects.postgresql import PostgreSQL

    monkeypatch.setitem(sys.modules, "stellwerk_test_step", SimpleNamespace(upgrade=add_column))
    url = postgres.new_database()
    database = Database(PostgreSQL(url), StandingClock())
    database.create("example.com/book")
    with database.write("default", "anna") as tx:
        tx.record("thing.made", "thing:a")

    done = database.migrate(LATER)

    assert (migrations.CURRENT, LATER[-1].to) == (done.before, done.after)
    with psycopg.connect(url) as connection:
        notes = connection.execute("SELECT note FROM meta ORDER BY note").fetchall()
        copied = connection.execute(f"SELECT count(*) FROM {done.copy}.ledger_entries").fetchone()
    assert [(f"was {migrations.CURRENT}",), ("was example.com/book",)] == notes
    assert (1,) == copied
    assert 0 == len(database.migrate(LATER).steps)
    with pytest.raises(Unavailable):
        database.open()
    database.close()


def test_a_step_that_fails_has_not_happened(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where an earlier step of the same migration had gone well."""

    def fail(op: Any) -> None:
        add_column(op)
        op.execute("SELECT * FROM nowhere")

    monkeypatch.setitem(sys.modules, "stellwerk_test_step", SimpleNamespace(upgrade=fail))
    before = digest_of(layout.database)
    database = Database(layout.database, StandingClock())

    with pytest.raises(Unavailable):
        database.migrate(LATER)

    database.close()
    assert before == digest_of(layout.database)


def test_alembic_is_not_loaded_without_need() -> None:
    """Opening a current database does not pay for it."""
    code = (
        "import sys, stellwerk.workspace.rooms, stellwerk.workspace.migrating; "
        "sys.exit('alembic' in sys.modules or 'psycopg' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(Path(stellwerk.__file__).parents[1])})

    assert 0 == ended.returncode
