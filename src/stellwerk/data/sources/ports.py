"""What a place must offer so that rows in it can be referred to. Third parties bring readers of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stellwerk.data.sources.model import Content, Source


class Reader(Protocol):
    """Reads one kind of source. Safe for many threads; never writes, and never repairs what it reads.

    Both methods raise `NotFound` where there is nothing (any more), `Invalid` for a location that makes no sense,
    `Refused` where it must not look, and `Unavailable` where asking again may help. No message holds credentials.
    What a reader answers need not be trusted: digests are computed and compared by the caller.
    """

    def list(self, source: Source) -> Sequence[str]:
        """Names of the parts that are there now, each once, in an order that depends on the names alone."""
        ...

    def read(self, source: Source, part: str, version: str = "") -> Content:
        """One part: the state that `version` names, where the place keeps old states, else the one that is there."""
        ...
