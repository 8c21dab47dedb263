"""What differs between two trees. Sub-trees that are equal are not read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Corrupt
from stellwerk.store.model import MAX_DEPTH, Difference, TreeEntry
from stellwerk.store.ports import Blobs
from stellwerk.store.rules import parse_tree

Side = Callable[[str, Digest], Iterable[TreeEntry]]
"""Entries of the folder at a path, whose tree is named."""


def of_store(blobs: Blobs) -> Side:
    """Trees as the store keeps them."""
    return lambda _path, tree: parse_tree(blobs.get(tree)).entries


def differences(
    before: Side, old: Digest | None, after: Side, new: Digest | None, prefix: str = ""
) -> Iterator[Difference]:
    """Every file that is not the same in both trees, in order of paths; None is the empty folder."""
    if old == new:
        return
    if prefix.count("/") >= MAX_DEPTH:
        raise Corrupt(f"a tree is deeper than {MAX_DEPTH} folders", code="corrupt-tree")
    was_here, now_here = _entries(before, prefix, old), _entries(after, prefix, new)
    for name in sorted(was_here.keys() | now_here.keys(), key=str.encode):
        was, now = was_here.get(name), now_here.get(name)
        if was == now:
            continue
        path = prefix + name
        was_file, now_file = _file(was), _file(now)
        if was_file or now_file:
            yield Difference(path=path, old=was_file, new=now_file)
        was_tree, now_tree = _tree(was), _tree(now)
        if was_tree or now_tree:
            yield from differences(before, was_tree, after, now_tree, path + "/")


def _entries(side: Side, prefix: str, tree: Digest | None) -> dict[str, TreeEntry]:
    return {} if tree is None else {entry.name: entry for entry in side(prefix.removesuffix("/"), tree)}


def _file(entry: TreeEntry | None) -> TreeEntry | None:
    return entry if entry is not None and entry.kind == "file" else None


def _tree(entry: TreeEntry | None) -> Digest | None:
    return entry.digest if entry is not None and entry.kind == "tree" else None
