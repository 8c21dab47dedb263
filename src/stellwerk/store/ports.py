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

    def get(self, digest: Digest) -> bytes:
        """The bytes, verified before they are returned."""
        ...

    def stream(self, digest: Digest) -> Iterator[bytes]:
        """The bytes in chunks; the last chunk comes only after the whole was verified."""
        ...

    def has(self, digest: Digest) -> bool:
        """Whether the blob is here. Does not read it."""
        ...

    def size(self, digest: Digest) -> int:
        """Length in bytes."""
        ...


class LocalBlobs(Protocol):
    """A further ability of blobs that lie on this machine's disk."""

    def path(self, digest: Digest) -> Path:
        """A read-only file with the verified content, for workers that read files. Never write to it."""
        ...
