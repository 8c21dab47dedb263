"""The hashes by which DVC names bytes. They are an index; the name stays SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from stellwerk.data.dvc.model import LEGACY

CHUNK = 1 << 20
"""Bytes that DVC reads at once. It decides anew for each whether they are text, so the size is part of the hash."""
_BLOCK = 512
_TEXT = bytes(range(32, 127)) + b"\n\r\t\f\b"


def md5() -> Any:
    """A hasher for names, not for security."""
    return hashlib.md5(usedforsecurity=False)


def of_bytes(data: bytes, algorithm: str) -> str:
    """Hex of some bytes as DVC hashes them."""
    return of_chunks((data,), algorithm)[0]


def of_chunks(chunks: Iterable[bytes], algorithm: str) -> tuple[str, int]:
    """Hex and length of the concatenation of chunks of any size."""
    hasher, size = hasher_of(algorithm), 0
    for chunk in evenly(chunks):
        hasher.update(chunk)
        size += len(chunk)
    return str(hasher.hexdigest()), size


def evenly(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks of `CHUNK` bytes; the last may be shorter."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= CHUNK:
            yield bytes(held[:CHUNK])
            del held[:CHUNK]
    if held:
        yield bytes(held)


def hasher_of(algorithm: str) -> Any:
    """What takes chunks of exactly `CHUNK` bytes (the last may be shorter) by `update`."""
    return Legacy() if algorithm == LEGACY else md5()


class Legacy:
    """MD5 of text as if its lines ended in LF, as DVC 2 and 3 hash: judged chunk by chunk."""

    def __init__(self) -> None:
        self._hasher = md5()

    def update(self, chunk: bytes) -> None:
        self._hasher.update(chunk.replace(b"\r\n", b"\n") if is_text(chunk[:_BLOCK]) else chunk)

    def hexdigest(self) -> str:
        return str(self._hasher.hexdigest())


class OldLegacy:
    """The same as DVC before 2.0 hashed: a whole file judged by its beginning."""

    def __init__(self) -> None:
        self._hasher = md5()
        self._text: bool | None = None

    def update(self, chunk: bytes) -> None:
        if self._text is None:
            self._text = is_text(chunk[:_BLOCK])
        self._hasher.update(chunk.replace(b"\r\n", b"\n") if self._text else chunk)

    def hexdigest(self) -> str:
        return str(self._hasher.hexdigest())


def is_text(block: bytes) -> bool:
    """Whether DVC takes the beginning of a file for text: no NUL, at most 30 % of other bytes than ASCII text."""
    if b"\x00" in block:
        return False
    return not block or len(block.translate(None, _TEXT)) / len(block) <= 0.30
