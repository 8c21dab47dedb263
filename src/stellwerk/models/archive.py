"""Zip archives read strictly: every byte accounted for, one reading, or refused. Members mean what callers say."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from stellwerk.core.errors import Refused

MAGIC = b"PK\x03\x04"
MAX_MEMBERS = 100_000
MAX_MEMBER_BYTES = 1 << 30
MAX_TOTAL_BYTES = 2 << 30
MAX_RATIO = 200
RATIO_FREE_BYTES = 64 << 10

_END = struct.Struct("<4s4H2LH")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,200}(?:/[A-Za-z0-9_.+-]{1,200}){0,16}")
_STORED, _DEFLATED = 0, 8
_UTF8 = 0x800


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


def read(data: bytes) -> dict[str, bytes]:
    """All members of an archive, in the order of its directory.

    Accepted is only what has one reading: plain stored or deflated files that fill the archive without gap or
    overlap, equal local and central headers, right checksums, plain relative names, each once, sane sizes.

    Raises:
        Refused: `ambiguous-archive`, with the reason.
    """
    start, count = _end(data)
    members = _directory(data, start, count)
    _check_tiling(data, members, start)
    return {member.name: _content(data, member) for member in members}


def write(members: Mapping[str, bytes]) -> bytes:
    """An archive whose bytes depend on names and contents alone: stored, sorted, without times."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, members[name])
    return buffer.getvalue()


def _end(data: bytes) -> tuple[int, int]:
    """Where the central directory starts, and how many members it lists."""
    if len(data) < _END.size:
        raise _refuse("it is too short")
    magic, disks, size, start, comment = _end_fields(data)
    if magic != b"PK\x05\x06" or comment:
        raise _refuse("it does not end with its directory (bytes after the end, a comment, or cut off)")
    disk, directory_disk, here, count = struct.unpack("<4H", disks)
    if disk or directory_disk or here != count or start + size != len(data) - _END.size:
        raise _refuse("its directory is not where it says (split, prefixed, or zip64)")
    if count > MAX_MEMBERS:
        raise _refuse(f"it has more than {MAX_MEMBERS} members")
    return start, count


def _end_fields(data: bytes) -> tuple[bytes, bytes, int, int, int]:
    magic, a, b, c, d, size, start, comment = _END.unpack_from(data, len(data) - _END.size)
    return magic, struct.pack("<4H", a, b, c, d), size, start, comment


def _directory(data: bytes, start: int, count: int) -> list[_Member]:
    members: list[_Member] = []
    seen: set[str] = set()
    at = start
    for _ in range(count):
        member, at = _central(data, at)
        if member.name.lower() in seen:
            raise _refuse(f"it repeats the name {member.name!r}")
        seen.add(member.name.lower())
        members.append(member)
    if at != len(data) - _END.size:
        raise _refuse("its directory lists other than it says")
    if sum(member.size for member in members) > MAX_TOTAL_BYTES:
        raise _refuse("it would unpack to too many bytes")
    return members


def _central(data: bytes, at: int) -> tuple[_Member, int]:
    if at + _CENTRAL.size > len(data):
        raise _refuse("its directory is cut off")
    (magic, _, _, flags, method, _, _, crc, packed, size, name_size, extra, comment, disk, _, mode, offset) = (
        _CENTRAL.unpack_from(data, at)
    )
    end = at + _CENTRAL.size + name_size
    if magic != b"PK\x01\x02" or extra or comment or disk or end > len(data):
        raise _refuse("its directory has extra fields or is damaged")
    name = _name(data[at + _CENTRAL.size : end])
    if flags & ~_UTF8 or method not in {_STORED, _DEFLATED}:
        raise _refuse(f"member {name!r} is encrypted, streamed or packed in an unusual way")
    if (mode >> 16) & 0o170000 not in {0, 0o100000}:
        raise _refuse(f"member {name!r} is not a regular file")
    if size > MAX_MEMBER_BYTES or (method == _DEFLATED and size > MAX_RATIO * packed + RATIO_FREE_BYTES):
        raise _refuse(f"member {name!r} would unpack to too many bytes")
    if method == _STORED and size != packed:
        raise _refuse(f"member {name!r} has two sizes")
    return (
        _Member(name=name, flags=flags, method=method, crc=crc, packed=packed, size=size, offset=offset),
        end,
    )


def _name(raw: bytes) -> str:
    text = raw.decode("ascii", "replace")
    if not _NAME.fullmatch(text) or any(part.strip(".") == "" for part in text.split("/")):
        raise _refuse(f"the member name {text[:60]!r} is not a plain relative path")
    return text


def _check_tiling(data: bytes, members: list[_Member], start: int) -> None:
    """Local parts must fill the bytes before the directory exactly and say what the directory says."""
    at = 0
    for member in sorted(members, key=lambda m: m.offset):
        if member.offset != at or at + _LOCAL.size > start:
            raise _refuse(f"member {member.name!r} overlaps another or leaves a gap")
        magic, _, flags, method, _, _, crc, packed, size, name_size, extra = _LOCAL.unpack_from(data, at)
        name = data[at + _LOCAL.size : at + _LOCAL.size + name_size]
        local = (magic, flags, method, crc, packed, size, extra, name)
        central = (MAGIC, member.flags, member.method, member.crc, member.packed, member.size, 0)
        if local != (*central, member.name.encode("ascii")):
            raise _refuse(f"member {member.name!r} is described in two different ways")
        at += _LOCAL.size + name_size + member.packed
    if at != start:
        raise _refuse("it has bytes that belong to no member")


def _content(data: bytes, member: _Member) -> bytes:
    begin = member.offset + _LOCAL.size + len(member.name)
    packed = data[begin : begin + member.packed]
    content = packed if member.method == _STORED else _inflate(packed, member)
    if len(content) != member.size or zlib.crc32(content) != member.crc:
        raise _refuse(f"member {member.name!r} has another size or checksum than it says")
    return content


def _inflate(packed: bytes, member: _Member) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = stream.decompress(packed, member.size + 1)
    except zlib.error as cause:
        raise _refuse(f"member {member.name!r} cannot be unpacked") from cause
    if not stream.eof or stream.unused_data or stream.unconsumed_tail:
        raise _refuse(f"member {member.name!r} is packed inconsistently")
    return content


def _refuse(reason: str) -> Refused:
    return Refused(f"the archive cannot be read in one way only: {reason}", code="ambiguous-archive")
