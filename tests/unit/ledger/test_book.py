"""SQLite keeps the book's contract, and its own: append-only tables, formats, and failures in our words."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

import stellwerk
from stellwerk.core.clock import SystemClock
from stellwerk.core.errors import Bug, Corrupt, Invalid, NotFound, StellwerkError, Unavailable
from stellwerk.ledger import rules
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier, FileSigner, create_key
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.ledger.dialects import sqlite
from stellwerk.ledger.dialects.sqlite_pool import Pool
from stellwerk.ledger.model import Entry
from stellwerk.ledger.verify import verify_book
from stellwerk.testing.books import BookContract
from stellwerk.testing.fakes import StandingClock
from stellwerk.testing.things import THINGS, OpenBook

ORIGIN = "example.com/book"


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def database(tmp_path: Path, clock: StandingClock) -> Iterator[Database]:
    made = Database(tmp_path / "ledger.db", clock)
    made.create(ORIGIN)
    yield made
    made.close()


@pytest.fixture
def signer(tmp_path: Path) -> FileSigner:
    create_key(tmp_path / "key")
    return FileSigner(tmp_path / "key")


class TestSQLite(BookContract):
    @pytest.fixture
    def open_book(self, database: Database) -> OpenBook:
        return lambda workspace, actor: WorkspaceBook(database, workspace, actor)


def fill(database: Database, count: int, workspace: str = "default") -> None:
    with database.write(workspace, "anna") as tx:
        for number in range(count):
            tx.record("thing.made", f"thing:{number}", {"number": number})


def test_the_time_comes_from_the_clock(database: Database, clock: StandingClock) -> None:
    """Times are labels: a clock that runs backwards changes no order."""
    fill(database, 1)
    later = clock.now()
    clock.advance(timedelta(days=-1))
    fill(database, 1)

    found = database.entries("default")
    assert 2 == database.size()
    assert [later, later - timedelta(days=1)] == [entry.at for entry in found]
    assert [0, 1] == [entry.sequence for entry in found]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entries SET subject = 'x' WHERE sequence = 1",
        "DELETE FROM ledger_entries WHERE sequence = 2",
        "DELETE FROM ledger_entries",
        "INSERT OR REPLACE INTO ledger_entries SELECT 1, workspace, at, actor, kind, 'x', bytes FROM ledger_entries"
        " WHERE sequence = 0",
        "INSERT OR IGNORE INTO ledger_entries SELECT 7, workspace, at, actor, kind, 'x', bytes FROM ledger_entries"
        " WHERE sequence = 0",
        "INSERT INTO ledger_entries SELECT -1, workspace, at, actor, kind, 'x', bytes FROM ledger_entries"
        " WHERE sequence = 0",
        "UPDATE ledger_nodes SET hash = zeroblob(32) WHERE level = 0",
        "DELETE FROM ledger_nodes",
        'INSERT OR REPLACE INTO ledger_nodes (level, "index", hash) VALUES (0, 0, zeroblob(32))',
        "UPDATE ledger_checkpoints SET note = ''",
        "DELETE FROM ledger_checkpoints",
        "INSERT OR REPLACE INTO ledger_checkpoints (size, note) VALUES (3, 'x')",
    ],
)  # fmt: skip
def test_the_book_is_append_only(tmp_path: Path, database: Database, signer: FileSigner, statement: str) -> None:
    """No statement changes, removes, replaces or leaves out an entry, a tree node or a checkpoint."""
    fill(database, 3)
    database.checkpoint(ORIGIN, signer)

    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
        connection.commit()

    assert (3, []) == verify(tmp_path / "ledger.db", signer)


def verify(path: Path, signer: FileSigner) -> tuple[int, list[object]]:
    verifier = Ed25519Verifier()
    count, findings = verify_book(
        path,
        ORIGIN,
        verifier.verify,
        public_key=signer.public_key,
    )
    return count, list(findings)


WRITER = """
import sys
from pathlib import Path
from stellwerk.core.clock import SystemClock
from stellwerk.ledger.database import Database
database = Database(Path(sys.argv[1]), SystemClock())
database.create("example.com/book")
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    with database.write("default", sys.argv[2]) as tx:
        entry = tx.record("thing.made", f"{sys.argv[2]}:{number}")
    print(entry.sequence, entry.subject, flush=True)
"""


def test_two_processes_append_at_once(tmp_path: Path, signer: FileSigner) -> None:
    """Created and written by two processes at the same time, the book is dense, complete and whole."""
    path = tmp_path / "shared.db"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(Path(stellwerk.__file__).parents[1])},
        )
        for name in ("one", "two")
    ]
    for child in children:
        assert child.stdout is not None
        assert "ready\n" == child.stdout.readline()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = [child.communicate(timeout=60)[0].split("\n") for child in children]

    assert [0, 0] == [child.returncode for child in children]
    acknowledged = sorted((int(line.split()[0]), line.split()[1]) for lines in answers for line in lines if line)
    database = Database(path, SystemClock())
    database.checkpoint(database.open(), signer)
    kept = [(entry.sequence, entry.subject) for entry in database.entries("default")]
    database.close()
    assert list(range(80)) == [sequence for sequence, _ in kept]
    assert acknowledged == kept
    assert (80, []) == verify(path, signer)


def test_creating_twice_changes_nothing(tmp_path: Path, clock: StandingClock) -> None:
    """The first origin stays; many that create at once agree."""
    origins, start = [], threading.Barrier(6)

    def create(number: int) -> None:
        made = Database(tmp_path / "new.db", clock)
        start.wait()
        made.create(f"origin{number}")
        origins.append(made.open())
        made.close()

    threads = [threading.Thread(target=create, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 6 == len(origins)
    assert 1 == len(set(origins))


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "a\nb", "x" * 256, "a\u2003b", "\ud800", "a\x00"])
def test_an_origin_must_fit_into_a_note(tmp_path: Path, clock: StandingClock, origin: str) -> None:
    """A name that could not stand in a checkpoint is refused when the book is made, not when it is signed."""
    with pytest.raises(Invalid) as caught:
        Database(tmp_path / "new.db", clock).create(origin)

    assert "invalid-origin" == caught.value.code


def test_a_missing_book_is_not_replaced_by_an_empty_one(tmp_path: Path, clock: StandingClock) -> None:
    """Opening what is not there says so, and makes no file."""
    with pytest.raises(NotFound):
        Database(tmp_path / "gone.db", clock).open()

    assert [] == list(tmp_path.iterdir())


def test_other_files_are_corrupt(tmp_path: Path, clock: StandingClock) -> None:
    """Text, an empty database, and a book without identity are told apart from a book."""
    (tmp_path / "text.db").write_text("this is no database " * 100)
    sqlite3.connect(tmp_path / "empty.db").execute("CREATE TABLE x (y)")
    nameless = Database(tmp_path / "nameless.db", clock)
    nameless.create(ORIGIN)
    nameless.close()
    with closing(sqlite3.connect(tmp_path / "nameless.db")) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'origin'")
        connection.commit()

    for name in ("text", "empty", "nameless"):
        with pytest.raises(Corrupt) as caught:
            Database(tmp_path / f"{name}.db", clock).open()
        assert "corrupt-database" == caught.value.code


def test_another_schema_is_refused(tmp_path: Path, database: Database, clock: StandingClock) -> None:
    """A book of a later version is left alone."""
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
        connection.commit()

    with pytest.raises(Unavailable) as caught:
        database.open()
    assert "schema-mismatch" == caught.value.code


def test_opening_completes_what_is_missing(tmp_path: Path, database: Database, signer: FileSigner) -> None:
    """Tables of rooms that came later, and lost guards, are made when a book is opened."""
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.execute("DROP TABLE contract_things")
        connection.execute("DROP TRIGGER ledger_entries_no_update")
        connection.commit()

    assert ORIGIN == database.open()

    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert {"contract_things", "ledger_entries_no_update"} <= names


def test_a_writer_that_waits_too_long_is_told(
    tmp_path: Path, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock held by somebody else is `Unavailable`, and nothing was written."""
    monkeypatch.setattr(sqlite, "BUSY_MILLISECONDS", 20)
    database = Database(tmp_path / "ledger.db", clock)
    database.create(ORIGIN)
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable) as caught:
            fill(database, 1)
        other.execute("ROLLBACK")

    assert "database-busy" == caught.value.code
    fill(database, 1)
    assert 1 == len(database.entries("default"))
    database.close()


@pytest.mark.parametrize("large", ["row", "entry"])
def test_a_full_disk_loses_nothing(tmp_path: Path, database: Database, signer: FileSigner, large: str) -> None:
    """When SQLite can take no more pages the error says so, and everything acknowledged stays.

    At a row SQLite rolls the whole transaction back by itself, at an entry only the statement.
    """
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.execute("CREATE TABLE large_rows (id INTEGER PRIMARY KEY, value BLOB NOT NULL)")
        # How large an empty book is depends on how many rooms have tables in it.
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    database.close()
    pool: Pool = database.dialect._pool  # type: ignore[attr-defined]
    configure = pool._configure

    def small(raw: sqlite3.Connection) -> None:
        configure(raw)
        raw.execute(f"PRAGMA max_page_count = {pages + 40}").fetchall()

    pool._configure = small
    acknowledged: list[Entry] = []

    def record_until_it_fails() -> None:
        while True:
            with database.write("default", "anna") as tx:
                for _ in range(20 if large == "row" else 0):
                    tx.execute(sa.text("INSERT INTO large_rows (value) VALUES (zeroblob(900))"))
                entry = tx.record("thing.made", "thing:x", {"large": "x" * 2000} if large == "entry" else {})
            acknowledged.append(entry)

    with pytest.raises(Unavailable) as caught:
        record_until_it_fails()

    assert "disk-full" == caught.value.code
    assert acknowledged
    assert acknowledged == database.entries("default")
    database.close()
    assert (len(acknowledged), []) == verify(tmp_path / "ledger.db", signer)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        (rows,) = connection.execute("SELECT COUNT(*) FROM large_rows").fetchone()
    assert (20 * len(acknowledged) if large == "row" else 0) == rows


def test_a_wrong_statement_is_a_bug(database: Database) -> None:
    """What SQL refuses for another reason than the machine is our own fault, said so."""
    with pytest.raises(StellwerkError) as caught, database.write("default", "anna") as tx:
        tx.execute(sa.text("INSERT INTO meta VALUES (NULL, NULL)"))

    assert Bug is type(caught.value)


# checkpoints and proofs


def test_checkpoints_are_kept_once(database: Database, signer: FileSigner) -> None:
    """Signing the same size again gives the same note; an empty book can be signed."""
    empty = database.checkpoint(ORIGIN, signer)
    fill(database, 3)
    first = database.checkpoint(ORIGIN, signer)

    assert (0, rules.EMPTY_ROOT) == (empty.size, empty.root)
    assert (3, 3) == (first.size, database.size())
    assert first == database.checkpoint(ORIGIN, signer)
    assert first == rules.open_checkpoint(first.note, signer.public_key, Ed25519Verifier())


def test_proofs_of_a_book(database: Database, signer: FileSigner) -> None:
    """Each entry is proven to be in the book, and each earlier book to be its beginning, with public data only."""
    heads = {}
    for size in range(1, 10):
        fill(database, 1)
        heads[size] = database.checkpoint(ORIGIN, signer).root
    leaves = [rules.leaf_hash(rules.entry_bytes(entry)) for entry in database.entries("default")]

    for size, head in heads.items():
        for index in range(size):
            assert rules.verify_inclusion(leaves[index], index, size, database.inclusion(index, size), head)
        for old in range(1, size + 1):
            assert rules.verify_consistency(old, size, heads[old], head, database.consistency(old, size))


@pytest.mark.parametrize("ask", ["inclusion", "consistency"])
@pytest.mark.parametrize("numbers", [(-1, 3), (3, 3), (4, 3), (0, 100), (2, 4)])
def test_proofs_beyond_the_book_are_refused(database: Database, ask: str, numbers: tuple[int, int]) -> None:
    """No proof is made up for entries that are not there."""
    fill(database, 3)
    question: Callable[[int, int], list[bytes]] = getattr(database, ask)
    if (ask, numbers) == ("consistency", (3, 3)):
        assert [] == question(*numbers)
        return

    with pytest.raises((Invalid, NotFound)):
        question(*numbers)


def test_a_book_that_contradicts_its_last_checkpoint_is_not_signed(
    tmp_path: Path, database: Database, signer: FileSigner
) -> None:
    """The signer does not put its name under a history that differs from the one it signed before."""
    fill(database, 4)
    database.checkpoint(ORIGIN, signer)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.execute("DROP TRIGGER ledger_nodes_no_update")
        connection.execute("UPDATE ledger_nodes SET hash = zeroblob(32) WHERE level = 2")
        connection.commit()
    fill(database, 1)

    with pytest.raises(Corrupt) as caught:
        database.checkpoint(ORIGIN, signer)
    assert "corrupt-ledger" == caught.value.code


def test_what_equals_something_is_looked_up(database: Database) -> None:
    """Nearly all rows are of one workspace, which SQLite does not know: it must not read them all to order some."""
    question = THINGS._selecting((("group", False),), "-at", True)

    with database.snapshot() as session:
        plan = session.run(f"EXPLAIN QUERY PLAN {question}", ("default", "a")).fetchall()

    assert "things_by_group (workspace=? AND group=?)" in plan[0][3]
