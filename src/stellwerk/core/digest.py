"""Digests: the one name of some bytes. Where the bytes are kept is the store's business."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from typing import NewType

from stellwerk.core.errors import Invalid

Digest = NewType("Digest", str)
"""`sha256:` followed by 64 lower-case hexadecimal digits."""

_PREFIX, _BYTES = len("sha256:"), 32
_PATTERN = re.compile(r"sha256:[0-9a-f]{64}")


def of_bytes(data: bytes | bytearray | memoryview) -> Digest:
    """Name some bytes."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def of_chunks(chunks: Iterable[bytes]) -> Digest:
    """Name the concatenation of chunks, in constant memory."""
    hasher = hashlib.sha256()
    for chunk in chunks:
        hasher.update(chunk)
    return Digest("sha256:" + hasher.hexdigest())


def parse(text: str) -> Digest:
    """Check that a text is a digest; anything else is `Invalid`, never repaired."""
    if not _PATTERN.fullmatch(text):
        raise Invalid(
            f"not a digest: {text[:80]!r} (expected 'sha256:' and 64 lower-case hex digits)",
            code="invalid-digest",
        )
    return Digest(text)


def hex_of(digest: Digest) -> str:
    """The 64 hex digits without the algorithm."""
    return digest.removeprefix("sha256:")


def raw(digests: Collection[Digest]) -> list[bytes]:
    """The 32 bytes that each of many digests stands for. Raises `Invalid` for what is none."""
    found = []
    for digest in digests:
        try:
            name = bytes.fromhex(digest[_PREFIX:])
        except ValueError:
            name = b""
        if digest != "sha256:" + name.hex() or len(name) != _BYTES:
            parse(digest)
        found.append(name)
    return found


def short(digest: Digest | str) -> str:
    """The first twelve hex digits: for people, never for look-ups."""
    return str(digest).removeprefix("sha256:")[:12]
