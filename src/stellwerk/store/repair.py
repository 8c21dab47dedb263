"""Healing a store from another one: what is damaged or missing is fetched, verified, and put in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Corrupt, NotFound
from stellwerk.store import many
from stellwerk.store.ports import Blobs, Quarantine
from stellwerk.store.sync import SMALL, Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What a repair found and did.

    Attributes:
        read: Blobs that were read and verified here.
        healed: Those that were damaged or missing, and are whole now.
        aside: How many damaged copies were put into quarantine.
        lost: Those that are still damaged or missing, and why.
    """

    read: int
    healed: tuple[Digest, ...]
    aside: int
    lost: tuple[Loss, ...]


def damaged(blobs: Blobs, digests: Iterable[Digest], seen: Callable[[int], None] | None = None) -> Iterator[Loss]:
    """Blobs that cannot be read whole, with the reason; reads every byte of all of them.

    Args:
        seen: Told how many were read so far.
    """
    for count, digest in enumerate(digests, 1):
        try:
            for _ in blobs.stream(digest):
                pass
        except (Corrupt, NotFound) as problem:
            yield Loss(digest=digest, problem=problem.message)
        if seen is not None:
            seen(count)


def heal(blobs: Blobs, other: Blobs, bad: Iterable[Loss]) -> tuple[list[Digest], int, list[Loss]]:
    """Put right what another store has whole; returns what was healed, copies put aside, and what was not healed.

    A damaged copy is put aside only when the other store claims to have the blob, and stays where it is otherwise:
    somebody may still want to look into it.
    """
    wanted = {loss.digest: loss for loss in bad}
    there = many.lengths(other, wanted.keys())
    healed: list[Digest] = []
    lost: list[Loss] = []
    aside = 0
    for digest, loss in sorted(wanted.items()):
        if digest not in there:
            lost.append(Loss(digest=digest, problem=f"{loss.problem}; the other store does not have it"))
            continue
        try:
            good = _whole(other, digest, there[digest])
        except (Corrupt, NotFound) as problem:
            lost.append(Loss(digest=digest, problem=f"{loss.problem}; there: {problem.message}"))
            continue
        if isinstance(blobs, Quarantine) and blobs.has(digest):
            aside += blobs.quarantine(digest)
        _put(blobs, digest, good)
        healed.append(digest)
    return healed, aside, lost


def _whole(other: Blobs, digest: Digest, size: int) -> Callable[[], Iterator[bytes]]:
    """A blob that was read once and found whole, to be read again: long ones are not kept in memory."""
    if size <= SMALL:
        data = other.get(digest)
        return lambda: iter((data,))
    for _ in other.stream(digest):
        pass
    return lambda: other.stream(digest)


def _put(blobs: Blobs, digest: Digest, good: Callable[[], Iterator[bytes]]) -> None:
    found = blobs.put_stream(good())
    if found != digest:
        raise Corrupt(f"the store named {digest} otherwise", code="corrupt-blob")
    for _ in blobs.stream(digest):
        pass
