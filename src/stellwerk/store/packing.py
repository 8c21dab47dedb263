"""Packs and chunk lists as bytes (`docs/formats/store.md`). Files and folders are the adapters' business."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from stellwerk.core.errors import Corrupt

PACK_HEAD = b"stellwerk-pack/1\n"
PACK_END = b"SWPKEND\n"
CHUNKS_HEAD = b"stellwerk-chunks/1\n"

BLOB, CHUNK = 0, 1
"""Kinds of records. A chunk is no blob: nothing but a chunk list refers to it."""
RAW, ZSTD, BARE = 0, 1, 2
"""Codecs of records. `BARE` is never in a pack: it marks a part of a plain file in an index."""

_RECORD = struct.Struct(">32sBBQIII")
_FOOT = struct.Struct(">QI32s8s")
_COUNTS = struct.Struct(">QI")
_PIECE = struct.Struct(">32sI")
FOOT_BYTES = _FOOT.size
TRAILER_BYTES = 32


class Record(NamedTuple):
    """Where a blob or chunk lies in a pack.

    Attributes:
        digest: The raw 32 bytes of the SHA-256 of the content.
        kind: `BLOB` or `CHUNK`.
        codec: `RAW` or `ZSTD` (one frame of RFC 8878).
        offset: First byte in the pack.
        stored: Bytes in the pack.
        size: Bytes of the content.
        crc: CRC-32 of a compressed frame, which has bits that do not change its content; 0 for `RAW`.
    """

    digest: bytes
    kind: int
    codec: int
    offset: int
    stored: int
    size: int
    crc: int


class Piece(NamedTuple):
    """One chunk of a large blob: its raw digest and its length."""

    digest: bytes
    length: int


def pack_end(records: Sequence[Record], offset: int) -> tuple[bytes, bytes]:
    """The index and foot that end a pack whose records end at `offset`, and the digest that names the pack."""
    rows = sorted(records, key=lambda record: (record.digest, record.kind))
    index = b"".join(_RECORD.pack(*row) for row in rows)
    name = hashlib.sha256(index).digest()
    return index + _FOOT.pack(offset, len(rows), name, PACK_END), name


def read_foot(foot: bytes, length: int) -> tuple[int, int, bytes]:
    """Offset of the index, number of records and name, from the last `FOOT_BYTES` of a pack of this length."""
    if len(foot) != FOOT_BYTES:
        raise _corrupt_pack("it is shorter than its own foot")
    offset, count, name, magic = _FOOT.unpack(foot)
    if magic != PACK_END or offset + count * _RECORD.size + FOOT_BYTES != length or offset < len(PACK_HEAD):
        raise _corrupt_pack("its foot does not fit its length")
    return offset, count, name


def read_index(index: bytes, offset: int, name: bytes) -> list[Record]:
    """The records of a pack, in order of their digests. Records must lie side by side, from the head to the index."""
    if hashlib.sha256(index).digest() != name:
        raise _corrupt_pack("its index has other bytes than its name says")
    records = [Record(*fields) for fields in _RECORD.iter_unpack(index)]
    position = len(PACK_HEAD)
    for record in sorted(records, key=lambda record: (record.offset, record.stored)):
        if record.offset != position:
            raise _corrupt_pack("its records leave gaps or overlap")
        position += record.stored
    if position != offset:
        raise _corrupt_pack("its records do not end where its index begins")
    return records


def chunk_list(pieces: Iterable[Piece]) -> bytes:
    """The file that says of which chunks a large blob consists."""
    found = list(pieces)
    body = b"".join(_PIECE.pack(piece.digest, piece.length) for piece in found)
    data = CHUNKS_HEAD + _COUNTS.pack(sum(piece.length for piece in found), len(found)) + body
    return data + hashlib.sha256(data).digest()


def read_chunk_list(data: bytes) -> list[Piece]:
    """The chunks of a large blob, in order. Raises `Corrupt`."""
    body, trailer = data[:-TRAILER_BYTES], data[-TRAILER_BYTES:]
    start = len(CHUNKS_HEAD) + _COUNTS.size
    if len(body) < start or not body.startswith(CHUNKS_HEAD) or hashlib.sha256(body).digest() != trailer:
        raise _corrupt_list("its bytes are not those that were written")
    size, count = _COUNTS.unpack_from(body, len(CHUNKS_HEAD))
    if len(body) != start + count * _PIECE.size:
        raise _corrupt_list("it has not the number of chunks it names")
    pieces = [Piece(*fields) for fields in _PIECE.iter_unpack(body[start:])]
    if sum(piece.length for piece in pieces) != size:
        raise _corrupt_list("its chunks have not the length it names")
    return pieces


def list_size(head: bytes) -> int:
    """The length of a large blob, from the beginning of its chunk list."""
    start = len(CHUNKS_HEAD)
    if not head.startswith(CHUNKS_HEAD) or len(head) < start + _COUNTS.size:
        raise _corrupt_list("its head cannot be read")
    return int(_COUNTS.unpack_from(head, start)[0])


LIST_HEAD_BYTES = len(CHUNKS_HEAD) + _COUNTS.size


def overlap(pieces: Sequence[Piece], start: int, stop: int) -> list[tuple[Piece, int, int]]:
    """The chunks that hold bytes of a range, each with the part of it that is wanted."""
    ends = [0]
    for piece in pieces:
        ends.append(ends[-1] + piece.length)
    return [
        (piece, max(start - begin, 0), min(stop, end) - begin)
        for piece, (begin, end) in zip(pieces, pairwise(ends), strict=True)
        if begin < stop and end > start
    ]


def _corrupt_pack(why: str) -> Corrupt:
    return Corrupt(f"a pack cannot be read: {why}", code="corrupt-pack", hint="`stellwerk fsck` lists all damage")


def _corrupt_list(why: str) -> Corrupt:
    return Corrupt(
        f"a chunk list cannot be read: {why}", code="corrupt-chunk-list", hint="`stellwerk fsck` lists all damage"
    )
