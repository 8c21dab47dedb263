"""Garbage collection of a workspace: what the book and its state refer to, and when it is safe to remove the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, Refused
from stellwerk.ledger import survey
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.store.collecting import Collection, collect, digests_in
from stellwerk.tracking.logbook import FORGOTTEN
from stellwerk.workspace.layout import alone
from stellwerk.workspace.rooms import Rooms

ADDED = ("data.added", "data.referred", "data.imported")
"""Kinds of entries that make a dataset version."""
LET_GO = ("data.removed", "data.untracked")
"""Kinds of entries that name what was let go; they hold nothing."""
HELD_BY_ROWS = ("artifact.logged", "artifact.deleted")
"""Kinds of entries whose bytes live as long as a row names them: whoever deletes an artifact frees it."""
_HISTORY = re.compile(rb'"parent":"sha256:[0-9a-f]{64}"')
"""A version names the one before it, and does not need it."""
SAFE_GRACE = timedelta(hours=1)
"""A shorter grace is only safe while nobody else uses the workspace."""


def run(rooms: Rooms, *, days: float, dry_run: bool, consent: bool) -> Collection:
    """Collect garbage; the ledger keeps what was removed."""
    if not 0 <= days <= 3650:
        raise Invalid(f"a time of grace of {days} days (expected 0 to 3650)", code="invalid-grace")
    blobs: Any = rooms.blobs
    if not isinstance(blobs, LocalFolder):
        raise Refused("only a store in a folder can be collected", code="not-collectable")
    grace = timedelta(days=days)
    if dry_run or grace >= SAFE_GRACE:
        return _collect(rooms, blobs, grace, dry_run, consent)
    with alone(rooms.layout, rooms.presence):
        return _collect(rooms, blobs, grace, dry_run, consent)


def _collect(rooms: Rooms, blobs: LocalFolder, grace: timedelta, dry_run: bool, consent: bool) -> Collection:
    result = collect(
        blobs,
        lambda: roots(rooms),
        now=rooms.clock.now(),
        sequence=rooms.database.size(),
        since=lambda start: _named(rooms, start, frozenset(), LET_GO),
        grace=grace,
        dry_run=dry_run,
        consent=consent,
    )
    if result.removed and not dry_run:
        with rooms.book.write() as tx:
            tx.record(
                "store.collected",
                f"workspace:{tx.workspace}",
                {"blobs": result.removed, "bytes": result.bytes, "freed": result.freed},
            )
    return result


def roots(rooms: Rooms) -> Iterator[Digest]:
    """Every digest that state or history refers to, in all workspaces of the database."""
    for document in survey.documents(rooms.database):
        yield from digests_in(_HISTORY.sub(b"", document))
    yield from _named(rooms, 0, released(rooms), LET_GO + HELD_BY_ROWS)


def released(rooms: Rooms) -> frozenset[int]:
    """Sequences of entries that no longer hold what they name: what was added and removed, or forgotten."""
    added: dict[tuple[str, str], list[int]] = {}
    gone: set[int] = set()
    forgotten: set[tuple[str, str]] = set()
    for sequence, workspace, kind, subject, _ in survey.entries(rooms.database):
        if kind in ADDED:
            added.setdefault((workspace, subject.partition("@")[0]), []).append(sequence)
            added.setdefault((workspace, subject), []).append(sequence)
        elif kind == "data.removed":
            gone.update(added.pop((workspace, subject), ()))
        elif kind == FORGOTTEN:
            forgotten.add((workspace, subject))
    if forgotten:
        for sequence, workspace, _, subject, _ in survey.entries(rooms.database):
            if (workspace, subject) in forgotten:
                gone.add(sequence)
    return frozenset(gone)


def _named(rooms: Rooms, start: int, skipped: frozenset[int], kinds: tuple[str, ...]) -> Iterator[Digest]:
    """What entries from a sequence on name, but for some of them, and some kinds."""
    for sequence, _, kind, _, data in survey.entries(rooms.database, start):
        if sequence not in skipped and kind not in kinds:
            yield from digests_in(data)
