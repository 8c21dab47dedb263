"""Headers of npy files, read without numpy and without executing anything. What the numbers mean is up to callers."""

from __future__ import annotations

import ast
import math
import re
import struct
from dataclasses import dataclass
from typing import Any

from stellwerk.core.errors import Refused

MAGIC = b"\x93NUMPY"
MAX_HEADER = 10_000
MAX_EMPTY_ITEMS = 1_000_000
_PLAIN = re.compile(r"[<>|=]?([biufcSUV?])(\d{0,9})|[<>|=]?[mM]8(?:\[[0-9A-Za-z]{1,12}\])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Element size in bytes, one-letter kind (`V` for records), and shape of an array."""

    kind: str
    item_size: int
    shape: tuple[int, ...]


def header(data: bytes) -> Header:
    """Check an npy file completely: magic, header, element type without objects, exactly as many bytes as it says.

    Raises:
        Refused: `unreadable-array`, with the reason.
    """
    if data[:6] != MAGIC or len(data) < 12:
        raise _refuse("it does not begin with the npy magic")
    if data[6:8] == b"\x01\x00":
        start, length = 10, struct.unpack_from("<H", data, 8)[0]
    elif data[6:8] in {b"\x02\x00", b"\x03\x00"}:
        start, length = 12, struct.unpack_from("<I", data, 8)[0]
    else:
        raise _refuse("its version is unknown")
    if length > MAX_HEADER or start + length > len(data):
        raise _refuse("its header is too long or cut off")
    kind, size, shape = _fields(data[start : start + length])
    items = math.prod(shape)
    if items * size != len(data) - start - length:
        raise _refuse("it holds more or fewer bytes than its header says")
    if size == 0 and items > MAX_EMPTY_ITEMS:
        raise _refuse("it claims too many empty elements")
    return Header(kind=kind, item_size=size, shape=shape)


def _fields(text: bytes) -> tuple[str, int, tuple[int, ...]]:
    try:
        fields = ast.literal_eval(text.decode("utf-8").strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError) as cause:
        raise _refuse("its header is not a plain dictionary") from cause
    if not isinstance(fields, dict) or set(fields) != {"descr", "fortran_order", "shape"}:
        raise _refuse("its header has other fields than descr, fortran_order and shape")
    shape = fields["shape"]
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 32:
        raise _refuse("its shape is not a tuple of sizes")
    if not isinstance(fields["fortran_order"], bool):
        raise _refuse("its order flag is not a boolean")
    kind, size = _element(fields["descr"], 0)
    return kind, size, shape


def _element(descr: Any, depth: int) -> tuple[str, int]:
    """Kind and size of one element: a plain type, or a record of named parts."""
    if depth > 4:
        raise _refuse("its element type is nested too deeply")
    if isinstance(descr, str):
        return _plain(descr)
    if not isinstance(descr, list) or not descr:
        raise _refuse("its element type cannot be read")
    total = 0
    for part in descr:
        if not isinstance(part, tuple) or len(part) not in {2, 3} or not isinstance(part[0], str):
            raise _refuse("its record type cannot be read")
        repeat = part[2] if len(part) == 3 else ()
        if not isinstance(repeat, tuple) or not all(type(n) is int and n >= 0 for n in repeat):
            raise _refuse("its record type cannot be read")
        total += _element(part[1], depth + 1)[1] * math.prod(repeat)
    return "V", total


def _plain(descr: str) -> tuple[str, int]:
    match = _PLAIN.fullmatch(descr)
    if not match:
        raise _refuse(f"its element type {descr[:20]!r} is not plain data (objects are pickles)")
    if match[1] is None:
        return "M", 8
    if match[1] == "?":
        return "b", 1
    size = int(match[2] or 0)
    if not match[2]:
        raise _refuse(f"its element type {descr[:20]!r} has no size")
    return match[1], size * 4 if match[1] == "U" else size


def _refuse(reason: str) -> Refused:
    return Refused(f"the array cannot be read safely: {reason}", code="unreadable-array")
