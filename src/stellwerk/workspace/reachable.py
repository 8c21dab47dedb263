"""Which blobs a workspace needs: those that its ledger and its datasets lead to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from stellwerk.core.digest import Digest, parse
from stellwerk.core.errors import Corrupt, Invalid, NotFound
from stellwerk.store import service as trees
from stellwerk.store.model import TreeEntry
from stellwerk.store.ports import Blobs
from stellwerk.workspace.rooms import Rooms

PAGE = 10_000


def wanted(rooms: Rooms, datasets: Sequence[str] = (), also: Blobs | None = None) -> set[Digest]:
    """Every digest that the ledger names and what the trees among them lead to, or those of some datasets.

    Without datasets, some name no blob (the key of a step does not). A tree that nobody has leads nowhere.
    Raises `NotFound` for an unknown dataset.

    Args:
        also: Where trees are looked for that are missing here.
    """
    stores = [rooms.blobs] if also is None else [rooms.blobs, also]
    versions = rooms.datasets.list()
    if datasets:
        unknown = next((name for name in datasets if name not in {version.name for version in versions}), None)
        if unknown is not None:
            raise NotFound(f"no dataset {unknown[:60]!r}", hint="`stellwerk data ls` lists them")
        roots = {version.digest for version in versions if version.name in datasets}
        return roots | _below(stores, roots)
    roots = {version.digest for version in versions} | {model.digest for model in rooms.registry.list()}
    return roots | set(_named(rooms)) | _below(stores, roots)


def _named(rooms: Rooms) -> Iterator[Digest]:
    start = 0
    while entries := rooms.book.entries(start=start, limit=PAGE):
        for entry in entries:
            yield from _digests(entry.body)
        start = entries[-1].sequence + 1


def _below(stores: Sequence[Blobs], roots: Iterable[Digest]) -> set[Digest]:
    """Everything below trees, each looked into once."""
    found: set[Digest] = set()
    waiting = list(roots)
    seen = set(waiting)
    while waiting:
        for entry in _entries(stores, waiting.pop()):
            found.add(entry.digest)
            if entry.kind == "tree" and entry.digest not in seen:
                seen.add(entry.digest)
                waiting.append(entry.digest)
    return found


def _entries(stores: Sequence[Blobs], digest: Digest) -> Sequence[TreeEntry]:
    for blobs in stores:
        try:
            return trees.read_tree(blobs, digest).entries
        except (NotFound, Corrupt):
            continue  # `fsck` tells of it
    return ()


def _digests(value: Any) -> Iterator[Digest]:
    if isinstance(value, str):
        if value.startswith("sha256:"):
            try:
                yield parse(value)
            except Invalid:
                return
    elif isinstance(value, dict):
        for item in value.values():
            yield from _digests(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _digests(item)
