"""What the rest of Stellwerk asks of a place that keeps bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from stellwerk.core.digest import Digest
from stellwerk.store.model import Piece, Upload


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


@runtime_checkable
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


class FileBlobs(Blobs, LocalBlobs, Protocol):
    """Blobs that workers can read as files."""


@runtime_checkable
class Many(Protocol):
    """A further ability: dealing with many blobs at once. What lacks it is asked for one after the other."""

    def lengths(self, digests: Collection[Digest]) -> dict[Digest, int]:
        """Those that are here, with their lengths in bytes. Does not read them, and costs no request each."""
        ...

    def get_many(self, digests: Collection[Digest]) -> Iterator[bytes]:
        """The bytes of many small blobs, in order, each verified."""
        ...


@runtime_checkable
class Joining(Protocol):
    """A further ability, of stores at the other end of a line: a long blob arrives in parts, and may be interrupted."""

    def join(self, parts: Sequence[Digest]) -> Digest:
        """Keep the concatenation of blobs that are here. The parts stay until garbage is collected."""
        ...


@runtime_checkable
class Direct(Protocol):
    """A further ability: bytes go between a client and the place itself, by addresses that we sign for a while."""

    def download(self, digest: Digest, *, seconds: float) -> tuple[Piece, ...]:
        """Where the pieces of a blob can be fetched, in order. Whoever fetches them verifies them."""
        ...

    def upload(self, *, seconds: float) -> Upload:
        """Where one blob can be sent. It is nothing before it is accepted."""
        ...

    def accept(self, name: str, digest: Digest) -> None:
        """Make what was sent a blob, after reading it. Raises `Invalid` if it has another digest; then it is gone."""
        ...


@runtime_checkable
class Quarantine(Protocol):
    """A further ability: putting a damaged copy out of the way."""

    def quarantine(self, digest: Digest) -> bool:
        """Keep the damaged copy where nothing serves it, and forget the blob; returns whether there was one."""
        ...
