"""What other tools call the bytes of the store."""

from __future__ import annotations

from stellwerk.core.digest import Digest
from stellwerk.data.model import ForeignDigest
from stellwerk.workspace.calls import operation
from stellwerk.workspace.rooms import Rooms


@operation("foreign.find", "data:read")
def find_foreign(rooms: Rooms, algorithm: str, values: tuple[str, ...]) -> tuple[ForeignDigest, ...]:
    """The digests of foreign ones, as far as they are known and their bytes are here."""
    return tuple(rooms.foreign.find(algorithm, values))


@operation("foreign.names", "data:read")
def name_foreign(rooms: Rooms, algorithm: str, digests: tuple[Digest, ...]) -> tuple[ForeignDigest, ...]:
    """What another tool calls some digests, as far as it is known."""
    return tuple(rooms.foreign.names(algorithm, digests))


@operation("foreign.remember", "data:write", changes=True)
def remember_foreign(rooms: Rooms, found: tuple[ForeignDigest, ...]) -> int:
    """Enter foreign digests of files, each computed anew from the bytes; answers how many were new."""
    return rooms.foreign.check_and_remember(found)
