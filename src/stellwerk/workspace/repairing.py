"""`repair`: what is damaged or missing in a workspace's store comes back from another place."""

from __future__ import annotations

from collections.abc import Callable

from stellwerk.store import many, repair
from stellwerk.store.repair import Repaired
from stellwerk.store.sync import Loss
from stellwerk.workspace import reachable
from stellwerk.workspace.places import Place
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.stores import at_rest


def run(rooms: Rooms, other: Place, *, seen: Callable[[int], None] | None = None) -> Repaired:
    """Read every blob, look for every digest that the book leads to, and heal what the other place has whole."""
    store = at_rest(rooms.blobs)
    here = set(store)
    bad = list(repair.damaged(store, sorted(here), seen))
    # Of the digests in the book some never named a blob; those that the other place has did.
    absent = reachable.wanted(rooms, also=other.blobs) - here
    bad += [Loss(digest=digest, problem="missing") for digest in sorted(many.lengths(other.blobs, absent))]
    datasets = {version.digest for version in rooms.datasets.list()}
    known = {loss.digest for loss in bad}
    bad += [Loss(digest=digest, problem="missing") for digest in sorted((datasets & absent) - known)]
    healed, aside, lost = repair.heal(store, other.blobs, bad)
    if healed:
        with rooms.book.write() as tx:
            tx.record(
                "store.repaired",
                f"workspace:{tx.workspace}",
                {"blobs": len(healed), "from": other.name, "lost": len(lost)},
            )
    return Repaired(read=len(here), healed=tuple(healed), aside=aside, lost=tuple(lost))
