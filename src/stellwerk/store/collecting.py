"""Garbage collection: which blobs may go, and when. Who refers to what is told by the caller; bytes are the adapters'.

A blob goes in two steps. First it is found to be unreachable and marked. After a time of grace it goes, if it is still
unreachable and nobody put it or asked for it since: doing either takes the mark away. So a writer that has just put a
blob, or found it there, has the whole time of grace to refer to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from stellwerk.core.clock import format_instant, parse_instant
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Refused, Unavailable
from stellwerk.store.ports import Blobs, Listing

GRACE = timedelta(days=7)
MAX_SHARE = 0.5
"""A collection that would take a larger share of the blobs asks for consent: a lost list of roots looks the same."""
FEW = 100
"""Of so few blobs any share may go."""
_ROW = 2
_NAME_BYTES = len("sha256:") + 64
_NAMED = re.compile(rb"sha256:([0-9a-f]{64})")


class Collectable(Blobs, Listing, Protocol):
    """Blobs that can be collected, with a memory of marks. Putting a blob or asking for it takes its mark away."""

    def head(self, digest: Digest, length: int) -> bytes:
        """The first bytes of a blob, not verified: only good enough to guess what it is."""
        ...

    def marks(self) -> Mapping[str, tuple[str, int]]:
        """Digest → when, and at which length of the ledger, it was found to be unreachable."""
        ...

    def mark(self, digests: Iterable[Digest], at: str, sequence: int) -> None:
        """Remember since when blobs are unreachable; older marks stay."""
        ...

    def unmark(self, digests: Iterable[Digest]) -> None:
        """Take marks away."""
        ...

    def remove_marked(self, digests: Iterable[Digest]) -> int:
        """Remove those of these blobs that still bear a mark; returns the bytes by which the store became smaller."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """What a collection did, or would do.

    Attributes:
        blobs: How many blobs there were.
        reachable: How many of them are referred to.
        marked: Newly found to be unreachable.
        waiting: Marked earlier, and still in their time of grace.
        removed: Removed now (in a dry run: to be removed).
        bytes: Length of the removed blobs.
        freed: Bytes by which the store became smaller. Less than `bytes` where blobs share chunks, are compressed, or
            lie in packs that are mostly alive; 0 in a dry run.
        next_at: When the next marked blobs may go.
    """

    dry_run: bool
    blobs: int
    reachable: int
    marked: int
    waiting: int
    removed: int
    bytes: int
    freed: int
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done with unreachable blobs."""

    remove: tuple[Digest, ...]
    mark: tuple[Digest, ...]
    waiting: tuple[Digest, ...]
    unmark: tuple[Digest, ...]


def decide(
    unreachable: Iterable[Digest],
    marks: Mapping[str, tuple[str, int]],
    now: datetime,
    sequence: int,
    grace: timedelta,
) -> Decision:
    """Sort unreachable blobs by how long they have been so.

    Raises `Unavailable` where the clock or the ledger ran backwards since a mark: then no time of grace can be trusted.
    """
    for digest, (at, earlier) in marks.items():
        if parse_instant(at) > now or earlier > sequence:
            raise Unavailable(
                f"the clock or the ledger ran backwards since {digest[:19]}… was marked at {at}",
                code="clock-backwards",
                hint="set the clock right; or delete `blobs/index.db`, which is made again without marks",
            )
    due, fresh, waiting, seen = [], [], [], set()
    for digest in unreachable:
        seen.add(digest)
        known = marks.get(digest)
        if known is None:
            fresh.append(digest)
        elif parse_instant(known[0]) + grace <= now:
            due.append(digest)
        else:
            waiting.append(digest)
    if grace <= timedelta(0):
        due, fresh = due + fresh, []
    return Decision(tuple(due), tuple(fresh), tuple(waiting), tuple(Digest(d) for d in marks if d not in seen))


def check_share(remove: int, blobs: int, *, consent: bool) -> None:
    """Raises `Refused` where so much would go that a mistake is more likely than garbage."""
    if not consent and remove > FEW and remove > MAX_SHARE * blobs:
        raise Refused(
            f"{remove:,} of {blobs:,} blobs would be removed",
            code="too-much-garbage",
            hint="look at `gc --dry-run`; `--consent` removes them all the same",
        )


class Names:
    """A set of raw digests, of 32 bytes each, that needs about 40 bytes for one; a set of Python needs 120."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytearray] = {}
        """What follows the first two bytes, one after the other, by these two."""

    def add(self, name: bytes) -> bool:
        """Put it in; says whether it was not in there."""
        if name in self:
            return False
        self._rows.setdefault(name[:_ROW], bytearray()).extend(name[_ROW:])
        return True

    def __contains__(self, name: bytes) -> bool:
        row, rest = self._rows.get(name[:_ROW], b""), name[_ROW:]
        at = row.find(rest)
        while at % len(rest) and at >= 0:  # across two of them
            at = row.find(rest, at + 1)
        return at >= 0


def reachable(blobs: Collectable, roots: Iterable[Digest]) -> Names:
    """Raw digests of everything that roots name, and that trees and other JSON blobs among it name in turn."""
    found = Names()
    open_ends = [bytes.fromhex(root.removeprefix("sha256:")) for root in roots]
    while open_ends:
        name = open_ends.pop()
        if not found.add(name):
            continue
        open_ends += [inner for inner in _named_in(blobs, Digest("sha256:" + name.hex())) if inner not in found]
    return found


def digests_in(data: bytes) -> Iterator[Digest]:
    """Every digest that a text names."""
    for match in _NAMED.finditer(data):
        yield Digest("sha256:" + match[1].decode())


def _named_in(blobs: Collectable, digest: Digest) -> list[bytes]:
    # What is missing refers to nothing; what is damaged stops the collection, because it may refer to much.
    if not blobs.has(digest) or blobs.head(digest, 1) not in (b"{", b"["):
        return []
    found, rest = [], b""
    for chunk in blobs.stream(digest):  # however long it is: the tree of a folder with a million names is
        data = rest + chunk
        found += [bytes.fromhex(match[1].decode()) for match in _NAMED.finditer(data)]
        rest = data[-_NAME_BYTES + 1 :]  # a digest may lie across two portions, and none fits into this rest
    return found


def collect(
    blobs: Collectable,
    roots: Callable[[], Iterable[Digest]],
    *,
    now: datetime,
    sequence: int,
    since: Callable[[int], Iterable[Digest]],
    grace: timedelta = GRACE,
    dry_run: bool = False,
    consent: bool = False,
) -> Collection:
    """Mark what is unreachable, and remove what has been so for the time of grace.

    Args:
        roots: Everything that is referred to. If it raises, nothing is removed.
        sequence: Length of the ledger before the roots were read.
        since: What was newly referred to from a length of the ledger on; asked again just before removing.
    """
    marks = blobs.marks()
    named = reachable(blobs, roots())
    present, unreachable = 0, []
    for digest in blobs:
        present += 1
        if bytes.fromhex(digest.removeprefix("sha256:")) not in named:
            unreachable.append(digest)
    decision = decide(unreachable, marks, now, sequence, grace)
    check_share(len(decision.remove), present, consent=consent)
    size, freed = sum(blobs.size(digest) for digest in decision.remove), 0
    if not dry_run:
        blobs.unmark(decision.unmark)
        blobs.mark([*decision.mark, *decision.remove], format_instant(now), sequence)
        spared = set(since(sequence))
        blobs.unmark(spared)
        freed = blobs.remove_marked([digest for digest in decision.remove if digest not in spared])
    times = [parse_instant(marks[d][0]) + grace for d in decision.waiting] + [now + grace] * bool(decision.mark)
    return Collection(
        dry_run=dry_run,
        blobs=present,
        reachable=present - len(unreachable),
        marked=len(decision.mark),
        waiting=len(decision.waiting),
        removed=len(decision.remove),
        bytes=size,
        freed=freed,
        next_at=min(times, default=None),
    )
