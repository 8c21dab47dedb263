"""Bytes in portions: read, compared with their digest, and cut to a range."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from stellwerk.core.digest import Digest, hex_of
from stellwerk.store.adapters.local import disk


def chunks_of(file: BinaryIO, digest: Digest) -> Iterator[bytes]:
    try:
        while chunk := file.read(disk.CHUNK):
            yield chunk
    except OSError as cause:
        raise disk.unreadable(digest, cause) from cause


def verified(digest: Digest, chunks: Iterable[bytes]) -> Iterator[bytes]:
    hasher = hashlib.sha256()
    held = b""
    for chunk in chunks:
        hasher.update(chunk)
        if held:
            yield held
        held = chunk
    if hasher.hexdigest() != hex_of(digest):
        raise disk.corrupt(digest, f"got sha256:{hasher.hexdigest()}")
    yield held


def cut(chunks: Iterable[bytes], start: int, stop: int | None) -> Iterator[bytes]:
    """The part of a stream between two positions. Reads all of it, so that it is verified."""
    position = 0
    for chunk in chunks:
        begin, end = (
            max(start - position, 0),
            len(chunk) if stop is None else max(min(stop - position, len(chunk)), 0),
        )
        if begin < end:
            yield chunk[begin:end]
        position += len(chunk)


def names_in(folder: Path) -> Iterator[bytes]:
    """Raw digests of the files below, in order. What is no blob is for `fsck` to report."""
    with disk.disk():
        for inner in sorted(folder.iterdir()) if folder.is_dir() else ():
            for file in sorted(inner.iterdir()) if inner.is_dir() else ():
                if re.fullmatch(r"[0-9a-f]{64}", file.name):
                    yield bytes.fromhex(file.name)


def intact(file: Path) -> bool:
    """Whether a file holds the bytes that its name says."""
    hasher = hashlib.sha256()
    with disk.open_file(file) as content:
        while chunk := content.read(disk.CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest() == file.name
