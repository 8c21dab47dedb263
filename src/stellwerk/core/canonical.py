"""Canonical JSON (RFC 8785): one value, one sequence of bytes, so that values can be hashed and signed.

Reading is strict: duplicate keys, NaN, infinities, lone surrogates, deep nesting and integers that no float holds
exactly are refused, so that whatever `loads` accepts, `dumps` can write.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable
from json.encoder import encode_basestring  # type: ignore[attr-defined,unused-ignore]
from typing import Any

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Invalid

JSON = Any
"""None, bool, int, float, str, or lists and string-keyed dicts of these."""

Plainer = Callable[[Any], Any]
MAX_DEPTH = 64
MAX_SAFE_INTEGER = 2**53 - 1


_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False)


def dumps(value: JSON) -> bytes:
    """Serialise by RFC 8785. Raises `Invalid` for NaN, infinities, non-string keys and unsafe integers."""
    return quickly(value) or _spell(value)


def quickly(value: Any, plainer: Plainer | None = None) -> bytes | None:
    """What `dumps` says, by the encoder in C, several times faster; None where that would write something else.

    Args:
        plainer: Makes a value of another type plainer, into JSON of which the parts may be of other types, too; None of
            what it does not know.
    """
    try:
        return _ENCODER.encode(_alike(value, 0, plainer)).encode("utf-8")
    except (_Unlike, UnicodeEncodeError):  # a lone surrogate, say: refused by `dumps`, with the reason
        return None


class _Unlike(Exception):
    """The encoder in C would write something else."""


def _spell(value: JSON) -> bytes:
    parts: list[str] = []
    _write(value, parts, 0)
    try:
        return "".join(parts).encode("utf-8")
    except UnicodeEncodeError as cause:
        raise Invalid("text contains a lone surrogate", code="invalid-json") from cause


def digest(value: JSON) -> Digest:
    """The digest of a value's canonical bytes."""
    return of_bytes(dumps(value))


def loads(data: bytes | str) -> JSON:
    """Read JSON strictly. Raises `Invalid` with the reason; never repairs."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer)
    except Invalid:
        raise
    except (ValueError, RecursionError) as cause:
        raise Invalid(f"not valid JSON: {cause}", code="invalid-json") from cause
    _check(value, 0)
    return value


_SAME = frozenset({str, bool, type(None)})
"""Types of which every value is spelled alike."""


def _alike(value: Any, depth: int, plainer: Plainer | None) -> JSON:
    """The value, or an equal one, that every encoding spells and sorts alike. Raises `_Unlike` where there is none."""
    kind = type(value)
    if kind in _SAME:
        return value
    if kind is int:
        if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            return value
        raise _Unlike
    if kind is float:
        return _plain_number(value)
    if depth >= MAX_DEPTH:
        raise _Unlike
    if kind is dict:
        changed = None
        for key, item in value.items():
            if type(key) is not str or not key.isascii():
                raise _Unlike
            if type(item) not in _SAME and (found := _alike(item, depth + 1, plainer)) is not item:
                changed = changed or dict(value)
                changed[key] = found
        return changed or value
    if kind is list or kind is tuple:
        items = [_alike(item, depth + 1, plainer) for item in value]
        return items if any(map(operator.is_not, items, value)) else value
    if plainer is not None and (plain := plainer(value)) is not None:
        return _alike(plain, depth, plainer)
    raise _Unlike


def _plain_number(value: float) -> int | float:
    """Whole floats are written as integers, as RFC 8785 has it. Raises `_Unlike` for exponents, and what is no number."""
    if value.is_integer() and -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        return int(value)
    if 1e-6 <= abs(value) < 1e15 and "e" not in repr(value):
        return value
    raise _Unlike


def _write(value: JSON, parts: list[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Invalid(f"JSON is nested deeper than {MAX_DEPTH} levels", code="invalid-json")
    if value is None:
        parts.append("null")
    elif value is True:
        parts.append("true")
    elif value is False:
        parts.append("false")
    elif isinstance(value, str):
        parts.append(encode_basestring(value))
    elif isinstance(value, int):
        parts.append(str(_safe(int(value))))
    elif isinstance(value, float):
        parts.append(number(value))
    elif isinstance(value, (list, tuple)):
        parts.append("[")
        for index, item in enumerate(value):
            if index:
                parts.append(",")
            _write(item, parts, depth + 1)
        parts.append("]")
    elif isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise Invalid("JSON object keys must be strings", code="invalid-json")
        parts.append("{")
        for index, key in enumerate(_sorted(value)):
            if index:
                parts.append(",")
            parts.append(encode_basestring(key))
            parts.append(":")
            _write(value[key], parts, depth + 1)
        parts.append("}")
    else:
        raise Invalid(f"{type(value).__name__} has no JSON form", code="invalid-json")


def number(value: float) -> str:
    """A finite float in the shortest ECMAScript form that RFC 8785 prescribes."""
    if not math.isfinite(value):
        raise Invalid(f"{value} has no JSON form", code="invalid-json")
    if value == 0:
        return "0"
    # Not `repr`: a subclass such as numpy's float64 writes its type into it.
    mantissa, _, exponent = float.__repr__(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    sign = "-" if value < 0 else ""
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    power = point - 1
    text = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{sign}{text}e{'+' if power > 0 else '-'}{abs(power)}"


def _sorted(keys: dict[str, Any]) -> list[str]:
    """By UTF-16 code units, as RFC 8785 has it; ASCII sorts alike in every encoding."""
    if all(map(str.isascii, keys)):
        return sorted(keys)
    return sorted(keys, key=lambda key: key.encode("utf-16-be", "surrogatepass"))


def _check_text(value: str) -> None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as cause:
        raise Invalid("text contains a lone surrogate", code="invalid-json") from cause


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Invalid("JSON object repeats a key", code="invalid-json")
    return result


def _constant(name: str) -> float:
    raise Invalid(f"{name} is not JSON", code="invalid-json")


def _integer(text: str) -> int | float:
    if len(text) > 22:  # the longest that RFC 8785 writes without exponent
        raise Invalid("JSON integer has more than 22 characters", code="invalid-json")
    value = int(text)
    if abs(value) > MAX_SAFE_INTEGER and number(float(value)) == text:
        return float(value)  # how RFC 8785 writes floats such as 1e16: nothing is lost
    return _safe(value)


def _safe(value: int) -> int:
    if abs(value) > MAX_SAFE_INTEGER:
        raise Invalid(
            f"integer {value} is outside ±(2^53 - 1), where JSON readers disagree",
            code="invalid-json",
            hint="write it as a string",
        )
    return value


def _check(value: JSON, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Invalid(f"JSON is nested deeper than {MAX_DEPTH} levels", code="invalid-json")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Invalid("JSON number is too large for a float", code="invalid-json")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
