"""Canonical bytes of trees, and their strict reading (`docs/formats/tree.md`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import parse
from stellwerk.core.errors import Corrupt, Invalid, StellwerkError
from stellwerk.core.names import path_part
from stellwerk.store.model import FORMAT, Tree, TreeEntry


def tree(entries: Iterable[TreeEntry]) -> Tree:
    """Make a tree: names are checked, sorted by their UTF-8 bytes, and must differ."""
    ordered = tuple(sorted(entries, key=lambda entry: entry.name.encode()))
    for entry in ordered:
        path_part(entry.name)
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
        if document["format"] != FORMAT:
            raise Corrupt(f"unknown tree format {document['format']!r}", code="corrupt-tree")
        value = tree(_entry(item) for item in document["entries"])
    except (KeyError, TypeError, Invalid) as cause:
        if isinstance(cause, StellwerkError) and not isinstance(cause, Invalid):
            raise
        raise Corrupt(f"a tree cannot be read: {cause}", code="corrupt-tree") from cause
    if tree_bytes(value) != data:
        raise Corrupt("a tree is not in canonical form", code="corrupt-tree")
    return value


def _entry(item: dict[str, Any]) -> TreeEntry:
    if item["kind"] not in ("file", "tree") or not isinstance(item["size"], int) or item["size"] < 0:
        raise Invalid("a tree entry has a wrong kind or size", code="corrupt-tree")
    return TreeEntry(
        name=item["name"],
        kind=item["kind"],
        size=item["size"],
        digest=parse(item["digest"]),
        executable=bool(item["executable"]),
    )
