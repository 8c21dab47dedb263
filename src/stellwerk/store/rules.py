"""Canonical bytes of trees, and their strict reading (`docs/formats/tree.md`); ranges of bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import parse
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
    names = [entry.name for entry in ordered]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f"a tree cannot hold {twice!r} twice", code="invalid-path")
    return Tree(entries=ordered)


def tree_bytes(value: Tree) -> bytes:
    """The one byte sequence of a tree, which its digest names."""
    entries = [
        {
            "name": entry.name,
            "kind": entry.kind,
            "size": entry.size,
            "digest": entry.digest,
            "executable": entry.executable,
        }
        for entry in value.entries
    ]
    return canonical.dumps({"format": FORMAT, "entries": entries})


def parse_tree(data: bytes) -> Tree:
    """Read a tree; anything but canonical bytes of this format is `Corrupt`."""
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
