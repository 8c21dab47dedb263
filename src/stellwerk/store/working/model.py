"""Values about working copies. How they come about is in the modules beside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from stellwerk.core.digest import Digest

TEMPORARY = ".stellwerk-tmp-"
"""How the names of unfinished files and folders begin. They are never part of a tree."""

SMALL = 1 << 20
"""Bytes up to which a file is read at once and kept together with others."""

Special = Literal["refuse", "skip"]
"""What to do about links, pipes, sockets and devices, of which a tree holds none."""

Link = Literal["auto", "reflink", "hardlink", "copy"]
"""How files come out of the store; `auto` is `reflink` where the file system can, else `copy`."""

Progress = Callable[[int, int], None]
"""Told how many files and bytes are done."""


def silent(_files: int, _bytes: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A folder as a tree.

    Attributes:
        read: Files whose bytes were read, because nothing reliable was remembered of them.
        skipped: Paths of links, pipes and devices that were left out.
    """

    tree: Digest
    files: int
    bytes: int
    read: int
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedOut:
    """What a checkout did."""

    written: int = 0
    deleted: int = 0
    kept: int = 0
    bytes: int = 0
    copied: int = 0
    """Files that were to be linked, and had to be copied."""
