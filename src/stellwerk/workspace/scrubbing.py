"""Where the scrubbing of a workspace's store has come to, and its next portion."""

from __future__ import annotations

from stellwerk.core.errors import StellwerkError
from stellwerk.core.files import replace_text
from stellwerk.ledger import documents
from stellwerk.store.scrubbing import Scrub, scrub
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.stores import at_rest


def last(rooms: Rooms) -> Scrub:
    """What the last portion left behind; a beginning where nothing can be read."""
    try:
        return documents.parse(Scrub, (rooms.layout.folder / "scrub.json").read_bytes())
    except (OSError, StellwerkError):
        return Scrub()


def portion(rooms: Rooms, budget: int | None) -> Scrub:
    """Read a portion of the store, and tell the ledger of damage that was not known."""
    before = last(rooms)
    found = scrub(at_rest(rooms.blobs), before, budget=budget, now=rooms.clock.now())
    fresh = sorted(set(found.damaged) - set(before.damaged))
    if fresh:
        with rooms.book.write() as tx:
            for digest in fresh:
                tx.record("store.damaged", f"blob:{digest}", {})
    replace_text(rooms.layout.folder / "scrub.json", documents.text(found) + "\n")
    return found
