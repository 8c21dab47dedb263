"""What every place that keeps blobs must do: a contract suite and a stateful one, to be run over each adapter.

Subclass `BlobsContract` in a test module, give it a fixture `blobs`, and say how to damage a blob in `flip`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Corrupt, Invalid, NotFound
from stellwerk.store.ports import Blobs

UNKNOWN = of_bytes(b"nobody ever kept this" * 20)
"""Longer than anything that properties put: hypothesis also tries the texts that stand in the source."""
HOSTILE = [
    "",
    "sha256:",
    "sha256:" + "A" * 64,
    "sha256:" + "a" * 63,
    "sha256:" + "a" * 65,
    "sha256:" + "a" * 64 + "\n",
    "sha256:../../../../etc/passwd",
    "sha256:" + "../" * 21 + "x",
    "md5:" + "a" * 32,
    "a" * 64,
]

# Blobs are immutable and named by their content, so examples of one property cannot disturb each
# other, and one suite may run over several keepers.
shared = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    deadline=None,
    max_examples=30,
)


class BlobsContract(ABC):
    """The promises of the `Blobs` port."""

    @abstractmethod
    def flip(self, blobs: Any, digest: Digest, position: int) -> None:
        """Change the byte at a position of what is kept under a digest."""

    @shared
    @given(data=st.binary(max_size=300))
    def test_what_was_put_can_be_got(self, blobs: Blobs, data: bytes) -> None:
        """Bytes come back as they were, under the SHA-256 of their content, in every way of reading."""
        digest = blobs.put(data)

        assert of_bytes(data) == digest
        assert data == blobs.get(digest)
        assert data == b"".join(blobs.stream(digest))
        assert len(data) == blobs.size(digest)
        assert blobs.has(digest)

    @shared
    @given(chunks=st.lists(st.binary(max_size=50), max_size=8))
    def test_a_stream_is_the_blob_of_its_whole(self, blobs: Blobs, chunks: list[bytes]) -> None:
        """However bytes are cut into chunks, they have one name."""
        digest = blobs.put_stream(iter(chunks))

        assert of_bytes(b"".join(chunks)) == digest
        assert b"".join(chunks) == blobs.get(digest)

    @shared
    @given(items=st.lists(st.binary(max_size=60), max_size=12))
    def test_many_blobs_are_named_in_order(self, blobs: Blobs, items: list[bytes]) -> None:
        """`put_many` names each item as `put` would, whether or not some are equal or were kept before."""
        found = blobs.put_many(iter(items))

        assert [of_bytes(item) for item in items] == found
        assert items == [blobs.get(digest) for digest in found]

    @shared
    @given(
        data=st.binary(max_size=300),
        start=st.integers(min_value=0, max_value=320),
        stop=st.none() | st.integers(min_value=0, max_value=320),
    )
    def test_a_range_is_a_slice(self, blobs: Blobs, data: bytes, start: int, stop: int | None) -> None:
        """A range of a stream is the slice of the bytes, also beyond the end and backwards."""
        digest = blobs.put(data)

        assert data[start:stop] == b"".join(blobs.stream(digest, start=start, stop=stop))

    @pytest.mark.parametrize(("start", "stop"), [(-1, None), (0, -1), (-5, -1)])
    def test_ranges_do_not_count_from_the_end(self, blobs: Blobs, start: int, stop: int | None) -> None:
        """Negative positions are refused, and not read as Python's."""
        digest = blobs.put(b"0123456789")

        with pytest.raises(Invalid) as caught:
            list(blobs.stream(digest, start=start, stop=stop))
        assert "invalid-range" == caught.value.code

    def test_put_is_idempotent(self, blobs: Blobs) -> None:
        """Putting the same bytes again changes nothing and names them the same."""
        first = blobs.put(b"abc")
        second = blobs.put(b"abc")
        third = blobs.put_stream([b"a", b"", b"bc"])

        assert first == second == third
        assert b"abc" == blobs.get(first)

    def test_unknown_blobs_are_not_found(self, blobs: Blobs) -> None:
        """Every way of reading says `NotFound`, which is also a `KeyError`."""
        assert not blobs.has(UNKNOWN)
        with pytest.raises(NotFound):
            blobs.get(UNKNOWN)
        with pytest.raises(KeyError):
            blobs.size(UNKNOWN)
        with pytest.raises(NotFound):
            list(blobs.stream(UNKNOWN))

    @pytest.mark.parametrize("text", HOSTILE)
    def test_what_is_no_digest_is_refused(self, blobs: Blobs, text: str) -> None:
        """A name that is not exactly a digest never reaches the keeper, whatever it spells."""
        digest = Digest(text)

        for read in (blobs.get, blobs.size, blobs.has, lambda name: list(blobs.stream(name))):
            with pytest.raises(Invalid) as caught:
                read(digest)
            assert "invalid-digest" == caught.value.code

    @shared
    @given(data=st.binary(min_size=1, max_size=300), where=st.integers(min_value=0))
    def test_one_changed_byte_is_found(self, blobs: Blobs, data: bytes, where: int) -> None:
        """A byte changed anywhere makes every read fail, and putting the right bytes again heals the blob."""
        digest = blobs.put(data)
        self.flip(blobs, digest, where % len(data))

        with pytest.raises(Corrupt) as caught:
            blobs.get(digest)
        assert "corrupt-blob" == caught.value.code
        with pytest.raises(Corrupt):
            list(blobs.stream(digest))

        blobs.put(data)
        assert data == blobs.get(digest)

    def test_a_stream_of_the_right_bytes_heals(self, blobs: Blobs) -> None:
        """`put_stream` replaces a damaged copy of the same size, too."""
        digest = blobs.put(b"right")
        self.flip(blobs, digest, 2)

        blobs.put_stream([b"ri", b"ght"])

        assert b"right" == blobs.get(digest)

    @pytest.mark.parametrize("position", [0, 1_500_000, 2_999_999])
    def test_the_last_chunk_waits_for_verification(self, blobs: Blobs, position: int) -> None:
        """A reader of a damaged blob never receives as many bytes as the blob has."""
        data = bytes(3_000_000)
        digest = blobs.put(data)
        assert len(list(blobs.stream(digest))) > 1
        self.flip(blobs, digest, position)

        received: list[bytes] = []
        with pytest.raises(Corrupt):
            _receive(blobs.stream(digest), received)

        assert len(data) > sum(map(len, received))

    def test_a_source_that_fails_leaves_nothing(self, blobs: Blobs) -> None:
        """An error of the source reaches the caller as it is, and half a blob is no blob."""

        # So long that no property test of a shared keeper takes it for a value to try.
        half = b"half of a blob that nobody ever finished, and that no other test keeps"

        def source() -> Iterator[bytes]:
            yield half
            raise OSError("the source is gone")

        with pytest.raises(OSError, match="the source is gone"):
            blobs.put_stream(source())

        assert not blobs.has(of_bytes(half))

    def test_many_threads_put_the_same_blob(self, blobs: Blobs) -> None:
        """Eight threads that put the same bytes at once all succeed, and the blob is whole."""
        data = b"same" * 50_000
        names, start = [], threading.Barrier(8)

        def put(number: int) -> None:
            start.wait()
            names.append(blobs.put(data) if number % 2 else blobs.put_stream([data[:7], data[7:]]))

        threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [of_bytes(data)] * 8 == names
        assert data == blobs.get(names[0])


def _receive(stream: Iterator[bytes], into: list[bytes]) -> None:
    for chunk in stream:
        into.append(chunk)  # one by one: what came before an error is kept


class BlobsMachine(RuleBasedStateMachine):
    """Any sequence of operations agrees with a dictionary. Give `make` and `flip`, then use `.TestCase`."""

    names: Bundle[Digest] = Bundle("names")

    def __init__(self) -> None:
        super().__init__()
        self.blobs = self.make()
        self.kept: dict[Digest, bytes] = {}
        self.damaged: set[Digest] = set()

    def make(self) -> Any:
        """A new, empty keeper of blobs."""
        raise NotImplementedError  # the metaclass of state machines does not go with ABC

    def flip(self, digest: Digest, position: int) -> None:
        """Change one byte of what is kept."""
        raise NotImplementedError  # the metaclass of state machines does not go with ABC

    @rule(target=names, data=st.binary(max_size=20))
    def put(self, data: bytes) -> Digest:
        digest: Digest = self.blobs.put(data)
        self.kept[digest] = data
        self.damaged.discard(digest)
        return digest

    @rule(target=names, data=st.binary(max_size=20), cuts=st.lists(st.integers(0, 20), max_size=3))
    def put_stream(self, data: bytes, cuts: list[int]) -> Digest:
        edges = [0, *sorted(cuts), len(data)]
        digest: Digest = self.blobs.put_stream(
            data[a:b] for a, b in pairwise(sorted(min(e, len(data)) for e in edges))
        )
        self.kept[digest] = data
        self.damaged.discard(digest)
        return digest

    @rule(digest=names, where=st.integers(0, 19))
    def damage(self, digest: Digest, where: int) -> None:
        data = self.kept[digest]
        assume(data and digest not in self.damaged)
        self.flip(digest, where % len(data))
        self.damaged.add(digest)

    @rule(digest=names)
    def get(self, digest: Digest) -> None:
        if digest in self.damaged:
            with pytest.raises(Corrupt):
                self.blobs.get(digest)
        else:
            assert self.kept[digest] == self.blobs.get(digest)

    @rule(data=st.binary(max_size=20))
    def look_for(self, data: bytes) -> None:
        assert (of_bytes(data) in self.kept) == self.blobs.has(of_bytes(data))

    @invariant()
    def names_are_those_put(self) -> None:
        assert sorted(self.kept) == list(self.blobs)
