"""`verify` and `fsck`: the book and the store against independent readers of their formats."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

from stellwerk.core.errors import Corrupt
from stellwerk.ledger.model import Finding
from stellwerk.store.fsck import Holdings, check_references
from stellwerk.store.model import Damage
from stellwerk.workspace import books
from stellwerk.workspace.layout import Layout
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.settings import Settings
from stellwerk.workspace.stores import open_catalogue

REFERENCES = ("digest", "outputs", "inputs", "features", "labels", "statement", "plan", "model", "evidence")
"""Fields of ledger entries whose digests must be in the store."""
ADDED = ("data.added", "data.referred", "data.imported")
"""Kinds of entries that make a dataset version."""
TREE = b'"format":"stellwerk-tree/1"}'
LET_GO = ("data.removed", "data.untracked")
"""Kinds of entries that name what was let go; nobody owes its bytes."""
MAX_TREE = 256 << 20
"""About a million and a half names in one folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BookReport:
    """What the independent verifier found."""

    entries: int
    root: str
    """Base64 of the Merkle root that was signed, as in the checkpoint."""
    key: str
    """Hex of the public key that signed it."""
    checkpoint: str
    findings: tuple[Finding, ...]


def verify(rooms: Rooms, notes: Sequence[str] = ()) -> BookReport:
    """Verify the whole book and the rows of releases, and sign a checkpoint if all is whole.

    Args:
        notes: Checkpoints that were kept elsewhere.
    """
    latest = rooms.layout.checkpoints / "latest.txt"
    copy = latest.read_text("utf-8", "replace") if latest.is_file() else ""
    public, foreign = _public_key(rooms)
    known = chain(notes, [copy] if copy else (), _logged(rooms))
    count, findings = books.verify(rooms.layout, rooms.settings, rooms.verifier.verify, known, public)
    if not findings:  # else what the entries tell means little
        findings = [
            Finding(sequence=None, problem=f"the row of release {name} is not what the entries tell: {wrong}")
            for name, wrong in rooms.interlocking.untold()
        ]
    findings = [*foreign, *findings]
    note = rooms.checkpoint() if not findings else copy
    root = note.split("\n")[2] if note else ""
    return BookReport(entries=count, root=root, key=public.hex(), checkpoint=note, findings=tuple(findings))


def _public_key(rooms: Rooms) -> tuple[bytes, list[Finding]]:
    """The key that signs; where the folder has another than the book names, the book's, and a finding."""
    try:
        return rooms.signer.public_key, []
    except Corrupt as problem:
        if problem.code != "foreign-key":
            raise
        return bytes.fromhex(rooms.ring.current()), [Finding(sequence=None, problem=problem.message)]


def _logged(rooms: Rooms) -> Iterator[str]:
    """The copies of checkpoints that were kept beside the book; a line that was cut off by a crash is none."""
    log = rooms.layout.checkpoints / "log.jsonl"
    if not log.is_file():
        return
    with log.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield _text(line)


def _text(line: bytes) -> str:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, str) else ""


class Grounded(Protocol):
    """What has a folder with a store, and a book somewhere."""

    @property
    def layout(self) -> Layout: ...

    @property
    def settings(self) -> Settings: ...


@dataclass(frozen=True, slots=True)
class Place:
    """A workspace that nobody opened."""

    layout: Layout
    settings: Settings


def fsck(rooms: Grounded) -> list[Damage]:
    """Check every blob, and that every digest the ledger names has one."""
    with closing(open_catalogue(rooms.layout, rooms.settings)) as catalogue:
        return catalogue.damage + check_references(catalogue, references(rooms, catalogue))


def references(rooms: Grounded, catalogue: Holdings) -> Iterator[tuple[str, str]]:
    """All (digest, where) that entries of the book name, read without the writer's code."""
    seen: set[str] = set()
    released = _released(rooms) | _replaced(rooms)
    for sequence, kind, data in books.stored_entries(rooms.layout, rooms.settings):
        if sequence in released or kind in LET_GO:
            continue
        body = json.loads(data)["body"]
        for field in REFERENCES:
            for digest in _digests(body.get(field)):
                where = f"entry {sequence} ({kind}) {field}"
                yield digest, where
                yield from _inside(catalogue, digest, where, seen)


def _released(rooms: Grounded) -> set[int]:
    """Additions of dataset versions that were removed later: their bytes may be gone, and so may those they name."""
    added: dict[tuple[str, str], list[int]] = {}
    released: set[int] = set()
    for sequence, kind, data in books.stored_entries(rooms.layout, rooms.settings):
        if kind not in (*ADDED, "data.removed"):
            continue
        entry = json.loads(data)
        workspace, subject = str(entry["workspace"]), str(entry["subject"])
        if kind in ADDED:
            for key in {(workspace, subject.partition("@")[0]), (workspace, subject)}:
                added.setdefault(key, []).append(sequence)
        else:
            released.update(added.pop((workspace, subject), []))
    return released


def _replaced(rooms: Grounded) -> set[int]:
    """Artifacts under whose path there is something else now, or nothing: their bytes may be gone."""
    gone: set[int] = set()
    trees: dict[
        str, dict[str, Any]
    ] = {}  # by workspace: names, and below them names again, or where a file was logged
    for sequence, kind, data in books.stored_entries(rooms.layout, rooms.settings):
        if kind not in ("artifact.logged", "artifact.deleted"):
            continue
        entry = json.loads(data)
        *above, name = str(entry["body"].get("path", "")).split("/")
        folder = trees.setdefault(str(entry["workspace"]), {})
        for part in above:
            if not isinstance(folder.get(part), dict):
                folder[part] = {}
            folder = folder[part]
        gone.update(_sequences(folder.pop(name, {})))
        if kind == "artifact.logged":
            folder[name] = sequence
    return gone


def _sequences(found: Any) -> Iterator[int]:
    waiting = [found]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting.extend(one.values())
        else:
            yield one


def _inside(catalogue: Holdings, digest: str, where: str, seen: set[str]) -> Iterator[tuple[str, str]]:
    """What a tree names, if the digest is that of a tree."""
    if digest in seen:
        return
    # A damaged tree is found by its own hash; what it seems to name means nothing.
    data = catalogue.read(digest, MAX_TREE)
    if data is None or not data.endswith(TREE):
        return
    seen.add(digest)
    for part, inner in _entries(data):
        yield inner, f"{where} / {part}"
        yield from _inside(catalogue, inner, f"{where} / {part}", seen)


def _entries(data: bytes) -> list[tuple[str, str]]:
    """Names and digests in a tree; none where a blob only ends like one."""
    try:
        return [(str(entry["name"]), str(entry["digest"])) for entry in json.loads(data)["entries"]]
    except (ValueError, KeyError, TypeError):
        return []


def _digests(value: object) -> Iterator[str]:
    if isinstance(value, str):
        if value.startswith("sha256:"):
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _digests(item)
    elif isinstance(value, list):
        for item in value:
            yield from _digests(item)
