"""How the Merkle tree grows: many leaves in one pass, with the right edge of the tree at hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from stellwerk.ledger.rules import Node

NodeRow = tuple[int, int, bytes]
"""Level, index and hash of a full subtree."""


def grown(size: int, leaves: Sequence[bytes], node: Node) -> Iterator[NodeRow]:
    """The full subtrees that appending leaves to a tree of `size` completes, level by level from below.

    Asks `node` for at most one older subtree per level: its last one, where that still lacks its sibling.
    """
    level, index, row = 0, size, list(leaves)
    while row:
        for offset, value in enumerate(row):
            yield level, index + offset, value
        if index & 1:
            row.insert(0, node(level, index - 1))
        pairs = zip(row[::2], row[1::2], strict=False)  # the last one may have to wait for its sibling
        row = [hashlib.sha256(b"\x01" + left + right).digest() for left, right in pairs]
        level, index = level + 1, index >> 1


class Edge:
    """The last full subtree of each level, so that appending need not read the table.

    A node never changes once it is written, so what is remembered here can be outdated (then it is looked up) but not
    wrong; only what a transaction wrote that was taken back must be forgotten.
    """

    def __init__(self, look_up: Callable[[int, int], bytes]) -> None:
        self._look_up = look_up
        self._last: dict[int, tuple[int, bytes]] = {}

    def __call__(self, level: int, index: int) -> bytes:
        known = self._last.get(level)
        if known is not None and known[0] == index:
            return known[1]
        value = self._look_up(level, index)
        self._last[level] = (index, value)
        return value

    def learn(self, rows: Sequence[NodeRow]) -> None:
        """Remember nodes that were just written, those of one level in order."""
        for level, index, value in rows:
            self._last[level] = (index, value)

    def forget(self) -> None:
        """Something was taken back."""
        self._last.clear()
