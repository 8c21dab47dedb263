"""Protobuf's wire format is read field by field, and never beyond what holds a field."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.protobuf import Cursor, Malformed


def test_fields_are_read_as_the_format_says() -> None:
    """The examples of protobuf's own documentation: an integer, a text, a message within a message."""
    assert [(1, 150)] == list(Cursor(b"\x08\x96\x01").message())

    cursor = Cursor(b"\x12\x07testing\x1a\x03\x08\x96\x01")
    (two, text), (three, inner) = cursor.message()
    assert (2, 3, "testing") == (two, three, cursor.text(text))
    assert [(1, 150)] == list(cursor.inside(inner))


def test_numbers_of_all_kinds() -> None:
    """Negative integers take ten bytes; fixed ones four or eight."""
    cursor = Cursor(
        b"\x08" + b"\xff" * 9 + b"\x01" + b"\x11" + struct.pack("<d", 1.5) + b"\x1d" + struct.pack("<I", 7)
    )
    (_, minus), (_, double), (_, fixed) = cursor.message()

    assert (-1, 2**64 - 1) == (cursor.integer(minus), cursor.count(minus))
    assert (1.5, 7) == (cursor.fixed(double, "<d"), cursor.fixed(fixed, "<I"))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x0a\xff\xff\xff\xff\x7f", "longer than what holds it"),
        (b"\x08", "ends within a number"),
        (b"\x08" + b"\xff" * 10, "more than 64 bits"),
        (b"\x00", "without number"),
        (b"\x0b", "of kind 3"),
        (b"\x0a\x01\xff", "not in UTF-8"),
        (b"\x08\x01", "another kind"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, problem: str) -> None:
    """A length that says more than there is reserves nothing, and each error says what is wrong."""
    cursor = Cursor(data)
    with pytest.raises(Malformed, match=problem):
        [cursor.text(found) for _, found in cursor.message()]


@given(st.binary(max_size=200))
def test_no_bytes_do_harm(data: bytes) -> None:
    """Whatever arrives is read or refused, and what is read lies inside."""
    cursor = Cursor(data)
    try:
        found = list(cursor.message())
    except Malformed:
        return
    assert all(isinstance(one, int) or one[1] <= len(data) for _, one in found)
