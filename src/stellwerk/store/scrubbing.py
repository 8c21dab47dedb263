"""Reading the whole store again and again, a little at a time, so that rot is found while another copy may exist."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import dropwhile
from typing import Protocol

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Corrupt, NotFound
from stellwerk.store.ports import Blobs, Listing

ROUND = timedelta(days=30)
"""The time in which every blob is read at least once, where a server runs."""


class Scrubbed(Blobs, Listing, Protocol):
    """Blobs that can be listed and read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrub:
    """How far the reading has come.

    Attributes:
        after: The last blob that was read in this round; empty at its beginning.
        began_at: When this round began.
        verified_at: When the last whole round ended: every blob that was there when it began was whole then, but for
            those in `damaged`.
        blobs: Blobs read in this portion.
        bytes: Their bytes.
        damaged: Blobs found damaged in this round.
    """

    after: str = ""
    began_at: datetime | None = None
    verified_at: datetime | None = None
    blobs: int = 0
    bytes: int = 0
    damaged: tuple[Digest, ...] = ()


def scrub(blobs: Scrubbed, last: Scrub, *, budget: int | None, now: datetime) -> Scrub:
    """Read on from where the last portion ended, until `budget` bytes were read or all blobs were.

    Args:
        budget: Bytes to read at least, unless the round ends before; None reads the round to its end.
    """
    damaged, count, size, after = list(last.damaged) if last.after else [], 0, 0, last.after
    for digest in dropwhile(lambda digest: digest <= last.after, blobs):
        try:
            size += sum(len(chunk) for chunk in blobs.stream(digest))
        except NotFound:
            continue  # removed since it was listed
        except Corrupt:
            damaged.append(digest)
        count, after = count + 1, digest
        if budget is not None and size >= budget:
            return Scrub(
                after=after,
                began_at=last.began_at if last.after else now,
                verified_at=last.verified_at,
                blobs=count,
                bytes=size,
                damaged=tuple(damaged),
            )
    return Scrub(began_at=last.began_at if last.after else now, verified_at=now, blobs=count, bytes=size,
                 damaged=tuple(damaged))  # fmt: skip
