"""What the rest of Stellwerk asks of a place that keeps bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from stellwerk.core.digest import Digest


class Blobs(Protocol):
    """Immutable bytes by digest. Safe for many processes; putting is idempotent; reads are verified.

    A blob is durable when `put` returns. Raises `NotFound` for unknown digests, `Corrupt` when the bytes kept
    are not those named, `Unavailable` when the disk is full or failing.
    """

    def put(self, data: bytes) -> Digest:
        """Keep bytes and return their name."""
        ...

    def put_stream(self, chunks: Iterable[bytes]) -> Digest:
        """Keep the concatenation of chunks, in constant memory."""
        ...

    def put_many(self, items: Iterable[bytes]) -> list[Digest]:
        """Keep many small blobs and return their names in order. All are durable when this returns.

        Far cheaper than many calls of `put`. If it raises, any of them may have been kept, and none is acknowledged.
        """
        ...

    def get(self, digest: Digest) -> bytes:
        """The bytes, verified before they are returned."""
        ...

    def stream(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to `stop` (not included; the end by default) in chunks.

        The last chunk comes only after what was read was verified against the digest. A range beyond the end is
        empty, as with Python's slices; negative positions are `Invalid`.
        """
        ...

    def has(self, digest: Digest) -> bool:
        """Whether the blob is here. Does not read it."""
        ...

    def size(self, digest: Digest) -> int:
        """Length in bytes."""
        ...


class Listing(Protocol):
    """A further ability: saying what is kept."""

    def __iter__(self) -> Iterator[Digest]:
        """Every blob once, in order. Blobs that come or go meanwhile may be missing."""
        ...


class Removable(Protocol):
    """A further ability, for garbage collection alone."""

    def remove(self, digests: Iterable[Digest]) -> int:
        """Forget blobs and free their room; returns the bytes by which the store became smaller.

        Blobs that are not here are skipped. Reading one while it is removed gives its bytes, or `NotFound`.
        """
        ...


class LocalBlobs(Protocol):
    """A further ability of blobs that lie on this machine's disk."""

    def path(self, digest: Digest) -> Path:
        """A read-only file with the verified content, for workers that read files. Never write to it."""
        ...
