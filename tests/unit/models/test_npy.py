"""npy files are read completely, without numpy, or refused."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from stellwerk.core.errors import Refused
from stellwerk.models import npy


def saved(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.float64(3),
        np.zeros((0, 4), dtype=np.float32),
        np.array(["ab", "c"]),
        np.array([b"ab"]),
        np.array([True, False]),
        np.array(["2013-01-01"], dtype="datetime64[us]"),
        np.zeros(3, dtype=[("a", "<f8"), ("b", "u1", (2,)), ("c", [("d", "<i4")])]),
        np.zeros(2, dtype=np.dtype([("a", "u1"), ("b", "<f8")], align=True)),
        np.zeros(4, dtype=complex),
    ],
)
def test_plain_arrays_are_described(array: Any) -> None:
    """Shape and element size are what numpy says."""
    found = npy.header(saved(array))

    assert (np.shape(array), array.dtype.itemsize) == (found.shape, found.item_size)


def test_objects_are_refused() -> None:
    """An array of objects is a pickle."""
    with pytest.raises(Refused, match="objects are pickles"):
        npy.header(saved(np.array([{}], dtype=object), allow_pickle=True))


def test_objects_inside_records_are_refused() -> None:
    """Nor may one field of a record be an object."""
    with pytest.raises(Refused, match="objects are pickles"):
        npy.header(saved(np.zeros(1, dtype=[("a", "O")]), allow_pickle=True))


GOOD = saved(np.arange(4))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:40],
        GOOD[:-1],
        GOOD + b"x",
        b"\x80" + GOOD[1:],
        GOOD.replace(b"\x01\x00", b"\x09\x00", 1),
        GOOD.replace(b"'<i8'", b"f(8) "),
        GOOD.replace(b"(4,)", b"(-4,"),
        GOOD.replace(b"(4,), ", b"4   , "),
        GOOD.replace(b"False", b"Maybe"),
        GOOD.replace(b"'shape'", b"'sha_e'"),
        saved(np.array([""] * 4)).replace(b"(4,)         ", b"(9999999999,)").replace(b"<U1", b"<U0"),
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 70_000,
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    """Cut, padded, mislabelled and hostile headers never reach numpy."""
    with pytest.raises(Refused) as caught:
        npy.header(data)

    assert "unreadable-array" == caught.value.code
