"""Why the database cannot be used, in the same words for every database."""

from __future__ import annotations

import errno

from stellwerk.core import failpoints
from stellwerk.core.errors import Unavailable


def full() -> Unavailable:
    """There is no space left."""
    return Unavailable("the disk is full; nothing was lost", code="disk-full", hint="free some space and try again")


def unusable(reason: str) -> Unavailable:
    """Something outside of Stellwerk keeps the database from working."""
    return Unavailable(f"the database cannot be used: {reason}", code="database-unavailable")


def busy() -> Unavailable:
    """Somebody else writes, for longer than one should wait."""
    return Unavailable(
        "another process is writing to this workspace", code="database-busy", hint="wait for it and try again"
    )


def failpoint(name: str) -> None:
    """Pass a failpoint of the database, whose failures are those of a disk."""
    try:
        failpoints.hit(name)
    except OSError as cause:
        raise full() if cause.errno == errno.ENOSPC else unusable(cause.strerror or "unknown reason") from cause
