"""The book and the store, checked by independent code."""

from __future__ import annotations

from stellwerk.store.model import Damage
from stellwerk.workspace import checking
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
