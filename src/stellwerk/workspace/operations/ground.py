"""The book and the store, checked by independent code."""

from __future__ import annotations

from stellwerk.store.collecting import Collection
from stellwerk.store.model import Damage
from stellwerk.store.scrubbing import Scrub
from stellwerk.workspace import checking, collecting, scrubbing
from stellwerk.workspace.calls import operation
from stellwerk.workspace.checking import BookReport
from stellwerk.workspace.rooms import Rooms


@operation("ledger.verify", "ledger:read")
def verify(rooms: Rooms, against: tuple[str, ...] = ()) -> BookReport:
    """Check every entry, the tree and all checkpoints, also those that were kept elsewhere, by independent code."""
    return checking.verify(rooms, against)


@operation("ledger.fsck", "ledger:read")
def fsck(rooms: Rooms) -> tuple[Damage, ...]:
    """Check every blob and every reference to one by independent code. Nothing is changed."""
    return tuple(checking.fsck(rooms))


@operation("store.collect", "workspace:admin", changes=True)
def collect(rooms: Rooms, days: float = 7.0, dry_run: bool = False, consent: bool = False) -> Collection:
    """Remove blobs to which nothing has referred for some days. With `dry_run`, only say which."""
    return collecting.run(rooms, days=days, dry_run=dry_run, consent=consent)


@operation("store.scrub", "workspace:admin", changes=True)
def scrub(rooms: Rooms, budget: int | None = None) -> Scrub:
    """Read a portion of the store again, or all of it, and compare the bytes with their names."""
    return scrubbing.portion(rooms, budget)
