"""Which blobs a workspace needs: those that its ledger and its datasets lead to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Corrupt, NotFound
from stellwerk.store import service as trees
from stellwerk.store.model import TreeEntry
from stellwerk.store.ports import Blobs
from stellwerk.workspace import collecting
from stellwerk.workspace.rebuilding.tags import LOCKS, SOURCES
from stellwerk.workspace.rooms import Rooms

PAGE = 1000


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
    roots = {version.digest for version in versions} | {
        model.digest for model in rooms.registry.list() if model.digest is not None
    }
    return roots | set(collecting.roots(rooms)) | _below(stores, roots | _code(rooms))


def _code(rooms: Rooms) -> set[Digest]:
    """The trees of code that runs kept to be repeated."""
    found: set[Digest] = set()
    for tag in (SOURCES, LOCKS):
        seen = 0
        while page := rooms.runs.search(where=f"tags.{tag} LIKE 'sha256:%'", limit=PAGE, offset=seen):
            found |= {Digest(run.tags[tag]) for run in page}
            seen += len(page)
    return found


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
