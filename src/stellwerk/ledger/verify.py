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
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stellwerk.core.errors import NotFound, Unavailable
from stellwerk.ledger.model import Finding

Check = Callable[[bytes, bytes, bytes], bool]
"""(public key, signature, message) → whether that key signed that message."""

FIELDS = ("workspace", "at", "actor", "kind", "subject")
MOST_FINDINGS = 1000
"""A book of which nothing fits must not fill the memory; what comes after is counted in one more finding."""

_SIGNATURE = r"— \S+ [A-Za-z0-9+/]+={0,2}\n"
_NOTE = re.compile(
    rf"((?P<origin>\S+)\n(?P<size>0|[1-9][0-9]{{0,15}})\n(?P<root>[A-Za-z0-9+/]{{43}}=)\n)\n((?:{_SIGNATURE})+)"
)
_PLAIN = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]*')
"""Text that JSON spells as it is."""
_FORMAT = "stellwerk-entry/1"


def verify_book(
    database: Path,
    origin: str,
    check: Check,
    notes: Iterable[str] = (),
    *,
    public_key: bytes | None = None,
) -> tuple[int, list[Finding]]:
    """Verify every entry, the tree, and all checkpoints (those kept in the database and copies from elsewhere).

    With `public_key`, a key that was known beforehand, that key must be one of the book's. Returns the number of
    entries and the findings; no findings means the book is whole. Raises `NotFound` where there is no file, and
    `Unavailable` where it may not be opened.
    """
    if not database.is_file():
        raise NotFound("there is no book to verify", code="not-found")
    verification = Verification(origin, check, public_key)
    try:
        with closing(_open(database)) as connection:
            _verify_file(verification, connection, notes)
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
        if cause.sqlite_errorcode & 0xFF == sqlite3.SQLITE_ERROR:
            raise  # it can be opened and not understood, such as a format that no version knows: damage
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


def _verify_file(verification: Verification, connection: sqlite3.Connection, notes: Iterable[str]) -> None:
    for (text,) in connection.execute("PRAGMA integrity_check(20)"):
        if text != "ok":
            verification.report(f"SQLite finds: {text}")
    verify_tables(verification, connection, notes)


class Tables(Protocol):
    """A snapshot of the tables of a book, read with SQL that every database understands."""

    def execute(self, statement: str, values: tuple[Any, ...] = (), /) -> Any:
        """Rows to go through, with `fetchone` and `fetchall`. Several may be open at once."""
        ...


def verify_tables(verification: Verification, connection: Tables, notes: Iterable[str]) -> None:
    """Verify the tables of a book, wherever they lie."""
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    if meta.get("schema") not in ("1", "2", "3", "4", "5"):
        verification.report(f"the database has schema {meta.get('schema')!r}, this verifier knows '1' to '4'")
    if meta.get("origin") != verification.origin:
        verification.report(f"the database calls itself {meta.get('origin')!r}, expected {verification.origin!r}")
    kept = connection.execute("SELECT size, note FROM ledger_checkpoints ORDER BY size").fetchall()
    verification.expect(kept, notes)
    nodes = _StoredNodes(connection, verification)
    rows = connection.execute(
        "SELECT sequence, workspace, at, actor, kind, subject, bytes FROM ledger_entries ORDER BY sequence"
    )
    for sequence, *columns, data in rows:
        verification.row(sequence, columns, data, nodes.compare)
    nodes.end()
    verification.end()


class _StoredNodes:
    """The tree that the database keeps, level by level, compared with the one that the entries make."""

    def __init__(self, connection: Tables, verification: Verification) -> None:
        self._connection, self._verification = connection, verification
        self._levels: list[Iterator[tuple[int, bytes]]] = []
        self._wrong: dict[int, int] = {}  # level → the first entry below the first node that does not fit

    def compare(self, level: int, index: int, value: bytes) -> None:
        if level == len(self._levels):
            query = 'SELECT "index", hash FROM ledger_nodes WHERE level = ? ORDER BY "index"'
            self._levels.append(self._connection.execute(query, (level,)))
        if next(self._levels[level], None) != (index, value) and level not in self._wrong:
            self._differs(level, index)

    def _differs(self, level: int, index: int) -> None:
        """Report a level once, for what follows on it may be shifted; and not where a lower one explains it."""
        place, end = index << level, (index + 1) << level
        if not any(wrong < end for lower, wrong in self._wrong.items() if lower < level):
            self._verification.report(f"the stored tree node {level}/{index} does not match the entries", place)
            self._wrong[level] = place

    def end(self) -> None:
        (stored,) = self._connection.execute("SELECT COUNT(*) FROM ledger_nodes").fetchone()
        count = self._verification.count
        complete = sum(count >> level for level in range(count.bit_length()))
        if stored == complete:
            return
        extra = self._connection.execute(
            'SELECT level, "index" FROM ledger_nodes WHERE level < 0 OR level > 62 OR "index" < 0'
            ' OR "index" >= (? >> CAST(level AS INTEGER)) LIMIT 1',
            (count,),
        ).fetchone()
        place = extra[1] << extra[0] if extra and 0 <= extra[0] <= 62 and extra[1] >= 0 else None
        self._verification.report(f"the stored tree has {stored} nodes, {count} entries make {complete}", place)


@dataclass(frozen=True)
class _Note:
    text: str
    origin: str
    size: int
    root: bytes
    signatures: str


class Verification:
    """One pass over the entries of a book, in memory that grows with the logarithm of their number.

    Say first which checkpoints to `expect`, then give every `row`, then `end`.
    """

    def __init__(self, origin: str, check: Check, public_key: bytes | None) -> None:
        self.origin = origin
        self.count = 0
        self.findings: list[Finding] = []
        self._check, self._known = check, public_key
        self._expected = 0
        self._more = 0
        self._frontier: list[bytes] = []  # roots of full subtrees, largest first
        self._notes: list[_Note] = []
        self._texts: set[str] = set()  # copies are mostly of checkpoints that are kept, too
        self._roots: dict[int, bytes] = {}
        self._keys: list[bytes] = [] if public_key is None else [public_key]
        self._since = [0]  # the book's size from which on each key signs
        self._named = False  # whether the book itself said which its first key is

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The keys that the book has had, as far as they follow from each other."""
        return tuple(self._keys)

    def report(self, problem: str, sequence: int | None = None) -> None:
        """Note something that is wrong."""
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding(sequence=sequence, problem=problem))
        else:
            self._more += 1

    def expect(self, kept: Iterable[tuple[Any, Any]], copies: Iterable[str]) -> None:
        """Which checkpoints the entries must lead to: those kept in the book for a size, and copies from elsewhere."""
        for size, text in kept:
            note = self._take(text, "a checkpoint" if size is None else f"the checkpoint kept for {size} entries")
            if note is not None and size is not None and note.size != size:
                self.report(f"the checkpoint kept for {size} entries is one for {note.size}")
        for text in copies:
            if text not in self._texts:
                self._take(text, "a checkpoint")
        self._roots = dict.fromkeys((note.size for note in self._notes), b"")
        if 0 in self._roots:
            self._roots[0] = hashlib.sha256(b"").digest()

    def row(
        self, sequence: Any, columns: list[Any], data: Any, compare: Callable[[int, int, bytes], None] | None = None
    ) -> None:
        """One entry with the columns that repeat its fields, in the order of `FIELDS`; `compare` gets each node."""
        if isinstance(sequence, int):
            if sequence != self._expected:
                self.report(f"expected entry {self._expected} here: entries are missing", self._expected)
            body = _body(sequence, columns, data)
            if body is None:
                body = self._compare_columns(sequence, columns, data)
            self._expected = max(sequence + 1, 0)
        else:
            self.report(f"expected entry {self._expected} here, got {sequence!r}", self._expected)
            body = None
            self._expected += 1
        if body is not None and columns[3] in ("workspace.created", "key.rotated"):
            self._note_key(columns[3], body, sequence)
        self._append(data if isinstance(data, bytes) else b"", compare)

    def end(self) -> None:
        """Judge the checkpoints and the keys, when all entries were given."""
        if self._known is not None and self._known not in self._keys:
            self.report("the key that was known beforehand is none of this book's")
        proven = 0
        for note in sorted(self._notes, key=lambda note: note.size):
            proven = self._check_note(note, proven)
        if self._more:
            self.findings.append(Finding(sequence=None, problem=f"{self._more} more findings are not listed"))

    def _compare_columns(self, sequence: int, columns: list[Any], data: Any) -> dict[str, Any] | None:
        """Parse a whole entry and compare every column with it. Returns its body where it has one."""
        try:
            document = json.loads(data, object_pairs_hook=_once)
        except (TypeError, ValueError, RecursionError):
            document = None
        place = max(sequence, 0)
        if not isinstance(document, dict) or set(document) != {"format", "sequence", "body", *FIELDS}:
            self.report("the entry is not a JSON object with the fields of the format", place)
            return None
        if document["format"] != _FORMAT:
            self.report(f"the entry has the unknown format {document['format']!r}", place)
        for field, value in zip(("sequence", *FIELDS), (sequence, *columns), strict=True):
            if document[field] != value or type(document[field]) is not type(value):
                self.report(f"column {field} differs from the entry", place)
        body = document["body"]
        if not isinstance(body, dict):
            self.report("the entry's body is not a JSON object", place)
            return None
        return body

    def _append(self, data: bytes, compare: Callable[[int, int, bytes], None] | None) -> None:
        """Add a leaf to the tree."""
        index, level, value = self.count, 0, hashlib.sha256(b"\x00" + data).digest()
        self.count += 1
        frontier = self._frontier
        if compare is not None:
            compare(0, index, value)
        while index & 1:
            value = hashlib.sha256(b"\x01" + frontier.pop() + value).digest()
            index, level = index >> 1, level + 1
            if compare is not None:
                compare(level, index, value)
        frontier.append(value)
        if self.count in self._roots:
            self._roots[self.count] = _fold(frontier)

    # Keys

    def _note_key(self, kind: str, body: dict[str, Any], sequence: int) -> None:
        if kind == "key.rotated":
            following = _rotation(
                body, self.origin, len(self._keys), self._keys[-1] if self._keys else b"", self._check
            )
            if following is None:
                self.report("the change of the signing key is not signed by the old key and the new one", sequence)
            else:
                self._keys.append(following)
                self._since.append(sequence + 1)
        elif not self._named and len(self._since) == 1 and "key" in body:
            self._named = True
            first = _key(body["key"])
            if first is None:
                self.report("the entry names no public key", sequence)
            else:
                self._keys = [first]

    # Checkpoints

    def _take(self, text: Any, what: str) -> _Note | None:
        note = _read_note(text)
        if note is None or note.origin != self.origin:
            self.report(f"{what} is unreadable or belongs to another book")
            return None
        self._notes.append(note)
        self._texts.add(text)
        return note

    def _check_note(self, note: _Note, proven: int) -> int:
        """Judge a checkpoint; returns how many entries are proven to be those that were signed."""
        if not self._is_signed(note):
            self.report(f"the checkpoint at {note.size} entries is not signed by this workspace")
        elif note.size > self.count:
            self.report(f"a checkpoint proves {note.size} entries, the book has {self.count}", self.count)
        elif self._roots[note.size] != note.root:
            self.report(f"the first {note.size} entries are not those the checkpoint proves", self._first(proven))
        else:
            return note.size
        return proven

    def _first(self, proven: int) -> int:
        """Where entries begin to differ: what was found to be wrong, or the first that no checkpoint proves."""
        found = (finding.sequence for finding in self.findings if finding.sequence is not None)
        return min((place for place in found if place >= proven), default=proven)

    def _is_signed(self, note: _Note) -> bool:
        """Whether the key that signed at that size signed this: an older or a newer one does not count."""
        if not self._keys:
            return False
        key = self._keys[bisect_right(self._since, note.size) - 1]
        key_hash = hashlib.sha256(self.origin.encode() + b"\n\x01" + key).digest()[:4]
        for line in note.signatures.splitlines():
            _, name, encoded = line.split(" ")
            blob = _unbase64(encoded)
            ours = name == self.origin and blob is not None and blob[:4] == key_hash
            if ours and blob is not None and self._check(key, blob[4:], note.text.encode()):
                return True
        return False


def _body(sequence: int, columns: list[Any], data: Any) -> dict[str, Any] | None:
    """The body of an entry whose bytes are the canonical spelling of its columns around one JSON object; else None.

    Faster than parsing the whole entry, and as strict: what stands before and after the body is compared byte for
    byte, and what is between must be exactly one object.
    """
    try:
        workspace, at, actor, kind, subject = columns
        # One look at all of them; the separator can stand in none.
        if not _PLAIN.fullmatch(f"{workspace}{at}{actor}{kind}{subject}"):
            return None
        start = f'{{"actor":"{actor}","at":"{at}","body":'.encode()
        end = (
            f',"format":"{_FORMAT}","kind":"{kind}","sequence":{sequence},"subject":"{subject}",'
            f'"workspace":"{workspace}"}}'
        ).encode()
        if type(data) is not bytes or data[: len(start)] != start or data[-len(end) :] != end:
            return None
        body = json.loads(data[len(start) : -len(end)].decode())  # as text, or JSON would guess an encoding
    except (TypeError, ValueError, RecursionError):
        return None
    texts = all(type(column) is str for column in columns)
    return body if type(body) is dict and texts and type(sequence) is int else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _rotation(body: dict[str, Any], origin: str, number: int, previous: bytes, check: Check) -> bytes | None:
    """The key that a `key.rotated` entry announces, if the key before it and the new one have signed so."""
    key, signatures = _key(body.get("key")), body.get("signatures")
    if key is None or body.get("previous") != previous.hex() or body.get("number") != number:
        return None
    if not isinstance(signatures, dict):
        return None
    text = f"stellwerk-key-rotation/1\n{origin}\n{number}\n{previous.hex()}\n{key.hex()}\n".encode()
    for signer, field in ((previous, "previous"), (key, "new")):
        signature = _unbase64(signatures.get(field))
        if signature is None or not check(signer, signature, text):
            return None
    return key


def _key(text: Any) -> bytes | None:
    return bytes.fromhex(text) if isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text) else None


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


def _unbase64(text: Any) -> bytes | None:
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None
