"""Independent check of a book: knows only the written format (`docs/formats/ledger.md`), SQLite and SHA-256.

Shares no code with the writer, so that a mistake there cannot hide here. Signatures are checked by a function
the caller passes in.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from stellwerk.ledger.model import Finding

Check = Callable[[bytes, bytes], bool]
"""(signature, message) → whether the workspace's key signed it."""


def verify_book(database: Path, origin: str, check: Check, notes: Iterable[str] = ()) -> tuple[int, list[Finding]]:
    """Verify every entry, the tree, and all checkpoints (those kept in the database and copies from elsewhere).

    Returns the number of entries and the findings; no findings means the book is whole.
    """
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT sequence, workspace, at, actor, kind, subject, bytes FROM ledger_entries ORDER BY sequence"
        )
        kept = [note for (note,) in connection.execute("SELECT note FROM ledger_checkpoints ORDER BY size")]
        wanted = {size: root for size, root in map(_size_and_root, [*kept, *notes]) if size is not None}
        findings: list[Finding] = []
        frontier: list[bytes] = []  # roots of full subtrees, largest first
        roots = {0: hashlib.sha256(b"").digest()}
        count = 0
        for count, row in enumerate(rows, start=1):
            findings += _check_row(row, count - 1)
            _append(frontier, count - 1, hashlib.sha256(b"\x00" + row[6]).digest())
            if count in wanted:
                roots[count] = _fold(frontier)
        stored = connection.execute('SELECT level, "index", hash FROM ledger_nodes WHERE level = 0').fetchall()
        leaves = connection.execute("SELECT sequence, bytes FROM ledger_entries").fetchall()
    expected = {sequence: hashlib.sha256(b"\x00" + data).digest() for sequence, data in leaves}
    if {index: value for _, index, value in stored} != expected:
        findings.append(Finding(sequence=None, problem="the stored tree does not match the entries"))
    for note in [*kept, *notes]:
        findings += _check_note(note, origin, roots, count, check)
    return count, findings


def _check_row(row: tuple[int, str, str, str, str, str, bytes], position: int) -> list[Finding]:
    sequence, *columns, data = row
    if sequence != position:
        return [Finding(sequence=sequence, problem=f"expected entry {position} here: entries are missing")]
    try:
        document = json.loads(data)
    except ValueError:
        return [Finding(sequence=sequence, problem="the entry is not JSON")]
    fields = ("workspace", "at", "actor", "kind", "subject")
    wrong = [field for field, value in zip(fields, columns, strict=True) if document.get(field) != value]
    if document.get("sequence") != sequence:
        wrong.append("sequence")
    return [Finding(sequence=sequence, problem=f"column {field} differs from the entry") for field in wrong]


def _append(frontier: list[bytes], index: int, leaf: bytes) -> None:
    value = leaf
    while index & 1:
        value = hashlib.sha256(b"\x01" + frontier.pop() + value).digest()
        index >>= 1
    frontier.append(value)


def _fold(frontier: list[bytes]) -> bytes:
    value = frontier[-1]
    for left in reversed(frontier[:-1]):
        value = hashlib.sha256(b"\x01" + left + value).digest()
    return value


def _size_and_root(note: str) -> tuple[int | None, bytes]:
    try:
        _, size, root = note.partition("\n\n")[0].split("\n")
        return int(size), base64.b64decode(root)
    except ValueError:
        return None, b""


def _check_note(note: str, origin: str, roots: dict[int, bytes], count: int, check: Check) -> list[Finding]:
    text, _, tail = note.partition("\n\n")
    size, root = _size_and_root(note)
    parts = tail.split()
    if size is None or len(parts) != 3 or text.split("\n")[0] != origin:
        return [Finding(sequence=None, problem="a checkpoint is unreadable or belongs to another book")]
    if not check(base64.b64decode(parts[2])[4:], (text + "\n").encode()):
        return [Finding(sequence=None, problem=f"the checkpoint at {size} entries is not signed by this workspace")]
    if size > count:
        return [Finding(sequence=None, problem=f"a checkpoint proves {size} entries, the book has {count}")]
    if roots.get(size) != root:
        return [Finding(sequence=None, problem=f"the first {size} entries are not those the checkpoint proves")]
    return []
