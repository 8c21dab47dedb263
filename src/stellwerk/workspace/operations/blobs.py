"""Blobs by the thousand, for those who copy them. The bytes themselves have routes of their own."""

from __future__ import annotations

from itertools import chain

from stellwerk.core.digest import Digest, parse
from stellwerk.core.errors import Invalid
from stellwerk.store import many
from stellwerk.store.framing import BLOB_LIMITS
from stellwerk.workspace.calls import operation
from stellwerk.workspace.operations.kept import must_be_kept
from stellwerk.workspace.rooms import Rooms


@operation("blobs.lengths", "data:read")
def blob_lengths(rooms: Rooms, digests: tuple[Digest, ...]) -> dict[Digest, int]:
    """Which of these blobs are in the store, with their lengths in bytes; at most 10,000 at once."""
    if len(digests) > BLOB_LIMITS.batch_blobs:
        raise Invalid(f"at most {BLOB_LIMITS.batch_blobs:,} digests in one request", code="too-large")
    return many.lengths(rooms.blobs, {parse(digest) for digest in digests})


@operation("blobs.join", "data:write", changes=True)
def join_blobs(rooms: Rooms, parts: tuple[Digest, ...]) -> Digest:
    """Keep the concatenation of blobs that are in the store, so that a long one can be sent in parts."""
    if len(parts) > BLOB_LIMITS.batch_blobs:
        raise Invalid(f"at most {BLOB_LIMITS.batch_blobs:,} parts", code="too-large")
    must_be_kept(rooms, {parse(part) for part in parts})
    return rooms.blobs.put_stream(chain.from_iterable(map(rooms.blobs.stream, parts)))
