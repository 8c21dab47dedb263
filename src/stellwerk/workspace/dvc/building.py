"""Trees from a list of files, folder by folder, without asking the store anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Invalid
from stellwerk.store.model import MAX_DEPTH, TreeEntry
from stellwerk.store.rules import tree, tree_bytes


class File(NamedTuple):
    """A file that is in the store."""

    digest: Digest
    size: int
    executable: bool


def build(files: Mapping[str, File]) -> tuple[Digest, list[bytes]]:
    """The tree of files by relative path, and the bytes of it and all trees below, which are not in the store yet.

    Raises:
        Invalid: `invalid-path`: a name cannot be in a tree, or is a file and a folder at once.
    """
    trees: list[bytes] = []
    entry = _folder({tuple(path.split("/")): file for path, file in files.items()}, 0, trees)
    return entry.digest, trees


def _folder(files: Mapping[tuple[str, ...], File], depth: int, trees: list[bytes]) -> TreeEntry:
    if depth >= MAX_DEPTH:
        raise Invalid(f"files lie deeper than {MAX_DEPTH} folders", code="invalid-path")
    entries: list[TreeEntry] = []
    below: dict[str, dict[tuple[str, ...], File]] = {}
    for (head, *rest), file in files.items():
        if rest:
            below.setdefault(head, {})[tuple(rest)] = file
        else:
            entries.append(
                TreeEntry(name=head, kind="file", size=file.size, digest=file.digest, executable=file.executable)
            )
    for name, inner in below.items():
        found = _folder(inner, depth + 1, trees)
        entries.append(TreeEntry(name=name, kind="tree", size=found.size, digest=found.digest))
    made = tree(entries)
    data = tree_bytes(made)
    trees.append(data)
    return TreeEntry(name="", kind="tree", size=made.size, digest=of_bytes(data))
