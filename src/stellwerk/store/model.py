"""Trees: canonical manifests of folders. Reading and writing blobs is in `ports`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from stellwerk.core.digest import Digest

FORMAT = "stellwerk-tree/1"
MAX_DEPTH = 64
"""Folders below each other, so that nobody's tree can exhaust a reader's stack."""


class TreeEntry(NamedTuple):
    """One name in a folder: a file, or another tree. A tuple, because folders are large."""

    name: str
    """A single path component, NFC, without separators."""
    kind: Literal["file", "tree"]
    size: int
    """Bytes of the file, or of all files below the tree."""
    digest: Digest
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A folder's entries, sorted by name. Equal folders have equal trees, so unchanged ones cost nothing."""

    entries: tuple[TreeEntry, ...]

    @property
    def size(self) -> int:
        """Bytes of all files below."""
        return sum(entry.size for entry in self.entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Something `fsck` found: where, what, and whether acknowledged data is affected."""

    where: str
    problem: str
    severity: Literal["error", "note"] = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes that can be fetched directly: `url` lets its bearer read them for a while, `digest` is theirs."""

    url: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Permission to send one blob directly."""

    name: str
    """What to say when the bytes are there."""
    url: str
    """Takes one PUT."""
    limit: int
    """Bytes at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One path that is not the same on both sides; a side without it is None."""

    path: str
    old: TreeEntry | None
    new: TreeEntry | None
