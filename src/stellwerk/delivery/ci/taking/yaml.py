"""YAML of CI files as nodes that know their line: every scalar is text, tags are kept and construct nothing.

Bounded in bytes, depth and values, aliases counted as often as they are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from stellwerk.core.errors import Invalid

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_VALUES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A scalar as it is written. `plain` where it has no quotes, so that `true` and `3` mean what they say."""

    line: int
    text: str
    plain: bool = False
    tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """A sequence."""

    line: int
    items: tuple[Node, ...] = ()
    tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A mapping, with `<<` merged in.

    Attributes:
        lines: Where each key stands.
    """

    line: int
    entries: dict[str, Node] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    tag: str = ""


Node = Text | Items | Table


@dataclass(slots=True)
class _Open:
    """A collection under way."""

    line: int
    mapping: bool
    anchor: str | None
    tag: str
    items: list[tuple[Node, int]] = field(default_factory=list)
    """Each with its weight; of a mapping keys and values in turn."""


def read(data: bytes, where: str) -> list[Node]:
    """The documents of a file. Raises `Invalid` with the line and the reason."""
    import yaml

    if len(data) > MAX_BYTES:
        raise _bad(where, f"it is larger than {MAX_BYTES >> 20} MiB")
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise _bad(where, "it is not UTF-8") from cause
    try:
        return _build(yaml.parse(content, Loader=yaml.SafeLoader), where)
    except yaml.YAMLError as cause:
        mark = getattr(cause, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark is not None else ""
        raise _bad(where, f"{line}{getattr(cause, 'problem', None) or 'not valid YAML'}") from cause


def _build(events: Iterator[Any], where: str) -> list[Node]:
    documents: list[Node] = []
    stack: list[_Open] = []
    anchors: dict[str, tuple[Node, int]] = {}
    total = 0
    for event in events:
        line = event.start_mark.line + 1
        match type(event).__name__:
            case "DocumentStartEvent":
                anchors = {}
                continue
            case "ScalarEvent":
                tag = event.tag or ""
                found: tuple[Node, int] = (
                    Text(line=line, text=event.value, plain=bool(event.implicit[0]), tag=_tag(tag)),
                    1,
                )
                anchor = event.anchor
            case "AliasEvent":
                if event.anchor not in anchors:
                    raise _bad(where, f"line {line}: the alias {event.anchor[:60]!r} names nothing complete")
                found, anchor = anchors[event.anchor], None
            case "MappingStartEvent" | "SequenceStartEvent":
                if len(stack) >= MAX_DEPTH:
                    raise _bad(where, f"line {line}: nested deeper than {MAX_DEPTH} levels")
                mapping = type(event).__name__ == "MappingStartEvent"
                stack.append(_Open(line, mapping, event.anchor, _tag(event.tag or "")))
                continue
            case "MappingEndEvent" | "SequenceEndEvent":
                top = stack.pop()
                weight = 1 + sum(item[1] for item in top.items)
                found, anchor = (_mapping(top, where) if top.mapping else _sequence(top), weight), top.anchor
            case _:
                continue
        # What stands inside a collection is counted with it, once more than needed; the bound is generous.
        total += found[1]
        if total > MAX_VALUES:
            raise _bad(where, f"line {line}: more than {MAX_VALUES:,} values, aliases counted as often as used")
        if anchor is not None:
            anchors[anchor] = found
        if stack:
            stack[-1].items.append(found)
        else:
            documents.append(found[0])
    return documents


def _sequence(top: _Open) -> Items:
    return Items(line=top.line, items=tuple(item[0] for item in top.items), tag=top.tag)


def _mapping(top: _Open, where: str) -> Table:
    entries: dict[str, Node] = {}
    lines: dict[str, int] = {}
    merged: list[Table] = []
    for (key, _), (value, _) in zip(top.items[::2], top.items[1::2], strict=True):
        if not isinstance(key, Text):
            raise _bad(where, f"line {key.line}: a key is no text")
        if key.text == "<<" and key.plain:
            for source in value.items if isinstance(value, Items) else (value,):
                if not isinstance(source, Table):
                    raise _bad(where, f"line {key.line}: `<<` merges something that is no mapping")
                merged.append(source)
            continue
        if key.text in entries:
            raise _bad(where, f"line {key.line}: the key {key.text[:60]!r} stands there twice")
        entries[key.text], lines[key.text] = value, key.line
    for source in merged:  # what came first wins, and what is written here before that
        for name, value in source.entries.items():
            if name not in entries:
                entries[name], lines[name] = value, source.lines[name]
    return Table(line=top.line, entries=entries, lines=lines, tag=top.tag)


def _tag(tag: str) -> str:
    return "" if tag.startswith("tag:yaml.org,2002:") else tag


def _bad(where: str, reason: str) -> Invalid:
    return Invalid(f"{where} cannot be read: {reason}", code="invalid-ci-file")


def text(node: Node | None) -> str:
    """The text of a scalar; empty for anything else, and for `null`."""
    if not isinstance(node, Text) or (node.plain and node.text in ("", "~", "null")):
        return ""
    return node.text


def flag(node: Node | None) -> bool | None:
    """A truth; None where it is none."""
    return {"true": True, "false": False}.get(node.text.lower()) if isinstance(node, Text) and node.plain else None


def texts(node: Node | None) -> list[Text]:
    """The scalars of a list, of lists within it, or the one scalar."""
    if isinstance(node, Text):
        return [node]
    return [one for item in node.items for one in texts(item)] if isinstance(node, Items) else []


def table(node: Node | None) -> Table:
    """A mapping; an empty one for anything else."""
    return node if isinstance(node, Table) else Table(line=node.line if node else 0)
