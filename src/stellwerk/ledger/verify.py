"""Independent check of a book: knows only the written format (`docs/formats/ledger.md`), SQLite and SHA-256.

Shares no code with the writer, so that a mistake there cannot hide here. Signatures are checked by a function
the caller passes in.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stellwerk.core.errors import NotFound, Unavailable
from stellwerk.ledger.model import Finding

Check = Callable[[bytes, bytes], bool]
"""(signature, message) → whether the workspace's key signed it."""

FIELDS = ("workspace", "at", "actor", "kind", "subject")
_SIGNATURE = r"— \S+ [A-Za-z0-9+/]+={0,2}\n"
_NOTE = re.compile(
    rf"((?P<origin>\S+)\n(?P<size>0|[1-9][0-9]{{0,15}})\n(?P<root>[A-Za-z0-9+/]{{43}}=)\n)\n((?:{_SIGNATURE})+)"
)


def verify_book(
    database: Path,
    origin: str,
    check: Check,
    notes: Iterable[str] = (),
    *,
    public_key: bytes | None = None,
) -> tuple[int, list[Finding]]:
    """Verify every entry, the tree, and all checkpoints (those kept in the database and copies from elsewhere).

    With `public_key`, the key hash that each checkpoint names is verified too. Returns the number of entries and
    the findings; no findings means the book is whole. Raises `NotFound` where there is no file, and `Unavailable`
    where it may not be opened.
    """
    if not database.is_file():
        raise NotFound("there is no book to verify", code="not-found")
    verification = _Verification(origin, check, public_key, tuple(notes))
    try:
        with closing(_open(database)) as connection:
            verification.run(connection)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as cause:
        verification.report(f"the database cannot be read: {cause}")
    return verification.count, verification.findings


def _open(database: Path) -> sqlite3.Connection:
    """A connection for reading only, at one moment, whatever is written meanwhile."""
    location = f"{database.resolve().as_uri()}?mode=ro"  # `as_uri` escapes what a URI would misread
    connection = sqlite3.connect(location, uri=True, isolation_level=None)
    try:
        connection.execute("BEGIN")
        connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as cause:
        connection.close()
        log = database.with_name(f"{database.name}-wal")
        sealed = not log.exists() or log.stat().st_size == 0
        if not sealed or cause.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise Unavailable(
                f"the book cannot be opened for reading: {cause}",
                code="database-unavailable",
                hint="copy it, with its -wal file, to a folder that you may write to",
            ) from cause
        # A closed book in a folder where SQLite may not make its side files: all of it is in the one file.
        connection = sqlite3.connect(f"{location}&immutable=1", uri=True, isolation_level=None)
    # Bytes that are no text are for the comparison to find.
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    return connection


@dataclass(frozen=True)
class _Note:
    text: str
    origin: str
    size: int
    root: bytes
    signatures: str


class _Verification:
    """One pass over a book, in memory that grows with the logarithm of its size."""

    def __init__(self, origin: str, check: Check, public_key: bytes | None, notes: tuple[str, ...]) -> None:
        self.count = 0
        self.findings: list[Finding] = []
        self._origin, self._check, self._notes = origin, check, notes
        self._key_hash = public_key and hashlib.sha256(origin.encode() + b"\n\x01" + public_key).digest()[:4]
        self._frontier: list[bytes] = []  # roots of full subtrees, largest first
        self._levels: dict[int, Iterator[tuple[int, bytes]]] = {}  # stored nodes of each level still to compare
        self._wrong: set[int] = set()

    def report(self, problem: str, sequence: int | None = None) -> None:
        self.findings.append(Finding(sequence=sequence, problem=problem))

    def run(self, connection: sqlite3.Connection) -> None:
        self._check_file(connection)
        kept = connection.execute("SELECT size, note FROM ledger_checkpoints ORDER BY size").fetchall()
        for size, note in kept:
            read = _read_note(note)
            if read is not None and read.size != size:
                self.report(f"the checkpoint kept for {size} entries is one for {read.size}")
        notes = [_read_note(note) for note in (*(note for _, note in kept), *self._notes)]
        wanted = {note.size for note in notes if note is not None}
        roots = {0: hashlib.sha256(b"").digest()}
        rows = connection.execute(
            "SELECT sequence, workspace, at, actor, kind, subject, bytes FROM ledger_entries ORDER BY sequence"
        )
        expected = 0
        for row in rows:
            expected = self._check_row(row, expected)
            self._append(connection, row[-1] if isinstance(row[-1], bytes) else b"")
            if self.count in wanted:
                roots[self.count] = _fold(self._frontier)
        self._check_end(connection)
        for note in notes:
            self._check_note(note, roots)

    def _check_file(self, connection: sqlite3.Connection) -> None:
        for (text,) in connection.execute("PRAGMA integrity_check(20)"):
            if text != "ok":
                self.report(f"SQLite finds: {text}")
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        if meta.get("schema") != "1":
            self.report(f"the database has schema {meta.get('schema')!r}, this verifier knows '1'")
        if meta.get("origin") != self._origin:
            self.report(f"the database calls itself {meta.get('origin')!r}, expected {self._origin!r}")

    def _check_row(self, row: tuple[Any, ...], expected: int) -> int:
        """Compare the columns of an entry with its bytes; returns the sequence to expect next."""
        sequence, *columns, data = row
        if not isinstance(sequence, int):
            self.report(f"expected entry {expected} here, got {sequence!r}")
            return expected + 1
        if sequence != expected:
            self.report(f"expected entry {expected} here: entries are missing", sequence)
        try:
            document = json.loads(data)
        except (TypeError, ValueError, RecursionError):
            document = None
        if not isinstance(document, dict) or set(document) != {"format", "sequence", "body", *FIELDS}:
            self.report("the entry is not a JSON object with the fields of the format", sequence)
            return sequence + 1
        if document["format"] != "stellwerk-entry/1":
            self.report(f"the entry has the unknown format {document['format']!r}", sequence)
        columns = [sequence, *columns]
        for field, value in zip(("sequence", *FIELDS), columns, strict=True):
            if document[field] != value or type(document[field]) is not type(value):
                self.report(f"column {field} differs from the entry", sequence)
        return sequence + 1

    def _append(self, connection: sqlite3.Connection, data: bytes) -> None:
        """Add a leaf to the tree, comparing every node it completes with the stored one."""
        index, level, value = self.count, 0, hashlib.sha256(b"\x00" + data).digest()
        self.count += 1
        self._compare(connection, level, index, value)
        while index & 1:
            value = hashlib.sha256(b"\x01" + self._frontier.pop() + value).digest()
            index, level = index >> 1, level + 1
            self._compare(connection, level, index, value)
        self._frontier.append(value)

    def _compare(self, connection: sqlite3.Connection, level: int, index: int, value: bytes) -> None:
        if level not in self._levels:
            self._levels[level] = connection.execute(
                'SELECT "index", hash FROM ledger_nodes WHERE level = ? ORDER BY "index"', (level,)
            )
        if level not in self._wrong and next(self._levels[level], None) != (index, value):
            self.report(f"the stored tree node {level}/{index} does not match the entries", index << level)
            self._wrong.add(level)  # what follows on this level may be shifted; one finding for it is enough

    def _check_end(self, connection: sqlite3.Connection) -> None:
        (stored,) = connection.execute("SELECT COUNT(*) FROM ledger_nodes").fetchone()
        complete = sum(self.count >> level for level in range(self.count.bit_length()))
        if stored != complete:
            self.report(f"the stored tree has {stored} nodes, {self.count} entries make {complete}")

    def _check_note(self, note: _Note | None, roots: dict[int, bytes]) -> None:
        if note is None or note.origin != self._origin:
            self.report("a checkpoint is unreadable or belongs to another book")
        elif not self._is_signed(note):
            self.report(f"the checkpoint at {note.size} entries is not signed by this workspace")
        elif note.size > self.count:
            self.report(f"a checkpoint proves {note.size} entries, the book has {self.count}")
        elif roots.get(note.size) != note.root:
            self.report(f"the first {note.size} entries are not those the checkpoint proves")

    def _is_signed(self, note: _Note) -> bool:
        for line in note.signatures.splitlines():
            _, name, encoded = line.split(" ")
            blob = _unbase64(encoded)
            ours = name == self._origin and blob is not None and self._key_hash in (None, blob[:4])
            if ours and blob is not None and self._check(blob[4:], note.text.encode()):
                return True
        return False


def _fold(frontier: list[bytes]) -> bytes:
    value = frontier[-1]
    for left in reversed(frontier[:-1]):
        value = hashlib.sha256(b"\x01" + left + value).digest()
    return value


def _read_note(note: object) -> _Note | None:
    match = _NOTE.fullmatch(note) if isinstance(note, str) else None
    root = _unbase64(match["root"]) if match else None
    if match is None or root is None:
        return None
    return _Note(text=match[1], origin=match["origin"], size=int(match["size"]), root=root, signatures=match[5])


def _unbase64(text: str) -> bytes | None:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return data if base64.b64encode(data).decode() == text else None
