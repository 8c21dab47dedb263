"""Many small blobs in one stream of bytes (`docs/formats/frames.md`), and how much of that one request may hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stellwerk.core.digest import Digest, hex_of, of_bytes
from stellwerk.core.errors import Invalid

MEDIA = "application/vnd.stellwerk.frames"
HEAD = 40
"""Bytes before each blob: its SHA-256 and its length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobLimits:
    """What one request about blobs may hold: the one table for server, client, documentation and tests."""

    blob_bytes: int = 1 << 40
    """One blob that is sent alone."""
    framed_bytes: int = 16 << 20
    """One blob among many."""
    batch_bytes: int = 256 << 20
    """All blobs of one request together."""
    batch_blobs: int = 10_000
    """Blobs of one request, or digests that are asked about."""
    kept_together: int = 8 << 20
    """Bytes that are gathered before they are made durable together."""


BLOB_LIMITS = BlobLimits()


def frame(data: bytes) -> bytes:
    """One blob as it stands in the stream."""
    return bytes.fromhex(hex_of(of_bytes(data))) + len(data).to_bytes(8, "big") + data


class Frames:
    """Reads a stream of frames piece by piece. Gives out whole blobs, verified, and holds no more than one.

    Raises `Invalid` for a blob that is not what its frame says, for a stream that ends within one, and for too much.
    """

    def __init__(self, limits: BlobLimits = BLOB_LIMITS) -> None:
        self._limits = limits
        self._waiting = bytearray()
        self._bytes = 0
        self.blobs = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The blobs that are complete with these bytes."""
        self._waiting += piece
        while (length := self._length()) is not None and len(self._waiting) >= HEAD + length:
            said = Digest("sha256:" + self._waiting[:32].hex())
            data = bytes(memoryview(self._waiting)[HEAD : HEAD + length])
            del self._waiting[: HEAD + length]
            if of_bytes(data) != said:
                raise Invalid("the bytes of a frame are not those that its digest names", code="digest-mismatch")
            self._count(data)
            yield data

    def end(self) -> None:
        """Say that nothing more comes."""
        if self._waiting:
            raise Invalid("the stream of blobs ends within one", code="truncated-frames")

    def _length(self) -> int | None:
        """Length of the blob that begins here, once its head is complete."""
        if len(self._waiting) < HEAD:
            return None
        length = int.from_bytes(self._waiting[32:HEAD], "big")
        if length > self._limits.framed_bytes:
            raise Invalid(
                f"a blob among many may have at most {self._limits.framed_bytes:,} bytes (got {length:,})",
                code="too-large",
                hint="send it alone",
            )
        return length

    def _count(self, data: bytes) -> None:
        self.blobs += 1
        self._bytes += len(data)
        if self.blobs > self._limits.batch_blobs or self._bytes > self._limits.batch_bytes:
            raise Invalid(
                f"one request may hold at most {self._limits.batch_blobs:,} blobs with {self._limits.batch_bytes:,} "
                "bytes together",
                code="too-large",
                hint="send them in several requests",
            )


def read(pieces: Iterable[bytes], limits: BlobLimits = BLOB_LIMITS) -> Iterator[bytes]:
    """The blobs of a stream, verified, in order."""
    frames = Frames(limits)
    for piece in pieces:
        yield from frames.feed(piece)
    frames.end()
