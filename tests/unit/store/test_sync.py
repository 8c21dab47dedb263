"""Copying between stores: only what is missing, verified on arrival, and nothing lost by an interruption."""

from __future__ import annotations

import _thread
from collections.abc import Iterable, Iterator
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Unavailable
from stellwerk.store import sync
from stellwerk.store.sync import Moved
from stellwerk.testing.fakes import MemoryBlobs

blobs = st.lists(st.binary(max_size=30), max_size=12)


def filled(items: Iterable[bytes]) -> MemoryBlobs:
    made = MemoryBlobs()
    made.put_many(items)
    return made


class Counted(MemoryBlobs):
    """Counts what is written, and fails at the n-th writing."""

    def __init__(self, fails_at: int = 0) -> None:
        super().__init__()
        self.writes, self.items, self._fails_at = 0, 0, fails_at

    def _count(self, items: int) -> None:
        self.writes += 1
        self.items += items
        if self.writes == self._fails_at:
            raise Unavailable("the line is cut")

    def put(self, data: bytes) -> Digest:
        self._count(1)
        return super().put(data)

    def put_many(self, items: Iterable[bytes]) -> list[Digest]:
        every = list(items)
        self._count(len(every))
        return [MemoryBlobs.put(self, item) for item in every]


class Lying(MemoryBlobs):
    """Says that it kept something else."""

    def put(self, data: bytes) -> Digest:
        super().put(data)
        return of_bytes(data + b"!")


def run(source: MemoryBlobs, target: MemoryBlobs, wanted: Iterable[Digest]) -> sync.Copied:
    return sync.copy(source, target, sync.plan(source, target, wanted).missing)


class TestLaws:
    """For any two stores."""

    @settings(max_examples=40, deadline=None)
    @given(here=blobs, there=blobs)
    def test_afterwards_the_target_has_what_is_wanted(self, here: list[bytes], there: list[bytes]) -> None:
        """All of it, nothing is taken away, and a second run copies nothing."""
        source, target = filled(here), filled(there)
        before = set(target)
        done = run(source, target, source)

        assert set(target) == before | set(source)
        assert done.blobs == len(set(source) - before)
        assert done.bytes == sum(source.size(digest) for digest in set(source) - before)
        assert 0 == run(source, target, source).blobs

    @given(here=blobs, extra=blobs)
    def test_what_nobody_has_is_said(self, here: list[bytes], extra: list[bytes]) -> None:
        """It is in the plan, and neither copied nor counted as such."""
        source, target = filled(here), MemoryBlobs()
        wanted = {of_bytes(item) for item in [*here, *extra]}
        plan = sync.plan(source, target, wanted)

        assert set(plan.nowhere) == wanted - set(source)
        assert set(plan.missing) == set(source)
        assert [] == list(target)

    @given(sizes=st.lists(st.sampled_from([0, 1, 300_000, 1 << 20, (1 << 20) + 1, 9 << 20]), max_size=40))
    def test_batches_hold_everything_once(self, sizes: list[int]) -> None:
        """Long blobs are alone, small ones together up to what is made durable at once."""
        missing = {of_bytes(b"%d" % number): size for number, size in enumerate(sizes)}
        made = list(sync.batches(missing))

        assert sorted(missing) == sorted(digest for batch in made for digest in batch)
        for batch in made:
            total = sum(missing[digest] for digest in batch)
            assert len(batch) == 1 or (total <= sync.TOGETHER and max(map(missing.__getitem__, batch)) <= sync.SMALL)


class TestInterruptions:
    """The line is cut somewhere in the middle."""

    def test_what_was_counted_is_there_and_the_next_run_goes_on(self) -> None:
        """Nothing that arrived is sent again."""
        items = [bytes([number]) * 600_000 for number in range(40)]
        source, target = filled(items), Counted(fails_at=2)
        told: list[Moved] = []
        plan = sync.plan(source, target, source)
        with pytest.raises(Unavailable):
            sync.copy(source, target, plan.missing, workers=1, watch=told.append)
        arrived = set(target)
        begun = target.items
        done = run(source, target, source)

        assert told
        assert told[-1].blobs <= len(arrived) < len(items)
        assert done.blobs == len(items) - len(arrived)
        assert target.items == begun + done.blobs
        assert set(target) == set(source)

    def test_an_interruption_does_not_wait_for_a_long_blob(self) -> None:
        """Ctrl-C in the middle of a stream that never ends: it ends, and nothing of it is kept."""

        class Endless(MemoryBlobs):
            def stream(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
                for number in count():
                    if number == 3:
                        _thread.interrupt_main()
                    yield b"x"

        class Reading(MemoryBlobs):
            def put_stream(self, chunks: Iterable[bytes]) -> Digest:
                for _ in chunks:
                    pass
                return super().put(b"never")

        target = Reading()
        with pytest.raises(KeyboardInterrupt):
            sync.copy(Endless(), target, {of_bytes(b"?"): 1 << 40})

        assert [] == list(target)

    def test_the_watch_is_told_the_truth(self) -> None:
        """Ever more, and at the end everything."""
        source, told = filled([b"%d" % number for number in range(20_001)]), list[Moved]()
        plan = sync.plan(source, MemoryBlobs(), source)
        sync.copy(source, MemoryBlobs(), plan.missing, watch=told.append)

        assert [20_001] * len(told) == [moved.of_blobs for moved in told]
        assert sorted(moved.blobs for moved in told) == [moved.blobs for moved in told]
        assert (20_001, plan.bytes) == (told[-1].blobs, told[-1].bytes)


class TestDamage:
    """One bad blob is no reason to copy none."""

    def test_a_damaged_blob_is_not_copied_and_hinders_no_other(self) -> None:
        """It is named, and the rest arrives."""
        source, target = filled([b"a", b"b", b"c", bytes(2 << 20)]), MemoryBlobs()
        source.flip(of_bytes(b"b"), 0)
        source.flip(of_bytes(bytes(2 << 20)), 5)
        done = run(source, target, source)

        assert {of_bytes(b"b"), of_bytes(bytes(2 << 20))} == {loss.digest for loss in done.lost}
        assert {of_bytes(b"a"), of_bytes(b"c")} == set(target)
        assert 2 == done.blobs

    def test_a_blob_that_vanishes_meanwhile_is_a_loss(self) -> None:
        """Between looking and copying."""
        source, target = filled([b"a", b"b"]), MemoryBlobs()
        plan = sync.plan(source, target, source)
        source.remove([of_bytes(b"b")])
        done = sync.copy(source, target, plan.missing)

        assert [of_bytes(b"b")] == [loss.digest for loss in done.lost]
        assert [of_bytes(b"a")] == list(target)

    def test_a_target_that_lies_is_not_believed(self) -> None:
        """What it says it kept must be what it was given."""
        done = run(filled([b"a"]), Lying(), [of_bytes(b"a")])

        assert 0 == done.blobs
        assert [of_bytes(b"a")] == [loss.digest for loss in done.lost]


def test_a_store_that_knows_many_is_asked_once() -> None:
    """100,000 names cost one question each way, not one each."""

    class Asked(MemoryBlobs):
        questions = 0

        def lengths(self, digests: Iterable[Digest]) -> dict[Digest, int]:
            type(self).questions += 1
            return {digest: len(self._kept[digest]) for digest in digests if digest in self._kept}

        def get_many(self, digests: Iterable[Digest]) -> Iterator[bytes]:
            return map(self.get, digests)

        def has(self, digest: Digest) -> bool:
            raise AssertionError("asked one by one")

    source, target = Asked(), Asked()
    names = source.put_many(b"%d" % number for number in range(1000))
    target.put_many(b"%d" % number for number in range(1000))

    assert {} == sync.plan(source, target, names).missing
    assert 2 == Asked.questions
