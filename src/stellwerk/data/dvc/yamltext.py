"""YAML as DVC writes it, read strictly: plain values only, bounded in size, depth and expansion.

Scalars are resolved by YAML 1.2, which is what DVC's own reader does: `yes`, `012:30` and `2020-01-01` are text. Tags
are refused, so nothing is ever constructed; an alias counts as often as it is used, so a bomb of aliases is refused
before it is expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from stellwerk.core.errors import Invalid

MAX_BYTES = 64 << 20
MAX_DEPTH = 64
MAX_VALUES = 2_000_000
"""Values in one file, aliases counted as often as they are used."""

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")}


@dataclass(frozen=True, slots=True)
class Span:
    """Where something stands in the text, in characters."""

    start: int
    stop: int
    column: int


@dataclass(slots=True)
class _Open:
    """A collection under way."""

    kind: str
    span: Span
    anchor: str | None
    items: list[tuple[Any, int, Span]] = field(default_factory=list)
    """Value, weight, span; of a mapping keys and values in turn."""
    words: list[bool] = field(default_factory=list)
    """Whether each item is a plain scalar, of which `<<` merges."""


def read(data: bytes, where: str) -> Any:
    """The value of a document; None for an empty one. Raises `Invalid` with file, line and reason."""
    value, _ = _document(data, where)
    return value


def spans(data: bytes, where: str) -> dict[tuple[str | int, ...], tuple[Span, Span]]:
    """For each value in block form, by its path of keys and positions: the span of its key, and its own."""
    _, found = _document(data, where)
    return found


def text(value: str) -> str:
    """A text as one YAML scalar that every reader takes for a text."""
    if re.fullmatch(r"[A-Za-z0-9_./][A-Za-z0-9_./ +@=~-]*", value) and value == value.strip() and _is_text(value):
        return value
    if value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    escaped = "".join(_ESCAPES.get(char, char if char.isprintable() else _escape(char)) for char in value)
    return f'"{escaped}"'


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"}


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _is_text(value: str) -> bool:
    # Words, numbers and times of YAML 1.1 and 1.2 alike are quoted, so that no reader mistakes them.
    word = value.lower() in ("null", "true", "false", "yes", "no", "on", "off", "y", "n", "~", ".inf", ".nan")
    return not word and not _LIKE_A_NUMBER.fullmatch(value)


_LIKE_A_NUMBER = re.compile(
    r"[-+.]*[0-9][0-9_.:eE+-]*|[-+]?0[xob][0-9a-fA-F_]+|[-+]\.inf|[0-9]{4}-[0-9].*", re.IGNORECASE
)


def _document(data: bytes, where: str) -> tuple[Any, dict[tuple[str | int, ...], tuple[Span, Span]]]:
    import yaml

    if len(data) > MAX_BYTES:
        raise _bad(where, f"it is larger than {MAX_BYTES >> 20} MiB")
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise _bad(where, "it is not UTF-8") from cause
    try:
        return _Builder(where, content).build(
            yaml.parse(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        )
    except yaml.YAMLError as cause:
        mark = getattr(cause, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark is not None else ""
        raise _bad(where, f"{line}{getattr(cause, 'problem', None) or 'not valid YAML'}") from cause


class _Builder:
    """Values from a stream of events, without recursion."""

    def __init__(self, where: str, content: str) -> None:
        self._where, self._content = where, content
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._values = 0
        self._documents = 0
        self._result: Any = None
        self._spans: dict[tuple[str | int, ...], tuple[Span, Span]] = {}

    def build(self, events: Iterator[Any]) -> tuple[Any, dict[tuple[str | int, ...], tuple[Span, Span]]]:
        for event in events:
            match type(event).__name__:
                case "DocumentStartEvent":
                    self._documents += 1
                    if self._documents > 1:
                        raise self._error(event, "a second document")
                case "ScalarEvent":
                    self._add(
                        event, self._scalar(event), 1, _span(event), event.anchor, plain=bool(event.implicit[0])
                    )
                case "AliasEvent":
                    if event.anchor not in self._anchors:
                        raise self._error(event, f"the alias {event.anchor[:60]!r} names nothing complete")
                    value, weight = self._anchors[event.anchor]
                    self._add(event, value, weight, _span(event), None, plain=False)
                case "MappingStartEvent" | "SequenceStartEvent":
                    self._begin(event)
                case "MappingEndEvent" | "SequenceEndEvent":
                    self._end(event)
                case _:
                    pass
        return self._result, self._spans

    def _begin(self, event: Any) -> None:
        if event.tag is not None and event.tag not in _PLAIN_TAGS:
            raise self._error(event, f"the tag {event.tag[:60]!r} is not read")
        if len(self._stack) >= MAX_DEPTH:
            raise self._error(event, f"nested deeper than {MAX_DEPTH} levels")
        kind = "map" if type(event).__name__ == "MappingStartEvent" else "list"
        self._stack.append(_Open(kind, _span(event), event.anchor))

    def _end(self, event: Any) -> None:
        top = self._stack.pop()
        weight = 1 + sum(item[1] for item in top.items)
        value = [item[0] for item in top.items] if top.kind == "list" else self._mapping(event, top)
        span = Span(top.span.start, event.start_mark.index, top.span.column)
        self._values -= weight - 1  # its items are counted already
        self._add(event, value, weight, span, top.anchor, plain=False)

    def _mapping(self, event: Any, top: _Open) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for index in range(0, len(top.items), 2):
            key, value = top.items[index][0], top.items[index + 1][0]
            if key == "<<" and top.words[index]:
                for source in value if isinstance(value, list) else [value]:
                    if not isinstance(source, dict):
                        raise self._error(event, "`<<` merges something that is no mapping")
                    merged = {**source, **merged}
                continue
            name = key if isinstance(key, str) else _name(key)
            if name is None:
                raise self._error(event, "a key is no text")
            if name in found:
                line = self._content.count("\n", 0, top.items[index][2].start) + 1
                raise _bad(self._where, f"line {line}: the key {name[:60]!r} stands there twice")
            found[name] = value
        return {**merged, **found} if merged else found

    def _add(self, event: Any, value: Any, weight: int, span: Span, anchor: str | None, *, plain: bool) -> None:
        self._values += weight
        if self._values > MAX_VALUES:
            raise self._error(event, f"more than {MAX_VALUES:,} values, aliases counted as often as used")
        if anchor is not None:
            self._anchors[anchor] = (value, weight)
        if not self._stack:
            self._result = value
            return
        top = self._stack[-1]
        top.items.append((value, weight, span))
        top.words.append(plain)
        if len(self._stack) <= 4:
            self._note(top, span)

    def _note(self, top: _Open, span: Span) -> None:
        """Remember where a value stands, if its path is known while it is read."""
        if top.kind == "map" and len(top.items) % 2:
            return
        path: list[str | int] = []
        for open_ in self._stack:
            if open_.kind == "map" and open_ is not top and len(open_.items) % 2 == 0:
                return  # inside of a key
            if open_.kind == "list":
                path.append(len(open_.items) - (open_ is top))
            else:
                key = open_.items[-2 if open_ is top else -1][0]
                path.append(key if isinstance(key, str) else _name(key) or "")
        self._spans[tuple(path)] = (top.items[-2][2] if top.kind == "map" else span, span)

    def _scalar(self, event: Any) -> Any:
        if event.tag is not None and event.tag not in _PLAIN_TAGS and event.tag != "!":
            raise self._error(event, f"the tag {event.tag[:60]!r} is not read")
        value: str = event.value
        if self._stack and self._stack[-1].kind == "map" and len(self._stack[-1].items) % 2 == 0:
            return value  # a key is a name, whatever it looks like
        if not event.implicit[0] or event.tag == "tag:yaml.org,2002:str":
            return value
        if value in _WORDS:
            return _WORDS[value]
        if len(value) <= 64:
            if _INT.fullmatch(value):
                return int(value, 0) if value[:2] in ("0o", "0x") else int(value)
            if _FLOAT.fullmatch(value):
                return float(value)
        return value

    def _error(self, event: Any, reason: str) -> Invalid:
        return _bad(self._where, f"line {event.start_mark.line + 1}: {reason}")


def _span(event: Any) -> Span:
    return Span(event.start_mark.index, event.end_mark.index, event.start_mark.column)


def _name(key: Any) -> str | None:
    """The text of a key that is an alias of a number."""
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key) if isinstance(key, int | float) else None


def _bad(where: str, reason: str) -> Invalid:
    return Invalid(f"{where} cannot be read: {reason}", code="invalid-dvc-file")
