"""Canonical bytes of trees, and their strict reading (`docs/formats/tree.md`); ranges of bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest, parse
from stellwerk.core.errors import Corrupt, Invalid
from stellwerk.core.names import path_part, path_part_as_written
from stellwerk.store.model import FORMAT, Tree, TreeEntry


def tree(entries: Iterable[TreeEntry]) -> Tree:
    """Make a tree: names are checked, sorted by their UTF-8 bytes, and must differ."""
    found = list(entries)
    for entry in found:
        path_part(entry.name)
    return _ordered(found)


def _ordered(found: Iterable[TreeEntry]) -> Tree:
    ordered = tuple(sorted(found, key=lambda entry: entry.name.encode()))
    for entry in ordered:
        if entry.kind == "tree" and entry.executable:
            raise Invalid(f"the folder {entry.name!r} cannot be executable", code="invalid-tree")
    for before, after in pairwise(ordered):
        if before.name == after.name:
            raise Invalid(f"a tree cannot hold {after.name!r} twice", code="invalid-path")
    return Tree(entries=ordered)


def tree_bytes(value: Tree) -> bytes:
    """The one byte sequence of a tree, which its digest names."""
    # Written out, because the general writer takes ten times as long and folders are large. A test holds both equal.
    entries = ",".join(
        f'{{"digest":"{entry.digest}","executable":{"true" if entry.executable else "false"},'
        f'"kind":"{entry.kind}","name":{_text(entry.name)},"size":{_size(entry.size)}}}'
        for entry in value.entries
    )
    return f'{{"entries":[{entries}],"format":"{FORMAT}"}}'.encode()


def _text(text: str) -> str:
    return f'"{text}"' if _NEEDS_NO_ESCAPE.fullmatch(text) else canonical.dumps(text).decode()


def _size(size: int) -> int:
    if not 0 <= size <= canonical.MAX_SAFE_INTEGER:
        raise Invalid(f"a tree entry cannot have {size} bytes", code="invalid-tree")
    return size


_NEEDS_NO_ESCAPE = re.compile(r"[ !#-\[\]-~]*")
_BEGIN, _END = b'{"entries":[', f'],"format":"{FORMAT}"}}'.encode()
_ENTRY = re.compile(
    rb'\{"digest":"(sha256:[0-9a-f]{64})","executable":(true|false),"kind":"(file|tree)",'
    rb'"name":"([^"\\]{1,255})","size":(0|[1-9][0-9]{0,14})\}(?:,(?=\{)|$)'
)


def parse_tree(data: bytes) -> Tree:
    """Read a tree; anything but canonical bytes of this format is `Corrupt`."""
    plain = _parse_plain(data)
    return _parse_any(data) if plain is None else plain


def _parse_plain(data: bytes) -> Tree | None:
    """Read a tree whose form is exactly the canonical one; None leaves the judgement to the general reader."""
    if not (data.startswith(_BEGIN) and data.endswith(_END)):
        return None
    body = data[len(_BEGIN) : -len(_END)]
    entries: list[TreeEntry] = []
    at, last = 0, b""
    for found in _ENTRY.finditer(body):
        digest, executable, kind, name, size = found.groups()
        if found.start() != at or name <= last or (kind == b"tree" and executable == b"true"):
            return None
        at, last = found.end(), name
        try:
            text = path_part_as_written(name.decode())
        except ValueError:
            return None
        entries.append(
            TreeEntry(
                name=text,
                kind="tree" if kind == b"tree" else "file",
                size=int(size),
                digest=Digest(digest.decode()),
                executable=executable == b"true",
            )
        )
    return Tree(entries=tuple(entries)) if at == len(body) else None


def _parse_any(data: bytes) -> Tree:
    try:
        document = canonical.loads(data)
        kind = document["format"]
        value = _ordered([_entry(item) for item in document["entries"]]) if kind == FORMAT else None
    except (KeyError, TypeError, Invalid) as cause:
        raise Corrupt(f"a tree cannot be read: {cause}", code="corrupt-tree") from cause
    if value is None:
        raise Corrupt(f"unknown tree format {str(kind)[:60]!r}", code="corrupt-tree")
    if tree_bytes(value) != data:
        raise Corrupt("a tree is not in canonical form", code="corrupt-tree")
    return value


def _entry(item: dict[str, Any]) -> TreeEntry:
    if item["kind"] not in ("file", "tree") or type(item["size"]) is not int or item["size"] < 0:
        raise Invalid("a tree entry has a wrong kind or size", code="invalid-tree")
    if not isinstance(item["name"], str):
        raise Invalid("a tree entry's name is no text", code="invalid-tree")
    return TreeEntry(
        name=path_part_as_written(item["name"]),
        kind=item["kind"],
        size=item["size"],
        digest=parse(item["digest"]),
        executable=bool(item["executable"]),
    )


def checked_range(start: int, stop: int | None) -> slice:
    """A range of bytes as a slice. Raises `Invalid` for negative positions, which would count from the end."""
    if start < 0 or (stop is not None and stop < 0):
        raise Invalid(
            f"a range of bytes cannot begin or end before the first byte (got {start} to {stop})",
            code="invalid-range",
        )
    return slice(start, stop)
