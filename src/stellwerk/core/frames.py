"""Records in a file: 4 bytes length, 4 bytes CRC-32 (both big-endian), payload. Which files exist is for spools.

Payloads begin with a JSON object, so that a whole record can be recognised behind a damaged one.
"""

from __future__ import annotations

import os
import secrets
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from stellwerk.core.errors import Corrupt
from stellwerk.core.files import sync_folder

HEADER = struct.Struct(">II")


def frame(payload: bytes) -> bytes:
    """A payload as it stands in a file."""
    return HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def repair(descriptor: int, folder: Path) -> int:
    """Cut off what is not a whole record at the end; returns the size that is good."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        size = os.fstat(descriptor).st_size
        good = sum(HEADER.size + len(payload) for payload in payloads(file, size, whole=False))
        if good == size:
            return size
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(good)
        tail = file.read()
    if _holds_record(tail):
        # A whole record behind a damaged one may have been acknowledged: keep it for people to look at.
        kept = folder / f"{secrets.token_hex(8)}.damaged"
        kept.write_bytes(tail)
        with kept.open("rb") as file:
            os.fsync(file.fileno())
        sync_folder(folder)
    os.ftruncate(descriptor, good)
    os.fsync(descriptor)
    return good


def _holds_record(tail: bytes) -> bool:
    """Whether a whole record begins somewhere in a tail. Payloads begin with a JSON object, so few places can be one."""
    start = tail.find(b"{", HEADER.size)
    while start >= 0:
        length, checksum = HEADER.unpack_from(tail, start - HEADER.size)
        if length <= len(tail) - start and zlib.crc32(tail[start : start + length]) == checksum:
            return True
        start = tail.find(b"{", start + 1)
    return False


def payloads(file: BinaryIO, size: int, *, whole: bool, start: int = 0) -> Iterator[bytes]:
    """Records from one that begins at `start` up to `size`.

    The first that is not whole ends them, or is `Corrupt` where all must be `whole`.
    """
    with file:
        position = start
        file.seek(start)
        while position < size:
            header = file.read(HEADER.size)
            length, checksum = HEADER.unpack(header) if len(header) == HEADER.size else (0, 0)
            payload = file.read(length) if 0 < length <= size - position - HEADER.size else b""
            # An empty record is none: zeros at the end of a file after a power cut would be a row of them.
            if not payload or len(payload) != length or zlib.crc32(payload) != checksum:
                if whole:
                    raise Corrupt(
                        f"a record of the log is damaged at byte {position}",
                        code="corrupt-spool",
                        hint="the file was not changed",
                    )
                return
            position += HEADER.size + length
            yield payload


def write(descriptor: int, data: bytes) -> None:
    """Write all bytes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
