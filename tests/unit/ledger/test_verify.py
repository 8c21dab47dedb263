"""The verifier finds every change of a book, reports nothing else, and never fails over what it finds."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.errors import NotFound, Unavailable
from stellwerk.ledger import rules
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier, FileSigner
from stellwerk.ledger.database import Database
from stellwerk.ledger.model import Finding
from stellwerk.ledger.verify import verify_book
from stellwerk.testing.fakes import StandingClock

ORIGIN = "example.com/book"
SIZE = 13
SIGNED = (0, 4, 9, 13)
VERIFIER = Ed25519Verifier()


class Original:
    """A book of 13 entries in two workspaces, signed four times, closed into one file."""

    def __init__(self, folder: Path) -> None:
        (folder / "key").write_bytes(hashlib.sha256(b"a key for tests").digest())
        self.signer = FileSigner(folder / "key")
        self.path = folder / "ledger.db"
        self.notes: list[str] = []
        clock = StandingClock()
        database = Database(self.path, clock)
        database.create(ORIGIN)
        for number in range(SIZE):
            if number in SIGNED:
                self.notes.append(database.checkpoint(ORIGIN, self.signer).note)
            with database.write(f"w{number % 2}", "anna") as tx:
                tx.record("thing.made", f"thing:{number}", {"number": number, "text": "ü" * number})
            clock.advance(timedelta(seconds=1))
        self.notes.append(database.checkpoint(ORIGIN, self.signer).note)
        database.close()

    def verify(self, path: Path, *notes: str) -> tuple[int, list[Finding]]:
        key = self.signer.public_key
        return verify_book(path, ORIGIN, VERIFIER.verify, notes, public_key=key)


@pytest.fixture(scope="module")
def original() -> Iterator[Original]:
    with tempfile.TemporaryDirectory() as folder:
        yield Original(Path(folder))


@pytest.fixture
def copy(original: Original, tmp_path: Path) -> Path:
    shutil.copy(original.path, tmp_path / "copy.db")
    return tmp_path / "copy.db"


def tamper(path: Path, *statements: tuple[str, tuple[Any, ...]]) -> None:
    """Change a book behind its back, guards removed."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement, values in statements:
            assert connection.execute(statement, values).rowcount > 0
        connection.commit()


def rebuild_nodes(path: Path) -> None:
    """What a thorough forger does after changing entries: make the stored tree fit."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM ledger_nodes")
        nodes: dict[tuple[int, int], bytes] = {}
        for size, (data,) in enumerate(connection.execute("SELECT bytes FROM ledger_entries ORDER BY sequence")):
            for level, index, value in rules.new_nodes(size, rules.leaf_hash(data), lambda *place: nodes[place]):
                nodes[level, index] = value
        connection.executemany(
            "INSERT INTO ledger_nodes VALUES (?, ?, ?)", [(*place, value) for place, value in nodes.items()]
        )
        connection.commit()


def test_a_whole_book_has_no_findings(original: Original, copy: Path) -> None:
    """Also when compared with the checkpoints that were copied elsewhere."""
    assert (SIZE, []) == original.verify(copy)
    assert (SIZE, []) == original.verify(copy, *original.notes)


def test_guards_alone_do_not_matter(original: Original, copy: Path) -> None:
    """A book without its triggers is still whole: what follows is found for what was changed, not for how."""
    tamper(copy)

    assert (SIZE, []) == original.verify(copy)


def mutations() -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Every way of changing one column, row, node, checkpoint or name, at every place of the book."""
    for number in range(SIZE):
        for column in ("workspace", "at", "actor", "kind", "subject"):
            yield f"UPDATE ledger_entries SET {column} = {column} || 'x' WHERE sequence = ?", (number,)
            yield f"UPDATE ledger_entries SET {column} = '' WHERE sequence = ?", (number,)
        yield "UPDATE ledger_entries SET sequence = sequence + 100 WHERE sequence = ?", (number,)
        yield "UPDATE ledger_entries SET sequence = -1 - sequence WHERE sequence = ?", (number,)
        yield "UPDATE ledger_entries SET bytes = x'' WHERE sequence = ?", (number,)
        changed = "CAST(replace(CAST(bytes AS TEXT), 'number', 'numbed') AS BLOB)"
        yield f"UPDATE ledger_entries SET bytes = {changed} WHERE sequence = ?", (number,)
        other = "(SELECT bytes FROM ledger_entries WHERE sequence = ?)"
        yield f"UPDATE ledger_entries SET bytes = {other} WHERE sequence = ?", ((number + 1) % SIZE, number)
        yield "DELETE FROM ledger_entries WHERE sequence = ?", (number,)
        yield "DELETE FROM ledger_entries WHERE sequence >= ?", (number,)
        again = "SELECT 13, workspace, at, actor, kind, subject, bytes FROM ledger_entries WHERE sequence = ?"
        yield f"INSERT INTO ledger_entries {again}", (number,)
    for level in range(4):
        for index in range(SIZE >> level):
            place = (level, index)
            yield 'UPDATE ledger_nodes SET hash = zeroblob(32) WHERE level = ? AND "index" = ?', place
            yield 'UPDATE ledger_nodes SET hash = substr(hash, 2) WHERE level = ? AND "index" = ?', place
            yield 'DELETE FROM ledger_nodes WHERE level = ? AND "index" = ?', place
            yield 'UPDATE ledger_nodes SET level = 9 WHERE level = ? AND "index" = ?', place
            yield 'UPDATE ledger_nodes SET "index" = -1 - "index" WHERE level = ? AND "index" = ?', place
        yield "INSERT INTO ledger_nodes VALUES (?, ?, zeroblob(32))", (level, SIZE >> level)
    yield "INSERT INTO ledger_nodes VALUES (-1, 0, zeroblob(32))", ()
    yield "INSERT INTO ledger_nodes VALUES (9, 0, zeroblob(32))", ()
    for size in SIGNED:
        yield "UPDATE ledger_checkpoints SET note = note || ' ' WHERE size = ?", (size,)
        yield "UPDATE ledger_checkpoints SET note = '' WHERE size = ?", (size,)
        yield "UPDATE ledger_checkpoints SET size = size + 1 WHERE size = ?", (size,)
    for key in ("schema", "origin"):
        yield "UPDATE meta SET value = value || 'x' WHERE key = ?", (key,)
        yield "DELETE FROM meta WHERE key = ?", (key,)


def test_every_mutation_is_found(original: Original, tmp_path: Path) -> None:
    """Each single change behind the book's back is enough for a finding, even without outside copies."""
    path = tmp_path / "copy.db"
    missed = []
    for statement, values in mutations():
        shutil.copy(original.path, path)
        tamper(path, (statement, values))
        if not original.verify(path)[1]:
            missed.append((statement, values))

    assert [] == missed


def test_every_character_of_a_checkpoint_counts(original: Original, copy: Path) -> None:
    """No character of a kept checkpoint can be changed unseen: text, dash, name, key hash or signature."""
    note = original.notes[2]
    missed = []
    for place, character in enumerate(note):
        changed = note[:place] + ("B" if character == "A" else "A") + note[place + 1 :]
        tamper(copy, ("UPDATE ledger_checkpoints SET note = ? WHERE size = 9", (changed,)))
        if not original.verify(copy)[1]:
            missed.append(place)

    assert [] == missed


@settings(max_examples=100, deadline=None)
@given(number=st.integers(0, SIZE - 1), where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_of_an_entry_is_found(original: Original, number: int, where: float, bit: int) -> None:
    """Whichever bit of an entry's bytes it is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy.db"
        shutil.copy(original.path, path)
        with closing(sqlite3.connect(path)) as connection:
            (data,) = connection.execute("SELECT bytes FROM ledger_entries WHERE sequence = ?", (number,)).fetchone()
        changed = bytearray(data)
        changed[int(where * len(data))] ^= 1 << bit
        tamper(path, ("UPDATE ledger_entries SET bytes = ? WHERE sequence = ?", (bytes(changed), number)))

        assert original.verify(path)[1]


def test_each_kind_of_change_is_named(original: Original, tmp_path: Path) -> None:
    """Findings say where and what."""
    cases: dict[str, tuple[str, tuple[Any, ...]]] = {
        "column subject differs from the entry": ("UPDATE ledger_entries SET subject = 'x' WHERE sequence = 3", ()),
        "expected entry 3 here: entries are missing": ("DELETE FROM ledger_entries WHERE sequence = 3", ()),
        "the stored tree node 2/0 does not match the entries": (
            "UPDATE ledger_nodes SET hash = zeroblob(32) WHERE level = 2",
            (),
        ),
        "the checkpoint at 9 entries is not signed by this workspace": (
            "UPDATE ledger_checkpoints SET note = replace(note, '— example.com/book ', '— example.com/other ')"
            " WHERE size = 9",
            (),
        ),
        "the checkpoint kept for 5 entries is one for 4": (
            "UPDATE ledger_checkpoints SET size = 5 WHERE size = 4",
            (),
        ),
        "the database calls itself 'other', expected 'example.com/book'": (
            "UPDATE meta SET value = 'other' WHERE key = 'origin'",
            (),
        ),
    }
    for number, (problem, statement) in enumerate(cases.items()):
        path = tmp_path / f"{number}.db"
        shutil.copy(original.path, path)
        tamper(path, statement)

        assert problem in [finding.problem for finding in original.verify(path)[1]]


def test_a_forger_with_the_tree_is_caught_by_the_signatures(original: Original, copy: Path) -> None:
    """Rewriting an entry and the whole stored tree contradicts each checkpoint after it, and none before it."""
    document = "CAST(replace(CAST(bytes AS TEXT), 'anna', 'eve!') AS BLOB)"
    tamper(copy, (f"UPDATE ledger_entries SET actor = 'eve!', bytes = {document} WHERE sequence = 6", ()))
    rebuild_nodes(copy)

    problems = [finding.problem for finding in original.verify(copy)[1]]

    assert [f"the first {size} entries are not those the checkpoint proves" for size in (9, 13)] == problems


def test_a_shortened_book_is_caught_by_a_copy_of_a_checkpoint(original: Original, copy: Path) -> None:
    """Who removes the end of a book together with its checkpoints is caught only by copies kept elsewhere."""
    tamper(
        copy,
        ("DELETE FROM ledger_entries WHERE sequence >= 9", ()),
        ("DELETE FROM ledger_checkpoints WHERE size > 9", ()),
    )
    rebuild_nodes(copy)

    assert (9, []) == original.verify(copy)
    assert ["a checkpoint proves 13 entries, the book has 9"] == [
        finding.problem for finding in original.verify(copy, original.notes[-1])[1]
    ]


def test_foreign_checkpoints_are_refused(original: Original, copy: Path, tmp_path: Path) -> None:
    """A copy that is no checkpoint of this book, or signed by another key, is a finding."""
    (tmp_path / "key").write_bytes(bytes(32))
    stranger = FileSigner(tmp_path / "key")
    head = rules.read_checkpoint(original.notes[-1]).root
    notes = [
        "nonsense",
        rules.sign_checkpoint("example.com/other", SIZE, head, original.signer).note,
        rules.sign_checkpoint(ORIGIN, SIZE, head, stranger).note,
        rules.sign_checkpoint(ORIGIN, SIZE, bytes(32), original.signer).note,
    ]

    for note in notes:
        assert 1 == len(original.verify(copy, note)[1])


@settings(max_examples=150, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_of_the_file_is_found_or_harmless(original: Original, where: float, bit: int) -> None:
    """The verifier reports damage of the file as findings; without a finding, every entry reads as before."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy.db"
        data = bytearray(original.path.read_bytes())
        data[int(where * len(data))] ^= 1 << bit
        path.write_bytes(data)

        count, findings = original.verify(path)

        if not findings:
            assert SIZE == count
            assert content(original.path) == content(path)


def content(path: Path) -> list[Any]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return [
            connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("ledger_entries", "ledger_nodes", "ledger_checkpoints", "meta")
        ]


def test_a_book_is_verified_while_it_is_written(original: Original, copy: Path) -> None:
    """A writer at work makes no findings: the verifier looks at one moment."""
    database = Database(copy, StandingClock())
    done = threading.Event()

    def write() -> None:
        for number in range(40):
            with database.write("default", "anna") as tx:
                tx.record("thing.made", f"thing:{number}")
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    counts: list[int] = []
    while not done.is_set() or not counts:
        count, findings = original.verify(copy)
        assert [] == findings
        counts.append(count)
    thread.join()

    assert sorted(counts) == counts
    assert (SIZE + 40, []) == original.verify(copy)
    database.close()


def test_verifying_changes_nothing(original: Original, copy: Path) -> None:
    """The file stays as it was, also under a name that a URI would misread; SQLite may leave empty side files."""
    odd = copy.parent / "what? #1 %20"
    odd.mkdir()
    shutil.move(copy, odd / "ledger.db")
    before = (odd / "ledger.db").read_bytes()

    assert (SIZE, []) == original.verify(odd / "ledger.db")

    assert before == (odd / "ledger.db").read_bytes()
    assert [odd] == list(copy.parent.iterdir())
    assert {file.name for file in odd.iterdir()} <= {"ledger.db", "ledger.db-shm", "ledger.db-wal"}
    assert not (odd / "ledger.db-wal").exists() or 0 == (odd / "ledger.db-wal").stat().st_size


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_book_in_a_read_only_folder_is_verified(original: Original, copy: Path) -> None:
    """A backup where nothing can be written needs no copy first, unless its newest entries are in a side file
    that SQLite cannot read there: then the verifier says so, and does not judge the rest."""
    copy.parent.chmod(0o500)
    try:
        assert (SIZE, []) == original.verify(copy)
        copy.parent.chmod(0o700)
        copy.with_name("copy.db-wal").write_bytes(b"x" * 100)
        copy.parent.chmod(0o500)
        with pytest.raises(Unavailable) as caught:
            original.verify(copy)
        assert "database-unavailable" == caught.value.code
    finally:
        copy.parent.chmod(0o700)


def test_what_is_no_book(original: Original, tmp_path: Path) -> None:
    """A missing file is `NotFound`; another file, or a database of something else, is a finding."""
    with pytest.raises(NotFound):
        original.verify(tmp_path / "missing.db")
    assert [] == list(tmp_path.iterdir())

    (tmp_path / "text.db").write_text("no database " * 100)
    (tmp_path / "empty.db").write_bytes(b"")
    for name in ("text.db", "empty.db"):
        count, findings = original.verify(tmp_path / name)
        assert 0 == count
        assert ["the database cannot be read"] == [finding.problem.partition(":")[0] for finding in findings]


def test_strange_rows_do_not_stop_the_verifier(original: Original, copy: Path) -> None:
    """Tables rebuilt without types, holding anything at all, end in findings."""
    with closing(sqlite3.connect(copy)) as connection:
        rows = connection.execute("SELECT * FROM ledger_entries").fetchall()
        connection.execute("DROP TABLE ledger_entries")
        connection.execute("CREATE TABLE ledger_entries (sequence, workspace, at, actor, kind, subject, bytes)")
        for number, strange in enumerate([None, "text", 5, 1.5, b"\xff", b"[1]", b'"x"', b"{}", b"[" * 5000]):
            rows[number] = (*rows[number][:-1], strange)
        rows[10] = (None, *rows[10][1:])
        rows[11] = ("eleven", *rows[11][1:])
        rows[12] = (*rows[12][:2], None, 5, b"x", 1.5, rows[12][-1])
        connection.executemany("INSERT INTO ledger_entries VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        connection.commit()

    count, findings = original.verify(copy)

    assert SIZE == count
    assert 13 <= len(findings)
