"""Protobuf's wire format, read: fields by their numbers. What they mean is up to whoever knows the message.

What is read may be a stranger's: no field reaches beyond what holds it, and nothing is made larger than it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_MOST_BITS, _MASK = 70, 0xFFFFFFFFFFFFFFFF


class Malformed(ValueError):
    """The bytes are no message, or a field is of another kind than declared. The text says what is wrong."""


class Cursor:
    """Reads a message where it lies. A field is an integer, or where its bytes are: start, end and kind."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def message(self) -> Iterator[tuple[int, Any]]:
        """The fields of all bytes: numbers with what they hold, in their order. Raises `Malformed`."""
        return self.fields(0, len(self._data))

    def inside(self, found: Any) -> Iterator[tuple[int, Any]]:
        """The fields of a message within the message."""
        start, stop = self._span_of(found)
        return self.fields(start, stop)

    def fields(self, at: int, stop: int) -> Iterator[tuple[int, Any]]:
        """The fields between two places."""
        data = self._data
        while at < stop:
            tag = data[at]
            at += 1
            if tag > 0x7F:  # most numbers of fields, and most lengths, are one byte
                tag, at = self._varint(at - 1, stop)
            number, wire = tag >> 3, tag & 7
            if not 0 < number < 1 << 29:
                raise Malformed("it has a field without number")
            if wire == VARINT:
                count, at = self._varint(at, stop)
                yield number, count
                continue
            if wire == LENGTH:
                if at < stop and data[at] < 0x80:
                    length = data[at]
                    at += 1
                else:
                    length, at = self._varint(at, stop)
            elif wire in (FIXED64, FIXED32):
                length = 8 if wire == FIXED64 else 4
            else:
                raise Malformed(f"it has a field of kind {wire}")
            if length > stop - at:
                raise Malformed("a field is longer than what holds it")
            yield number, (at, at + length, wire)
            at += length

    def bytes_of(self, found: Any) -> bytes:
        """What a field of bytes holds."""
        start, stop = self._span_of(found)
        return self._data[start:stop]

    def text(self, found: Any) -> str:
        """What a field of text holds. Raises `Malformed` for what is no UTF-8."""
        try:
            return self.bytes_of(found).decode("utf-8")
        except UnicodeDecodeError as cause:
            raise Malformed("a text is not in UTF-8") from cause

    def count(self, found: Any) -> int:
        """What an unsigned integer holds."""
        if not isinstance(found, int):
            raise Malformed("a field is of another kind than declared")
        return found

    def integer(self, found: Any) -> int:
        """What a signed integer holds, of 32 or 64 bits."""
        count = self.count(found)
        return count - (1 << 64) if count >> 63 else count

    def fixed(self, found: Any, how: str) -> Any:
        """What a field of four or eight bytes holds, by the sign of `struct`."""
        start, stop = self._span_of(found, FIXED32 if how == "<I" else FIXED64)
        return struct.unpack(how, self._data[start:stop])[0]

    def _varint(self, at: int, stop: int) -> tuple[int, int]:
        result = 0
        for shift in range(0, _MOST_BITS, 7):
            if at >= stop:
                raise Malformed("it ends within a number")
            byte = self._data[at]
            at += 1
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result & _MASK, at
        raise Malformed("a number has more than 64 bits")

    def _span_of(self, found: Any, wire: int = LENGTH) -> tuple[int, int]:
        if not isinstance(found, tuple) or found[2] != wire:
            raise Malformed("a field is of another kind than declared")
        return found[0], found[1]
