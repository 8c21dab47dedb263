"""Typed values as JSON documents and back: the one codec between frozen dataclasses and everything outside."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

import msgspec

from stellwerk.core import canonical
from stellwerk.core.errors import Invalid

T = TypeVar("T")


_ADAPTERS: dict[Any, Any] = {}
_DECODERS: dict[Any, Callable[[str | bytes], Any] | None] = {}


def _decoder(kind: Any) -> Callable[[str | bytes], Any] | None:
    """Reads text of a type; None where the type is none of those that msgspec reads."""
    if kind not in _DECODERS:
        try:
            _DECODERS[kind] = msgspec.json.Decoder(kind).decode
        except TypeError:
            _DECODERS[kind] = None
    return _DECODERS[kind]


def _adapter(kind: Any) -> Any:
    found = _ADAPTERS.get(kind)
    if found is None:
        from pydantic import TypeAdapter  # 45 ms: only those who read or write documents pay for it

        found = _ADAPTERS[kind] = TypeAdapter(kind)
    return found


def dump(value: Any) -> Any:
    """A frozen dataclass (or a container of them) as JSON-able data; datetimes as RFC 3339.

    Nothing is changed on the way: NaN stays NaN (for `text` to refuse), and what has no JSON form is `Invalid`.
    """
    return _plain(value)


def dump_as(kind: Any, value: Any) -> Any:
    """Like `dump`, for types that the value does not name itself, such as `tuple[Run, ...]`."""
    return _plain(value)


def text(value: Any) -> str:
    """The canonical JSON of a value."""
    return (canonical.quickly(value, _plainer) or canonical.dumps(dump(value))).decode()


def _plainer(value: Any) -> Any:
    """What `dump` says of a value, whose parts are still to be dumped; None where only `dump` knows."""
    kind: Any = type(value)
    if kind is datetime:
        return _instant(value)
    names = _names(kind)
    if names is not None:
        return {name: getattr(value, name) for name in names}
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else None


def load(kind: type[T], data: Any) -> T:
    """A typed value from JSON-able data. Raises `Invalid` naming every wrong field."""
    from pydantic import ValidationError

    try:
        result: T = _adapter(kind).validate_python(data)
    except ValidationError as cause:
        raise _invalid(kind, cause) from cause
    return result


def load_exactly(kind: type[T], data: Any) -> T:
    """Like `load`, for what a stranger sends: no `false` is a number here, and no number a time."""
    from pydantic import ValidationError

    try:
        result: T = _adapter(kind).validate_json(canonical.dumps(data), strict=True)
    except ValidationError as cause:
        raise _invalid(kind, cause) from cause
    return result


def parse(kind: type[T], data: str | bytes) -> T:
    """A typed value from JSON text that we wrote. Text from elsewhere is read by `canonical.loads` and `load`."""
    decode = _decoder(kind)
    if decode is not None:
        try:
            found: T = decode(data)
            return found
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            pass  # pydantic names every wrong field, where there is one
    from pydantic import ValidationError

    try:
        result: T = _adapter(kind).validate_json(data)
    except ValidationError as cause:
        raise _invalid(kind, cause) from cause
    return result


def schema(kind: Any) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a type."""
    result: dict[str, Any] = _adapter(kind).json_schema(ref_template="#/components/schemas/{model}")
    return result


def _plain(value: Any) -> Any:
    # Not left to pydantic, which writes NaN as null and replaces lone surrogates in keys without a word.
    kind: Any = type(value)
    if kind is str:
        return _text(value)
    if kind in _PLAIN:
        return value
    if kind is datetime and (instant := _instant(value)) is not None:
        return instant
    names = _names(kind)
    if names is not None:
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        result = {_key(key): _plain(item) for key, item in value.items()}
        if len(result) != len(value):
            raise Invalid("a document cannot hold one key twice", code="invalid-document")
        return result
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=canonical.dumps)
    return _leaf(value)


def _instant(value: datetime) -> str | None:
    """RFC 3339, as pydantic writes it; None of times that are not in UTC."""
    return value.isoformat()[:-6] + "Z" if value.tzinfo is UTC else None


_PLAIN = frozenset({type(None), bool, int, float})


@cache
def _names(kind: type) -> tuple[str, ...] | None:
    """The fields of a dataclass; None for any other type."""
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


def _key(key: Any) -> str:
    if not isinstance(key, str | int) or isinstance(key, bool):
        raise Invalid(f"a document cannot have a {type(key).__name__} as key", code="invalid-document")
    return _text(str(key))


def _text(text: str) -> str:
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as cause:
        raise Invalid("text contains a lone surrogate", code="invalid-text") from cause
    return text


def _leaf(value: Any) -> Any:
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        return to_jsonable_python(value, inf_nan_mode="constants")
    except (PydanticSerializationError, UnicodeError) as cause:
        raise Invalid(f"{type(value).__name__} has no JSON form", code="invalid-document") from cause


def _invalid(kind: Any, cause: Any) -> Invalid:
    problems = "; ".join(
        f"{'.'.join(map(str, error['loc'])) or 'value'}: {error['msg']}" for error in cause.errors()[:10]
    )
    return Invalid(f"not a {getattr(kind, '__name__', kind)}: {problems}", code="invalid-document")
