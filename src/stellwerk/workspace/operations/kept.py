"""The bytes come first: the book never names what the store does not hold."""

from __future__ import annotations

from collections.abc import Iterable

from stellwerk.core.digest import Digest
from stellwerk.core.errors import NotFound
from stellwerk.workspace.rooms import Rooms


def must_be_kept(rooms: Rooms, digests: Iterable[Digest]) -> None:
    """Raises `NotFound` for the first digest without bytes."""
    for digest in digests:
        if not rooms.blobs.has(digest):
            raise NotFound(f"the store holds no {digest}", hint="put the bytes before what refers to them")
