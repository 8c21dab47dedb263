"""Copying blobs from one store to another: only what is missing, as often interrupted as one likes.

Which blobs are wanted is the caller's business; that what arrives is what was asked for is ours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from threading import Event

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Corrupt, NotFound, Unavailable
from stellwerk.store.framing import BLOB_LIMITS
from stellwerk.store.many import get_many, lengths
from stellwerk.store.ports import Blobs, Joining

WORKERS = 4
SMALL = 1 << 20
"""Blobs up to this length travel together."""
PART = 32 << 20
"""Longer blobs go to a server in parts of this length, so that an interruption costs one of them."""
TOGETHER = BLOB_LIMITS.kept_together


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What has to be copied. Made by looking, before anything is moved.

    Attributes:
        wanted: How many blobs the target should have.
        missing: Those that it lacks and the source has, with their lengths.
        nowhere: Those that neither has.
    """

    wanted: int
    missing: Mapping[Digest, int]
    nowhere: tuple[Digest, ...]

    @property
    def bytes(self) -> int:
        """How much has to be copied."""
        return sum(self.missing.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How far it is."""

    blobs: int
    bytes: int
    of_blobs: int
    of_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A blob that could not be copied, and why."""

    digest: Digest
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What was copied, and what could not be."""

    blobs: int
    bytes: int
    lost: tuple[Loss, ...]


Watch = Callable[[Moved], None]


def plan(source: Blobs, target: Blobs, wanted: Iterable[Digest]) -> Plan:
    """Look what the target lacks, and what of that the source has. Nothing is copied."""
    every = set(wanted)
    absent = every - lengths(target, every).keys()
    missing = lengths(source, absent)
    return Plan(wanted=len(every), missing=missing, nowhere=tuple(sorted(absent - missing.keys())))


def copy(
    source: Blobs, target: Blobs, missing: Mapping[Digest, int], *, workers: int = WORKERS, watch: Watch | None = None
) -> Copied:
    """Copy blobs. Each is durable in the target when it is counted; whatever interrupts this, counted ones stay.

    A blob that the source lacks or has damaged is a loss and hinders no other; an error of a place ends it.

    Args:
        watch: Told after each step. Called by the thread that called us.
    """
    work = _Work(source, target, missing, sum(missing.values()), watch)
    with ThreadPoolExecutor(workers, thread_name_prefix="stellwerk-sync") as pool:
        under_way: deque[Future[Copied]] = deque()
        try:
            for batch in batches(missing):
                under_way.append(pool.submit(work.copy, batch))
                if len(under_way) > workers:
                    work.count(under_way.popleft().result())
            while under_way:
                work.count(under_way.popleft().result())
        except BaseException:
            work.ended.set()  # nobody waits for the rest of a long blob
            for future in under_way:
                future.cancel()
            raise
    return Copied(blobs=work.blobs, bytes=work.bytes, lost=tuple(work.lost))


def batches(missing: Mapping[Digest, int]) -> Iterator[list[Digest]]:
    """Small blobs together, as many as are made durable at once; long ones alone, first the longest."""
    long = sorted((digest for digest, size in missing.items() if size > SMALL), key=lambda one: -missing[one])
    yield from ([digest] for digest in long)
    batch: list[Digest] = []
    size = 0
    for digest in sorted(digest for digest, length in missing.items() if length <= SMALL):
        if batch and (size + missing[digest] > TOGETHER or len(batch) >= BLOB_LIMITS.batch_blobs):
            yield batch
            batch, size = [], 0
        batch.append(digest)
        size += missing[digest]
    if batch:
        yield batch


@dataclass(slots=True)
class _Work:
    source: Blobs
    target: Blobs
    missing: Mapping[Digest, int]
    total: int
    watch: Watch | None
    blobs: int = 0
    bytes: int = 0
    lost: list[Loss] = field(default_factory=list)
    ended: Event = field(default_factory=Event)

    def count(self, done: Copied) -> None:
        self.blobs += done.blobs
        self.bytes += done.bytes
        self.lost += done.lost
        if self.watch is not None:
            self.watch(Moved(blobs=self.blobs, bytes=self.bytes, of_blobs=len(self.missing), of_bytes=self.total))

    def copy(self, batch: list[Digest]) -> Copied:
        if len(batch) > 1:
            try:
                return self._together(batch)
            except (NotFound, Corrupt):
                pass  # one of them is at fault: the others are copied one by one
        done = [self._alone(digest) for digest in batch]
        return Copied(
            blobs=sum(one.blobs for one in done),
            bytes=sum(one.bytes for one in done),
            lost=tuple(loss for one in done for loss in one.lost),
        )

    def _together(self, batch: list[Digest]) -> Copied:
        data = list(islice(get_many(self.source, batch), len(batch) + 1))
        if [of_bytes(item) for item in data] != batch:
            raise Corrupt("the source gave other blobs than those asked for", code="corrupt-blob")
        if self.target.put_many(data) != batch:
            raise Corrupt("the target named the blobs otherwise", code="corrupt-blob")
        return Copied(blobs=len(batch), bytes=sum(map(len, data)), lost=())

    def _alone(self, digest: Digest) -> Copied:
        try:
            if self.missing[digest] <= SMALL:
                found = self.target.put(self.source.get(digest))
            elif self.missing[digest] > PART and isinstance(self.target, Joining):
                found = self._in_parts(self.target, digest)
            else:
                found = self.target.put_stream(_unless(self.ended, self.source.stream(digest)))
        except (NotFound, Corrupt) as problem:
            return _lost(digest, problem.message)
        if found != digest:
            return _lost(digest, f"the target named it {found}")
        return Copied(blobs=1, bytes=self.missing[digest], lost=())

    def _in_parts(self, target: Joining, digest: Digest) -> Digest:
        """Send what has not arrived by an earlier attempt, then have it joined."""
        names = []
        for part in parts(_unless(self.ended, self.source.stream(digest)), PART):
            name = of_bytes(part)
            if not self.target.has(name):
                self.target.put(part)
            names.append(name)
        return target.join(names)


def _unless(ended: Event, pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        if ended.is_set():
            raise Unavailable("the copying was ended", code="sync-ended", hint="run it again to go on")
        yield piece


def parts(chunks: Iterable[bytes], length: int) -> Iterator[bytes]:
    """The same bytes in pieces of one length; the last may be shorter."""
    waiting: list[bytes | memoryview] = []
    size = 0
    for chunk in chunks:
        rest = memoryview(chunk)
        while size + len(rest) >= length:
            waiting.append(rest[: length - size])
            rest = rest[length - size :]
            yield b"".join(waiting)
            waiting, size = [], 0
        if rest:
            waiting.append(rest)
            size += len(rest)
    if waiting:
        yield b"".join(waiting)


def _lost(digest: Digest, problem: str) -> Copied:
    return Copied(blobs=0, bytes=0, lost=(Loss(digest=digest, problem=problem),))
