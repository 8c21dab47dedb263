"""Random changes behind a book's back: every one is found, and the first entry it concerns is named (L1).

`STELLWERK_MUTATIONS` says how many; each has its own seed, so that a failure can be repeated alone.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from stellwerk.ledger import rules
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier, FileSigner, create_key
from stellwerk.ledger.database import Database
from stellwerk.ledger.model import Finding
from stellwerk.ledger.verify import verify_book
from stellwerk.testing.fakes import StandingClock

MUTATIONS = int(os.environ.get("STELLWERK_MUTATIONS", "400"))
ORIGIN = "example.com/book"
SIZE = 37
SIGNED = (8, 20, 34)
COLUMNS = ("workspace", "at", "actor", "kind", "subject")

Row = tuple[object, ...]
Node = tuple[int, int, bytes]


@dataclass
class Book:
    """All rows of a book, to be changed at will."""

    rows: list[Row]
    nodes: list[Node]
    notes: list[tuple[int, bytes]]
    copies: list[str]
    key: bytes
    changed_notes: set[int] = field(default_factory=set)
    rechained: bool = False

    def write(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                connection.execute(f"DROP TRIGGER {name}")
            for table in ("ledger_entries", "ledger_nodes", "ledger_checkpoints"):
                connection.execute(f"DELETE FROM {table}")
            texts = ", ".join("CAST(? AS TEXT)" for _ in COLUMNS)
            connection.executemany(f"INSERT INTO ledger_entries VALUES (?, {texts}, ?)", self.rows)
            connection.executemany("INSERT INTO ledger_nodes VALUES (?, ?, ?)", self.nodes)
            connection.executemany("INSERT INTO ledger_checkpoints VALUES (?, CAST(? AS TEXT))", self.notes)
            connection.commit()

    def rechain(self) -> None:
        """What a thorough forger does: make the stored tree fit the entries."""
        found: dict[tuple[int, int], bytes] = {}
        for size, row in enumerate(self.rows):
            data = row[-1]
            assert isinstance(data, bytes)
            for level, index, value in rules.new_nodes(size, rules.leaf_hash(data), lambda *place: found[place]):
                found[level, index] = value
        self.nodes = [(*place, value) for place, value in found.items()]
        self.rechained = True

    def copy(self) -> Book:
        return Book(list(self.rows), list(self.nodes), list(self.notes), self.copies, self.key)


def flip(data: bytes, chance: random.Random) -> bytes:
    """The same bytes with one bit changed."""
    changed = bytearray(data)
    changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def replaced(row: Row, place: int, value: object) -> Row:
    return (*row[:place], value, *row[place + 1 :])


def flip_entry(book: Book, chance: random.Random) -> None:
    number = chance.randrange(len(book.rows))
    data = book.rows[number][-1]
    assert isinstance(data, bytes)
    book.rows[number] = replaced(book.rows[number], 6, flip(data, chance))


def flip_column(book: Book, chance: random.Random) -> None:
    number, column = chance.randrange(len(book.rows)), chance.randrange(1, 6)
    text = str(book.rows[number][column]).encode()
    book.rows[number] = replaced(book.rows[number], column, flip(text, chance))


def flip_node(book: Book, chance: random.Random) -> None:
    number = chance.randrange(len(book.nodes))
    level, index, value = book.nodes[number]
    book.nodes[number] = (level, index, flip(value, chance))


def delete_node(book: Book, chance: random.Random) -> None:
    del book.nodes[chance.randrange(len(book.nodes))]


def insert_node(book: Book, chance: random.Random) -> None:
    taken = {(level, index) for level, index, _ in book.nodes}
    while (place := (chance.randrange(0, 8), chance.randrange(0, 50))) in taken:
        pass
    book.nodes.append((*place, chance.randbytes(32)))


def flip_checkpoint(book: Book, chance: random.Random) -> None:
    number = chance.randrange(len(book.notes))
    size, note = book.notes[number]
    book.notes[number] = (size, flip(note, chance))
    book.changed_notes.add(size)


def move_checkpoint(book: Book, chance: random.Random) -> None:
    number = chance.randrange(len(book.notes))
    size, note = book.notes[number]
    book.notes[number] = (size + chance.choice((-1, 1)), note)
    book.changed_notes.add(book.notes[number][0])


def delete_entry(book: Book, chance: random.Random) -> None:
    del book.rows[chance.randrange(len(book.rows))]


def insert_entry(book: Book, chance: random.Random) -> None:
    """A false entry in between; all that follow are numbered anew, in their columns only."""
    number = chance.randrange(len(book.rows))
    book.rows.insert(number, book.rows[number])
    book.rows = [replaced(row, 0, place) for place, row in enumerate(book.rows)]


def duplicate_entry(book: Book, chance: random.Random) -> None:
    book.rows.append(replaced(chance.choice(book.rows), 0, len(book.rows)))


def swap_entries(book: Book, chance: random.Random) -> None:
    one, other = chance.sample(range(len(book.rows)), 2)
    book.rows[one], book.rows[other] = replaced(book.rows[other], 0, one), replaced(book.rows[one], 0, other)


def truncate(book: Book, chance: random.Random) -> None:
    """Entries and later checkpoints are gone, and the tree fits what is left: only the copies know."""
    size = chance.randrange(SIGNED[-1])
    book.rows = book.rows[:size]
    book.notes = [note for note in book.notes if note[0] <= size]
    book.rechain()
    book.rechained = False  # the first entry that is missing can be told


def truncate_only(book: Book, chance: random.Random) -> None:
    book.rows = book.rows[: chance.randrange(len(book.rows))]


def renumber(book: Book, chance: random.Random) -> None:
    number = chance.randrange(len(book.rows))
    row = book.rows.pop(number)
    book.rows.append(replaced(row, 0, chance.choice((-1 - number, len(book.rows) + 1 + chance.randrange(100)))))
    book.rows.sort(key=lambda row: int(str(row[0])))


def edit(book: Book, chance: random.Random) -> int:
    """Another time or actor, in the column and in the bytes alike. Returns which entry it was."""
    number = chance.randrange(SIGNED[-1])
    column, old, new = chance.choice(((2, b"2026", b"2025"), (3, b"anna", b"eve!")))
    row = book.rows[number]
    data = row[6]
    assert isinstance(data, bytes)
    row = replaced(row, 6, data.replace(old, new, 1))
    book.rows[number] = replaced(row, column, str(row[column]).encode().replace(old, new))
    return number


def edit_only(book: Book, chance: random.Random) -> None:
    edit(book, chance)


def edit_and_rechain(book: Book, chance: random.Random) -> None:
    edit(book, chance)
    book.rechain()


def delete_and_rechain(book: Book, chance: random.Random) -> None:
    """An entry vanishes, all that follow are written anew with their new numbers, and the tree fits."""
    number = chance.randrange(SIGNED[-1])
    del book.rows[number]
    for place in range(number, len(book.rows)):
        data = book.rows[place][6]
        assert isinstance(data, bytes)
        data = data.replace(b'"sequence":%d,' % (place + 1), b'"sequence":%d,' % place)
        book.rows[place] = replaced(replaced(book.rows[place], 0, place), 6, data)
    book.rechain()


KINDS: tuple[Callable[[Book, random.Random], None], ...] = (
    flip_entry, flip_column, flip_node, delete_node, insert_node, flip_checkpoint, move_checkpoint, delete_entry,
    insert_entry, duplicate_entry, swap_entries, truncate, truncate_only, renumber, edit_only, edit_and_rechain,
    delete_and_rechain,
)  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Book]:
    """A book of 37 entries with four checkpoints, copies of which are outside."""
    folder = tmp_path_factory.mktemp("original")
    create_key(folder / "key")
    signer, clock = FileSigner(folder / "key"), StandingClock()
    database = Database(folder / "ledger.db", clock)
    database.create(ORIGIN)
    copies = []
    for number in range(SIZE):
        if number in SIGNED:
            copies.append(database.checkpoint(ORIGIN, signer).note)
        with database.write(f"w{number % 2}", "anna") as tx:
            tx.record(f"thing.made{number}", f"thing:{number}", {"number": number, "text": "ü" * (number % 5)})
        clock.advance(timedelta(seconds=1))
    copies.append(database.checkpoint(ORIGIN, signer).note)
    database.close()
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        rows = connection.execute("SELECT * FROM ledger_entries ORDER BY sequence").fetchall()
        nodes = connection.execute('SELECT * FROM ledger_nodes ORDER BY level, "index"').fetchall()
        notes = connection.execute("SELECT size, CAST(note AS BLOB) FROM ledger_checkpoints").fetchall()
    return folder / "ledger.db", Book(rows, nodes, notes, copies, signer.public_key)


def first_bad(before: Book, after: Book) -> int | None:
    """The first entry that a change concerns, by comparison with the original; None for checkpoints alone."""
    places = [
        place
        for place in range(max(len(before.rows), len(after.rows)))
        if plain(before.rows[place : place + 1]) != plain(after.rows[place : place + 1])
    ]
    if not places:  # else the tree is wrong because the entries are
        nodes = {(level, index): value for level, index, value in before.nodes}
        others = {(level, index): value for level, index, value in after.nodes}
        places = [place[1] << place[0] for place in {*nodes, *others} if nodes.get(place) != others.get(place)]
    return min(places, default=None)


def plain(rows: list[Row]) -> list[Row]:
    return [tuple(value.encode() if isinstance(value, str) else value for value in row) for row in rows]


def complaint(before: Book, after: Book, findings: list[Finding]) -> str:
    """What is wrong with the findings about a change, if anything."""
    if not findings:
        return "not found"
    expected = first_bad(before, after)
    named = min((finding.sequence for finding in findings if finding.sequence is not None), default=None)
    if expected is None:
        sizes = after.changed_notes
        return "" if all(any(str(size) in one.problem for one in findings) for size in sizes) else "no size named"
    if after.rechained:
        # Entries and tree fit each other: the signatures tell between which two checkpoints it is.
        proven = max(size for size in (0, *SIGNED) if size <= expected)
        return "" if named == proven else f"named {named}, expected {proven}"
    return "" if named == expected else f"named {named}, expected {expected}"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_mutation_is_found_and_placed(
    original: tuple[Path, Book], tmp_path: Path, kind: Callable[[Book, random.Random], None]
) -> None:
    """Whatever is flipped, deleted, inserted, swapped, cut, doubled, renumbered, edited or chained anew: `verify`
    finds it, given checkpoints that were copied elsewhere, and names the first entry concerned."""
    path, before = original
    wrong = []
    for seed in range(max(1, MUTATIONS // len(KINDS))):
        after = before.copy()
        kind(after, random.Random(f"{kind.__name__}/{seed}"))
        shutil.copy(path, tmp_path / "copy.db")
        after.write(tmp_path / "copy.db")
        _, findings = verify_book(
            tmp_path / "copy.db", ORIGIN, Ed25519Verifier().verify, before.copies, public_key=before.key
        )
        problem = complaint(before, after, findings)
        if problem:
            wrong.append((seed, problem, findings))

    assert [] == wrong


def test_an_unchanged_book_is_whole(original: tuple[Path, Book], tmp_path: Path) -> None:
    """What the mutations start from has no findings, also after it was written back."""
    path, before = original
    shutil.copy(path, tmp_path / "copy.db")
    before.copy().write(tmp_path / "copy.db")

    found = verify_book(tmp_path / "copy.db", ORIGIN, Ed25519Verifier().verify, before.copies, public_key=before.key)

    assert (SIZE, []) == found
