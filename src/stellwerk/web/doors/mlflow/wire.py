"""Requests as MLflow's client sends them, and answers as it reads them.

The client speaks protobuf's JSON with names in snake_case: integers as numbers or texts, enumerations by name or
number, NaN and infinities as texts; unknown fields are left alone. In a query lists repeat their key. What is wrong
is named as MLflow's own server names it (mlflow/server/handlers.py, `_validate_param_against_schema`).
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import msgspec
from starlette.datastructures import QueryParams

from stellwerk.core.errors import Invalid
from stellwerk.web.doors.mlflow.messages import Next, Number, Pair

T = TypeVar("T")
Kind = Literal["text", "integer", "number", "flag", "row", "any"]
SMALLEST, LARGEST = -(2**63), 2**63 - 1
_DOCS = " See the API docs for more information about request parameters."
_SHOWN = 200
"""Characters of a wrong value that an answer repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a message.

    Attributes:
        must: Whether it must be there, and not be an empty text.
        many: Whether it is a list.
        inner: The fields of its rows.
        names: Of an enumeration: its values by number. What is sent as number is read as name.
        most: The largest integer, where there is one.
        plain: The type of values that need no second look, if there is one.
    """

    kind: Kind = "text"
    must: bool = False
    many: bool = False
    inner: Mapping[str, Field] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    most: int = LARGEST
    plain: type | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if not self.many and not self.names:
            object.__setattr__(self, "plain", {"text": str, "number": float, "flag": bool}.get(self.kind))


TEXT, TEXTS, INTEGER, NUMBER, FLAG, ANY = (
    Field(),
    Field(many=True),
    Field(kind="integer"),
    Field(kind="number"),
    Field(kind="flag"),
    Field(kind="any"),
)
SOME_TEXT = Field(must=True)
SOME_INTEGER = Field(kind="integer", must=True)
SOME_NUMBER = Field(kind="number", must=True)


def row(**inner: Field) -> Field:
    """A message within a message."""
    return Field(kind="row", inner=inner)


def rows(**inner: Field) -> Field:
    """A list of messages."""
    return Field(kind="row", many=True, inner=inner)


PAIRS = rows(key=SOME_TEXT, value=TEXT)
"""Tags and parameters."""


class Ask:
    """What was asked, of the declared types. What was not sent is absent."""

    __slots__ = ("path", "values")

    def __init__(self, values: Mapping[str, Any], path: Mapping[str, str] | None = None) -> None:
        self.values = values
        self.path = path or {}
        """What stood in the path of the request, decoded once."""

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def text(self, name: str) -> str:
        """A text; empty where none was sent."""
        found: str = self.values.get(name, "")
        return found

    def maybe(self, name: str) -> str | None:
        """A text, or None where none was sent."""
        return self.values.get(name)

    def integer(self, name: str, default: int = 0) -> int:
        """An integer of 64 bits."""
        found: int = self.values.get(name, default)
        return found

    def number(self, name: str, default: float = 0.0) -> float:
        """A number, of which there are NaN and infinities."""
        found: float = self.values.get(name, default)
        return found

    def flag(self, name: str) -> bool:
        """True where it was said."""
        return bool(self.values.get(name, False))

    def texts(self, name: str) -> list[str]:
        """A list of texts."""
        found: list[str] = self.values.get(name, [])
        return found

    def row(self, name: str) -> Ask:
        """A message within the message; empty where none was sent."""
        return Ask(self.values.get(name, {}))

    def rows(self, name: str) -> list[Ask]:
        """Messages within the message."""
        return [Ask(one) for one in self.values.get(name, [])]

    def pairs(self, name: str) -> list[tuple[str, str]]:
        """Keys and values, in the order in which they were sent."""
        return [(one["key"], one.get("value", "")) for one in self.values.get(name, [])]


def read_body(data: bytes, fields: Mapping[str, Field]) -> dict[str, Any]:
    """The fields of a JSON body. Raises `Invalid` naming what is wrong."""
    return _message(_json(data), fields, "")


def read_query(query: QueryParams, fields: Mapping[str, Field]) -> dict[str, Any]:
    """The fields of a query. Raises `Invalid` naming what is wrong."""
    found: dict[str, Any] = {}
    for name, one in fields.items():
        if name not in query:
            continue
        if one.many:
            found[name] = query.getlist(name)
        elif one.kind == "flag":
            found[name] = _flag(name, query[name])
        else:
            found[name] = query[name]
    return _message(found, fields, "")


def write(answer: Mapping[str, Any] | None) -> bytes:
    """An answer as JSON. Numbers that JSON does not know must be spelled by `number`."""
    return msgspec.json.encode(answer or {})


def number(value: float) -> Number:
    """A number as protobuf's JSON spells it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def pairs(values: Mapping[str, str]) -> list[Pair]:
    """Keys and values as messages."""
    return [{"key": key, "value": value} for key, value in values.items()]


def offset_of(token: str) -> int:
    """Where a page begins. Raises `Invalid` for what is no token of ours."""
    if not token:
        return 0
    try:
        found = json.loads(base64.b64decode(token, validate=True))["offset"]
    except (ValueError, TypeError, KeyError, RecursionError) as cause:
        raise Invalid("Invalid page token, could not base64-decode", code="invalid-token") from cause
    if not isinstance(found, int) or not 0 <= found <= LARGEST:
        raise Invalid("Invalid page token, it holds no position", code="invalid-token")
    return found


def token_of(offset: int) -> str:
    """The token of the page that begins there. Clients do not look into it."""
    return base64.b64encode(json.dumps({"offset": offset}).encode()).decode()


def page(found: Sequence[T], limit: int, offset: int) -> tuple[Sequence[T], Next]:
    """A page of what was found with one more than the limit, and the token of the next one if there is one."""
    if len(found) <= limit:
        return found, {}
    return found[:limit], {"next_page_token": token_of(offset + limit)}


def _json(data: bytes) -> Mapping[str, Any]:
    if not data.strip():
        return {}
    try:
        found = msgspec.json.decode(data)
        if isinstance(found, str):  # old clients encode twice
            found = msgspec.json.decode(found)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise Invalid(f"the body is not valid JSON: {cause}", code="invalid-json") from cause
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Invalid("the body must be a JSON object", code="invalid-json")
    return found


def _message(found: Mapping[str, Any], fields: Mapping[str, Field], path: str) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name, one in fields.items():
        value = found.get(name)
        if value is None or (one.must and value == ""):
            if one.must:
                raise missing(path + name)
            continue
        if type(value) is one.plain:
            read[name] = value
            continue
        read[name] = _many(value, one, path + name) if one.many else _one(value, one, path + name)
    return read


def _many(value: Any, one: Field, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise invalid(path, value)
    if one.kind == "text" and not one.names:
        for item in value:
            if type(item) is not str:
                raise invalid(path, value)
        return value
    return [_one(item, one, f"{path}[{index}]") for index, item in enumerate(value)]


def _one(value: Any, one: Field, path: str) -> Any:
    kind = one.kind
    if one.names:
        return _named(value, one.names, path)
    if kind == "text":
        if type(value) is not str:
            raise invalid(path, value)
        return value
    if kind == "number":
        return _number(value, path)
    if kind == "integer":
        found = _integer(value, path)
        if found > one.most:
            raise invalid(path, value)
        return found
    if kind == "flag":
        if type(value) is not bool:
            raise invalid(path, value)
        return value
    if kind == "row":
        if not isinstance(value, dict):
            raise invalid(path, value)
        return _message(value, one.inner, f"{path}.")
    return value


def _number(value: Any, path: str) -> float:
    if type(value) is float:
        return value
    try:
        if type(value) is int or (type(value) is str and value.strip() == value and "_" not in value):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise invalid(path, value)


def _integer(value: Any, path: str) -> int:
    found: Any = None
    if type(value) is int:
        found = value
    elif (type(value) is float and value.is_integer()) or (
        type(value) is str and len(value) <= 20 and value.isascii() and value.removeprefix("-").isdecimal()
    ):
        found = int(value)
    if found is None or not SMALLEST <= found <= LARGEST:
        raise invalid(path, value)
    return int(found)


def _named(value: Any, names: Mapping[int, str], path: str) -> str:
    if type(value) is int and value in names:
        return names[value]
    if type(value) is str:
        if value in names.values():
            return value
        if value.isascii() and value.isdecimal() and len(value) < 10 and int(value) in names:
            return names[int(value)]
    raise invalid(path, value)


def _flag(path: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise Invalid(
            f"Invalid boolean value: {value[:_SHOWN]}, must be 'true' or 'false'.", code="invalid-arguments"
        )
    return value.lower() == "true"


def missing(path: str) -> Invalid:
    """Something that must be there is not."""
    return Invalid(f"Missing value for required parameter '{path}'.{_DOCS}", code="invalid-arguments")


def invalid(path: str, value: Any) -> Invalid:
    """Something is of another type than declared."""
    shown = "".join(_shown(value))
    return Invalid(
        f"Invalid value {shown} for parameter '{path}' supplied:  Hint: Value was of type "
        f"'{type(value).__name__}'.{_DOCS}",
        code="invalid-arguments",
    )


def _shown(value: Any) -> Iterator[str]:
    """JSON of a value, and no more of it than a person reads."""
    size = 0
    for part in json.JSONEncoder(sort_keys=True, separators=(",", ":")).iterencode(value):
        yield part[:_SHOWN]
        size += len(part)
        if size > _SHOWN:
            yield "…"
            return
