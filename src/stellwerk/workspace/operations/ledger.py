"""The book and its keys, for whoever wants proof without trusting the server."""

from __future__ import annotations

from stellwerk.core.errors import Refused
from stellwerk.ledger import proofs
from stellwerk.ledger.model import Head, KeyLink
from stellwerk.workspace import rotating
from stellwerk.workspace.calls import operation
from stellwerk.workspace.rooms import Rooms

MOST_AT_ONCE = 10_000


@operation("ledger.checkpoint", "ledger:read")
def newest_checkpoint(rooms: Rooms, since: int = 0) -> Head:
    """The newest signed checkpoint, the keys, and proof that the book of `since` entries begins it."""
    return rooms.head(since)


@operation("ledger.entry", "ledger:read")
def entry_text(rooms: Rooms, sequence: int) -> str:
    """The exact text of an entry, whose bytes are what the Merkle tree is made of."""
    with rooms.book.read() as reader:
        return proofs.entry_text(reader, sequence)


@operation("ledger.inclusion", "ledger:read")
def prove_inclusion(rooms: Rooms, sequence: int, size: int) -> tuple[str, ...]:
    """Proof, in hex, that an entry is among the first `size` entries."""
    return proofs.inclusion(rooms.database, sequence, size)


@operation("ledger.consistency", "ledger:read")
def prove_consistency(rooms: Rooms, old: int, new: int) -> tuple[str, ...]:
    """Proof, in hex, that the first `old` entries begin the first `new`."""
    return proofs.consistency(rooms.database, old, new)


@operation("ledger.entries", "ledger:read")
def entry_texts(rooms: Rooms, start: int = 0, limit: int = MOST_AT_ONCE) -> tuple[str, ...]:
    """The exact texts of entries in order, at most 10,000; refused where other workspaces write into the same book."""
    with rooms.book.read() as reader:
        if proofs.foreign(reader):
            raise Refused("this book holds entries of other workspaces", code="shared-book")
        return proofs.entry_texts(reader, start, min(limit, MOST_AT_ONCE))


@operation("ledger.checkpoints", "ledger:read")
def signed_checkpoints(rooms: Rooms, above: int = -1, limit: int = MOST_AT_ONCE) -> tuple[str, ...]:
    """Signed checkpoints of more than `above` entries, the smallest first, at most 10,000."""
    with rooms.book.read() as reader:
        return proofs.notes(reader, above, min(limit, MOST_AT_ONCE))


@operation("keys.list", "ledger:read")
def list_keys(rooms: Rooms) -> tuple[KeyLink, ...]:
    """All keys that signed in this workspace, oldest first; the last one signs now."""
    return rooms.ring.links()


@operation("keys.rotate", "workspace:admin", changes=True)
def rotate_key(rooms: Rooms, why: str, compromised: bool = False) -> KeyLink:
    """Replace the signing key by a new one, which the old one announces."""
    return rotating.rotate(rooms, why, compromised=compromised)
