"""Rotation of the signing key: made beside the old one, announced in the book by both, then put in its place.

Killed at any point, the workspace signs with the key that its book names: the old one before the announcement is
durable, the new one after.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from stellwerk.core import failpoints
from stellwerk.core.errors import Conflict, Invalid
from stellwerk.ledger import keys
from stellwerk.ledger.adapters.ed25519 import FileSigner, create_key, next_key
from stellwerk.ledger.model import KeyLink
from stellwerk.workspace.rooms import Rooms

failpoints.declare("keys.signed", "keys.made", "keys.announced", "keys.replaced")


def rotate(rooms: Rooms, why: str, *, compromised: bool = False) -> KeyLink:
    """Replace the signing key.

    Args:
        why: The reason, for the book.
        compromised: Nothing that the old key signed from now on counts, not even what was under way.
    """
    if not why.strip():
        raise Invalid("a rotation needs a reason", code="missing-reason", hint="--why TEXT")
    with _alone(rooms), rooms.signing:
        rooms.checkpoint()  # what was written so far is signed by the key of its time
        failpoints.hit("keys.signed")
        old = rooms.signer.now()
        following = next_key(rooms.layout.signing_key)
        following.unlink(missing_ok=True)  # left by a rotation that was cut off before the book knew of it
        create_key(following)
        failpoints.hit("keys.made")
        new = FileSigner(following)
        with rooms.book.write() as tx:
            links = rooms.ring.links()
            if not links or links[-1].key != old.public_key.hex():
                raise Conflict("the key was rotated by another process", code="key-rotated", hint="look at it first")
            body = keys.announce(rooms.layout.identity, links, old, new, why=why, compromised=compromised)
            tx.record(keys.ROTATED, f"workspace:{rooms.layout.workspace}", body)
        failpoints.hit("keys.announced")
        rooms.signer.now()  # puts the new key in its place
        failpoints.hit("keys.replaced")
        rooms.checkpoint()
    return rooms.ring.links()[-1]


@contextmanager
def _alone(rooms: Rooms) -> Iterator[None]:
    """One rotation at a time, over all processes."""
    descriptor = os.open(rooms.layout.signing_key.with_name("rotation.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
