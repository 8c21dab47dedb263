"""The log that a client of Weights & Biases writes of a run (`run-*.wandb`): records in blocks, with check sums.

It is LevelDB's log format with a header of its own and CRC-32 as in zlib. Source: wandb/sdk/internal/datastore.py and
core/pkg/leveldb/record.go of wandb. What is in a record is read in `records`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from stellwerk.core.errors import Invalid

BLOCK = 32_768
MAGIC = struct.pack("<4sH", b":W&B", 0xBEE1)
VERSION = 0
MOST_RECORD = 256 << 20
"""Bytes of one record; clients write lists of files so long, and nothing longer."""
_CHUNK = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass(slots=True)
class Damage:
    """What of a log cannot be read.

    Attributes:
        torn: Whether it ends within a record: its writer was killed, or goes on writing.
        spoilt: Pieces in it that are not what was written. What comes after one, up to the next block, is lost.
    """

    torn: bool = False
    spoilt: int = 0


def records(file: BinaryIO, damage: Damage) -> Iterator[bytes]:
    """Whole records in their order; what is not whole is noted.

    Raises:
        Invalid: `not-wandb`: it is no such log, or one of a later version.
    """
    block = file.read(BLOCK)
    _check_header(block)
    at, waiting = len(MAGIC) + 1, _Waiting(damage)
    while block:
        for kind, data in _chunks(block, at, damage):
            whole = waiting.take(kind, data)
            if whole is not None:
                yield whole
        at, block = 0, file.read(BLOCK) if len(block) == BLOCK else b""
    if waiting.begun:
        damage.torn = True


class _Waiting:
    """Puts the pieces of a record together."""

    def __init__(self, damage: Damage) -> None:
        self._damage = damage
        self._pieces: list[bytes] = []
        self._size = 0

    @property
    def begun(self) -> bool:
        return bool(self._pieces)

    def take(self, kind: int, data: bytes) -> bytes | None:
        """A record, if this piece ends one."""
        if self.begun != (kind in (_MIDDLE, _LAST)) or kind == 0:
            self._damage.spoilt += 1
            self._pieces, self._size = [], 0
            if kind not in (_FULL, _FIRST):
                return None
        if kind == _FULL:
            return data
        self._pieces.append(data)
        self._size += len(data)
        if self._size > MOST_RECORD:
            self._damage.spoilt += 1
            self._pieces, self._size = [], 0
            return None
        if kind != _LAST:
            return None
        whole, self._pieces, self._size = b"".join(self._pieces), [], 0
        return whole


def _chunks(block: bytes, at: int, damage: Damage) -> Iterator[tuple[int, bytes]]:
    """Pieces of one block by their kind; 0 for what cannot be read, after which the block is left."""
    last = len(block) < BLOCK
    while at + _CHUNK.size <= len(block):
        check, length, kind = _CHUNK.unpack_from(block, at)
        if check == length == kind == 0:  # room that was reserved and never written to
            return
        start, at = at + _CHUNK.size, at + _CHUNK.size + length
        if at > len(block) and last:
            damage.torn = True
            return
        if at > len(block) or not _FULL <= kind <= _LAST or zlib.crc32(block[start - 1 : at]) != check:
            yield 0, b""
            return
        yield kind, block[start:at]
    if last and at < len(block):
        damage.torn = True


def _check_header(block: bytes) -> None:
    if not block:
        raise Invalid("nothing was written yet", code="not-wandb")
    if block[: len(MAGIC)] != MAGIC:
        raise Invalid("it is no log of Weights & Biases", code="not-wandb")
    if len(block) <= len(MAGIC) or block[len(MAGIC)] != VERSION:
        raise Invalid("it is a log of Weights & Biases in a version that cannot be read", code="not-wandb")
