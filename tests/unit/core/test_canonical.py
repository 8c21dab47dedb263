"""Canonical JSON: the vectors of RFC 8785, the round trip, and what strict reading refuses."""

from __future__ import annotations

import enum
import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core import canonical
from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Invalid

# RFC 8785, appendix B: IEEE 754 bits and their text.
NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]
SAFE = 2**53 - 1

texts = st.text()  # hypothesis makes no surrogates here
values = st.recursive(
    st.none() | st.booleans() | st.integers(-SAFE, SAFE) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def double(bits: str) -> float:
    return float(struct.unpack(">d", bytes.fromhex(bits))[0])


@pytest.mark.parametrize(("bits", "expected"), NUMBERS)
def test_numbers_of_the_rfc(bits: str, expected: str) -> None:
    """Every finite number of RFC 8785's appendix B has the text given there."""
    assert expected == canonical.number(double(bits))
    assert expected.encode() == canonical.dumps(double(bits))


@pytest.mark.parametrize("bits", ["7fffffffffffffff", "7ff0000000000000", "fff0000000000000"])
def test_what_is_no_number_has_no_form(bits: str) -> None:
    """NaN and the infinities cannot be written."""
    with pytest.raises(Invalid) as caught:
        canonical.dumps({"x": [double(bits)]})

    assert "invalid-json" == caught.value.code


def test_the_example_of_the_rfc() -> None:
    """RFC 8785, sections 3.2.2 to 3.2.4: one object, byte for byte."""
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }

    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert expected.encode() == canonical.dumps(value)


def test_keys_are_sorted_by_utf16() -> None:
    """RFC 8785, section 3.2.3: an emoji sorts before a Hebrew letter, as its first UTF-16 unit is smaller."""
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]

    written = json.loads(canonical.dumps(dict.fromkeys(keys, 0)))

    assert ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"] == list(written)


@given(value=values)
def test_the_fast_way_writes_the_same(value: Any) -> None:
    """What the encoder in C may write is what the slow spelling writes."""
    assert canonical._spell(value) == canonical.dumps(value)


@given(value=values)
def test_round_trip(value: Any) -> None:
    """What was written is read back as it was, and writing that gives the same bytes."""
    data = canonical.dumps(value)

    assert value == canonical.loads(data)
    assert data == canonical.dumps(canonical.loads(data))
    assert value == json.loads(data, parse_int=float)  # as readers do that know one kind of number
    assert of_bytes(data) == canonical.digest(value)


@pytest.mark.parametrize("value", [2.0**53, -(2.0**53), 1e16, 1.5e20, -999999999999999900000.0, 1e21])
def test_large_floats_come_back(value: float) -> None:
    """A float that RFC 8785 writes like an integer is read as a float, so it can be written again."""
    back = canonical.loads(canonical.dumps(value))

    assert (float, value) == (type(back), back)
    assert canonical.dumps(value) == canonical.dumps(back)


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_every_bit(value: float) -> None:
    """A float comes back exactly, but for the sign of zero."""
    back = float(canonical.number(value))

    assert value == back
    assert value == 0 or math.copysign(1, value) == math.copysign(1, back)


@given(value=st.dictionaries(texts, st.integers(-9, 9), max_size=6), data=st.data())
def test_order_of_keys_does_not_matter(value: dict[str, int], data: st.DataObject) -> None:
    """Equal objects have equal bytes."""
    shuffled = dict(data.draw(st.permutations(list(value.items()))))

    assert canonical.dumps(value) == canonical.dumps(shuffled)


def test_subclasses_are_written_as_what_they_are() -> None:
    """Numbers and texts of other libraries have the form of the plain value, not of their own repr."""

    class Colour(enum.StrEnum):
        RED = "red"

    class Level(enum.IntEnum):
        LOW = 3

    value = {"a": np.float64(0.25), "b": np.str_("x"), "c": Colour.RED, "d": Level.LOW, "e": (1, True)}

    assert b'{"a":0.25,"b":"x","c":"red","d":3,"e":[1,true]}' == canonical.dumps(value)


@pytest.mark.parametrize(
    "value",
    [
        {1: "x"},
        {None: 1},
        {"a": {1, 2}},
        b"bytes",
        object(),
        np.int64(1),
        1j,
        SAFE + 1,
        -SAFE - 1,
        10**400,
        "\ud800",
        {"\udfff": 1},
        ["ok", {"deep": "\ud800"}],
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_has_no_form_is_refused(value: Any) -> None:
    """Values that JSON readers would disagree about are `Invalid`, never approximated."""
    with pytest.raises(Invalid) as caught:
        canonical.dumps(value)

    assert "invalid-json" == caught.value.code


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}',
        '{"a":1,"\\u0061":2}',
        '{"x":{"a":1,"a":1}}',
        "NaN",
        "[Infinity]",
        '{"a":-Infinity}',
        "1e400",
        "[-1e400]",
        '{"a":1e999}',
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '{"\\ud800":1}',
        "9007199254740993",
        "-9007199254740993",
        "12345678901234567890",
        "1" * 21,
        "1" * 5000,
        "-" + "9" * 100_000,
        "",
        " ",
        "{",
        "[1,]",
        "{'a':1}",
        "01",
        "+1",
        ".5",
        "1.",
        "tru",
        "1 2",
        "\ufeff1",
        '"\x01"',
        "/* */1",
        "[" * 100_000,
        '{"a":' * 100_000,
        "[" * 66 + "]" * 66,
    ],
    ids=lambda text: repr(text)[:24],
)
def test_strict_reading_refuses(text: str) -> None:
    """Ambiguous, unbounded or malformed JSON is `Invalid` with a reason; no other error escapes."""
    for given_ in (text, text.encode("utf-8", "surrogatepass")):
        with pytest.raises(Invalid) as caught:
            canonical.loads(given_)
        assert "invalid-json" == caught.value.code


@pytest.mark.parametrize("data", [b"\xff", b'"\xc3"', b'"\xed\xa0\x80"', b'"\xc0\xae"', "1".encode("utf-16")])
def test_only_utf8_is_read(data: bytes) -> None:
    """Overlong forms, surrogates in UTF-8 and other encodings are refused."""
    with pytest.raises(Invalid):
        canonical.loads(data)


def test_depth_has_one_limit_for_readers_and_writers() -> None:
    """Values may lie below 64 lists or objects, not below 65."""
    value: Any = 1
    for _ in range(canonical.MAX_DEPTH):
        value = [value]

    assert value == canonical.loads(canonical.dumps(value))

    with pytest.raises(Invalid):
        canonical.dumps([value])
    with pytest.raises(Invalid):
        canonical.loads("[" * 65 + "1" + "]" * 65)


def test_a_value_that_contains_itself_is_refused() -> None:
    """A cycle is an error, not an endless text."""
    value: list[Any] = []
    value.append(value)

    with pytest.raises(Invalid):
        canonical.dumps(value)


@given(data=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_whatever_is_read_can_be_written(data: bytes) -> None:
    """Reading either refuses or gives a value with a canonical form."""
    try:
        value = canonical.loads(data)
    except Invalid:
        return

    assert value == canonical.loads(canonical.dumps(value))
