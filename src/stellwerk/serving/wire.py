"""Strict JSON at C speed for requests: typed, one meaning only. What requests look like is in `plain` and `oip`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from stellwerk.core.errors import Invalid

T = TypeVar("T")

_SPACED = (b" :", b"\t:", b"\n:", b"\r:")
_KEY_END = re.compile(rb'"[ \t\n\r]*:')

encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


def decode(decoder: msgspec.json.Decoder[T], data: bytes, members: Callable[[T], int]) -> T:
    """Read a request.

    Args:
        members: Counts the members of all objects in a request: the text holds more where a key is repeated.

    Raises:
        Invalid: `invalid-json` for what is not strict JSON, `invalid-request` for JSON of another form.
    """
    try:
        value = decoder.decode(data)
    except msgspec.ValidationError as cause:
        raise Invalid(f"the request has another form than expected: {cause}", code="invalid-request") from cause
    except (ValueError, RecursionError) as cause:
        raise Invalid(f"not valid JSON: {cause}", code="invalid-json") from cause
    # Counting is exact or too high (by `\":` in quoted text), so equality proves that no key is repeated.
    if _count_keys(data) != members(value):
        json.loads(data, object_pairs_hook=_refuse_repeated)
    return value


def _count_keys(data: bytes) -> int:
    if any(spaced in data for spaced in _SPACED):
        return sum(1 for _ in _KEY_END.finditer(data))
    return data.count(b'":')


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f"a JSON object has the key {twice[:60]!r} twice", code="invalid-json")
