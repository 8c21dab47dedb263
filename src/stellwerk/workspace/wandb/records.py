"""Records of a log of Weights & Biases: the fields that are taken over, by their numbers; others are skipped.

Source: wandb/proto/wandb_internal.proto of wandb, versions 0.10 to 0.31. Numbers are never given twice there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stellwerk.core.errors import Invalid
from stellwerk.core.protobuf import Cursor, Malformed

Message = dict[str, Any]
"""What a message said, by names. A field that was not said is absent."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    kind: Literal["text", "integer", "message"]
    inner: Mapping[int, _Field] | None = None
    many: bool = False


def _text(name: str) -> _Field:
    return _Field(name, "text")


def _texts(name: str) -> _Field:
    return _Field(name, "text", many=True)


def _integer(name: str) -> _Field:
    return _Field(name, "integer")


def _one(name: str, inner: Mapping[int, _Field]) -> _Field:
    return _Field(name, "message", inner)


def _rows(name: str, inner: Mapping[int, _Field]) -> _Field:
    return _Field(name, "message", inner, many=True)


_TIME = {1: _integer("seconds"), 2: _integer("nanos")}
_ITEM = {1: _text("key"), 2: _texts("nested"), 16: _text("json")}
_CHANGE = {1: _rows("update", _ITEM), 2: _rows("remove", _ITEM)}
_TELEMETRY = {4: _text("python"), 5: _text("client")}
_GIT = {1: _text("remote"), 2: _text("commit")}
_RUN = {
    1: _text("id"), 2: _text("entity"), 3: _text("project"), 4: _one("config", _CHANGE), 5: _one("summary", _CHANGE),
    6: _text("group"), 7: _text("job_type"), 8: _text("name"), 9: _text("notes"), 10: _texts("tags"),
    12: _text("sweep"), 13: _text("host"), 17: _one("start", _TIME), 19: _one("telemetry", _TELEMETRY),
    21: _one("git", _GIT), 23: _one("branch", {1: _text("run")}),
}  # fmt: skip
_ENTRY = {1: _text("path"), 2: _text("digest"), 3: _text("ref"), 4: _integer("size"), 6: _text("local_path")}
_ARTIFACT = {
    4: _text("type"), 5: _text("name"), 6: _text("digest"), 7: _text("description"), 8: _text("metadata"),
    11: _texts("aliases"), 12: _one("manifest", {4: _rows("contents", _ENTRY), 5: _text("elsewhere")}),
}  # fmt: skip
_ENVIRONMENT = {
    1: _text("os"), 2: _text("python"), 4: _text("docker"), 5: _texts("args"), 6: _text("program"),
    7: _text("codePath"), 9: _one("git", _GIT), 11: _text("root"), 12: _text("host"), 13: _text("username"),
    14: _text("executable"), 15: _text("colab"), 16: _integer("cpu_count"), 17: _integer("cpu_count_logical"),
    18: _text("gpu"), 19: _integer("gpu_count"), 25: _text("cuda"),
}  # fmt: skip
_RECORD = {
    2: _one("history", {1: _rows("item", _ITEM), 2: _one("step", {1: _integer("num")})}),
    3: _one("summary", _CHANGE),
    5: _one("config", _CHANGE),
    7: _one("stats", {2: _one("at", _TIME), 3: _rows("item", {1: _text("key"), 16: _text("json")})}),
    8: _one("artifact", _ARTIFACT),
    9: _one("tensorboard", {}),
    10: _one("alert", {1: _text("title"), 2: _text("text")}),
    11: _one("telemetry", _TELEMETRY),
    12: _one("metric", {1: _text("name"), 2: _text("glob"), 4: _text("step_metric")}),
    13: _one("output", {1: _integer("stdout"), 3: _text("line")}),
    17: _one("run", _RUN),
    18: _one("exit", {1: _integer("code"), 3: _integer("not_complete")}),
    25: _one("used", {1: _text("id"), 2: _text("type"), 3: _text("name")}),
    26: _one("environment", _ENVIRONMENT),
}
KINDS = {field.name: number for number, field in _RECORD.items()}
_PARSE = json.JSONDecoder()
MOST_FIELDS = 4_000_000
"""Of one record, those of its inner messages too. The longest is a list of files, with five each."""
MOST_VALUE = 16 << 20
"""Signs of one value, as JSON."""


def read(data: bytes, *kinds: str) -> Message:
    """A record: its one field by its kind. Empty where it says nothing that is taken over, or none of these kinds.

    Raises:
        Invalid: `not-wandb`: these bytes are no record.
    """
    try:
        cursor = Cursor(data)
        wanted = {KINDS[kind]: _RECORD[KINDS[kind]] for kind in kinds} or _RECORD
        # A field takes two bytes at least, and much more once it is read.
        budget = None if len(data) <= 2 * MOST_FIELDS else iter(range(MOST_FIELDS))
        return _message(cursor, cursor.message(), wanted, budget)
    except Malformed as cause:
        raise Invalid(f"a record cannot be read: {cause}", code="not-wandb") from cause


def _message(
    cursor: Cursor, fields: Iterator[tuple[int, Any]], known: Mapping[int, _Field], budget: Iterator[int] | None
) -> Message:
    said: Message = {}
    for number, found in fields:
        if budget is not None and next(budget, None) is None:
            raise Malformed(f"it has more than {MOST_FIELDS:,} fields")
        field = known.get(number)
        if field is None:
            continue
        if field.kind == "text":
            value: Any = cursor.text(found)
        elif field.kind == "integer":
            value = cursor.integer(found)
        else:
            value = _message(cursor, cursor.inside(found), field.inner or {}, budget)
        if field.many:
            said.setdefault(field.name, []).append(value)
        else:
            said[field.name] = value
    return said


def value_of(text: str) -> Any:
    """What JSON says, with NaN and infinities. Raises `ValueError` for what is none, or is nested too deep."""
    if len(text) > MOST_VALUE:
        raise ValueError(f"it has more than {MOST_VALUE:,} signs")
    try:
        found, end = _PARSE.raw_decode(text)
        return found if end == len(text) else _PARSE.decode(text)
    except (RecursionError, StopIteration) as cause:
        raise ValueError("it is nested too deep") from cause


def place_of(item: Message) -> tuple[str, ...]:
    """Where a value belongs: one key, or those of dictionaries in dictionaries."""
    return tuple(item.get("nested", ())) or (item.get("key", ""),)


def milliseconds(time: Message) -> int:
    """A time since 1970."""
    return int(time.get("seconds", 0)) * 1000 + int(time.get("nanos", 0)) // 1_000_000
