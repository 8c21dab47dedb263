"""Many blobs at once, of stores that know how to (`ports.Many`) and of those that do not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from stellwerk.core.digest import Digest
from stellwerk.core.errors import NotFound
from stellwerk.store.ports import Blobs, Many

FEW = 4
"""Up to so many blobs are asked for one after the other."""


def lengths(blobs: Blobs, digests: Collection[Digest]) -> dict[Digest, int]:
    """Which of these a store has, and how long they are."""
    if isinstance(blobs, Many):
        return blobs.lengths(digests)
    found = {}
    for digest in digests:
        try:
            found[digest] = blobs.size(digest)
        except NotFound:
            continue
    return found


def get_many(blobs: Blobs, digests: Sequence[Digest]) -> Iterator[bytes]:
    """Many small blobs, in order."""
    return blobs.get_many(digests) if isinstance(blobs, Many) else map(blobs.get, digests)


def here(blobs: Blobs, digests: Collection[Digest]) -> set[Digest]:
    """Which of these a store has. What seems to be missing is asked for once more by itself, as a single one is."""
    wanted = set(digests)
    found = set(lengths(blobs, wanted)) if len(wanted) > FEW else set()
    return found | {digest for digest in wanted - found if blobs.has(digest)}
