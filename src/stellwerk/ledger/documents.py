"""Typed values as JSON documents and back: the one codec between frozen dataclasses and everything outside."""

from __future__ import annotations

from typing import Any, TypeVar

from stellwerk.core import canonical
from stellwerk.core.errors import Invalid

T = TypeVar("T")


_ADAPTERS: dict[Any, Any] = {}


def _adapter(kind: Any) -> Any:
    found = _ADAPTERS.get(kind)
    if found is None:
        from pydantic import TypeAdapter  # 45 ms: only those who read or write documents pay for it

        found = _ADAPTERS[kind] = TypeAdapter(kind)
    return found


def dump(value: Any) -> Any:
    """A frozen dataclass (or a container of them) as JSON-able data; datetimes as RFC 3339."""
    return _adapter(type(value)).dump_python(value, mode="json")


def dump_as(kind: Any, value: Any) -> Any:
    """Like `dump`, for types that the value does not name itself, such as `tuple[Run, ...]`."""
    return _adapter(kind).dump_python(value, mode="json")


def text(value: Any) -> str:
    """The canonical JSON of a value."""
    return canonical.dumps(dump(value)).decode()


def load(kind: type[T], data: Any) -> T:
    """A typed value from JSON-able data. Raises `Invalid` naming every wrong field."""
    from pydantic import ValidationError

    try:
        result: T = _adapter(kind).validate_python(data)
    except ValidationError as cause:
        raise _invalid(kind, cause) from cause
    return result


def parse(kind: type[T], data: str | bytes) -> T:
    """A typed value from JSON text."""
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


def _invalid(kind: Any, cause: Any) -> Invalid:
    problems = "; ".join(
        f"{'.'.join(map(str, error['loc'])) or 'value'}: {error['msg']}" for error in cause.errors()[:10]
    )
    return Invalid(f"not a {getattr(kind, '__name__', kind)}: {problems}", code="invalid-document")
