"""Folders in and out of the store. The bytes themselves are the adapters' business."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Corrupt, Invalid, NotFound
from stellwerk.core.names import path_part
from stellwerk.store.model import MAX_DEPTH, Tree, TreeEntry
from stellwerk.store.ports import Blobs
from stellwerk.store.rules import parse_tree, tree, tree_bytes


def put_files(blobs: Blobs, files: Mapping[str, bytes | Digest]) -> Digest:
    """Keep files as a tree. Keys are relative paths with `/`; values are bytes, or digests already kept.

    Raises `Invalid` for a path that cannot be in a tree, before anything is kept.
    """
    for path in files:
        parts = path.split("/")
        if len(parts) > MAX_DEPTH:
            raise Invalid(f"{path[:60]!r} is deeper than {MAX_DEPTH} folders", code="invalid-path")
        for part in parts:
            path_part(part)
    return _put(blobs, files)


def _put(blobs: Blobs, files: Mapping[str, bytes | Digest]) -> Digest:
    below: dict[str, dict[str, bytes | Digest]] = {}
    entries: list[TreeEntry] = []
    for path, content in files.items():
        head, _, rest = path.partition("/")
        if rest:
            below.setdefault(head, {})[rest] = content
            continue
        digest = content if isinstance(content, str) else blobs.put(content)
        size = blobs.size(digest) if isinstance(content, str) else len(content)
        entries.append(TreeEntry(name=head, kind="file", size=size, digest=digest))
    for head, inner in below.items():
        digest = _put(blobs, inner)
        entries.append(TreeEntry(name=head, kind="tree", size=read_tree(blobs, digest).size, digest=digest))
    return blobs.put(tree_bytes(tree(entries)))


def read_tree(blobs: Blobs, digest: Digest) -> Tree:
    """The tree of a digest."""
    return parse_tree(blobs.get(digest))


def walk(blobs: Blobs, digest: Digest, prefix: str = "") -> Iterator[tuple[str, TreeEntry]]:
    """All files below a tree, as (relative path, entry), in order."""
    if prefix.count("/") >= MAX_DEPTH:
        raise Corrupt(f"a tree is deeper than {MAX_DEPTH} folders", code="corrupt-tree")
    for entry in read_tree(blobs, digest).entries:
        path = f"{prefix}{entry.name}"
        if entry.kind == "tree":
            yield from walk(blobs, entry.digest, path + "/")
        else:
            yield path, entry


def files(blobs: Blobs, digest: Digest) -> dict[str, Digest]:
    """Relative path to digest, for all files below a tree."""
    return {path: entry.digest for path, entry in walk(blobs, digest)}


def check_tree(blobs: Blobs, digest: Digest) -> None:
    """Raises `Invalid` where somebody names bytes as a tree that are none, which is no damage to what is kept."""
    try:
        read_tree(blobs, digest)
    except Corrupt as cause:
        if cause.code != "corrupt-tree":
            raise
        raise Invalid(f"{digest} is not a tree of files", code="not-a-tree") from cause


def find(blobs: Blobs, digest: Digest, path: str) -> Digest:
    """The digest of one file below a tree. Raises `NotFound`."""
    *folders, name = path.split("/")
    here = digest
    for part, kind in (*((folder, "tree") for folder in folders), (name, "file")):
        entries = read_tree(blobs, here).entries
        found = next((entry for entry in entries if entry.name == part and entry.kind == kind), None)
        if found is None:
            raise NotFound(f"the tree has no file {path[:200]!r}", code="not-found")
        here = found.digest
    return here
