"""Foreign digests are an index: found in bulk, entered once, and never believed against the bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Conflict, Invalid, NotFound
from stellwerk.data.foreign import ForeignDigests
from stellwerk.data.model import ForeignDigest
from stellwerk.testing import worlds
from stellwerk.workspace import operations as ops


def named(data: bytes, algorithm: str = "md5") -> ForeignDigest:
    """What DVC calls some bytes."""
    return ForeignDigest(
        algorithm=algorithm, value=hashlib.md5(data).hexdigest(), digest=of_bytes(data), size=len(data)
    )


@pytest.fixture
def index(tmp_path: Path) -> Iterator[ForeignDigests]:
    """An empty index over a store with three blobs."""
    with worlds.workspace(tmp_path) as house:
        rooms = house._caller.rooms  # type: ignore[attr-defined]
        rooms.blobs.put_many([b"a", b"b", b"c"])
        yield rooms.foreign


def test_what_is_remembered_is_found_both_ways(index: ForeignDigests) -> None:
    """By their value and by ours, many at a time; others are simply not found."""
    entered = [named(b"a"), named(b"b")]
    count = index.remember(entered)

    assert (2, 0) == (count, index.remember(entered))
    assert {one.value: one for one in entered} == {
        one.value: one for one in index.find("md5", [named(b"a").value, named(b"b").value, named(b"c").value])
    }
    assert entered[:1] == index.names("md5", [of_bytes(b"a"), of_bytes(b"c")])
    assert [] == index.find("md5-dos2unix", [named(b"a").value])


def test_one_addition_is_one_entry(index: ForeignDigests) -> None:
    """Law 7 for bulk: the ledger says how many, and commits to which."""
    index.remember([named(b"a"), named(b"b"), named(b"b", "md5-dos2unix")])
    index.remember([named(b"a")])
    (entry,) = index._book.entries(kinds=["foreign."])

    assert {"md5": 2, "md5-dos2unix": 1} == entry.body["algorithms"]
    assert entry.body["listing"].startswith("sha256:")


def test_two_contents_of_one_name_are_refused(index: ForeignDigests) -> None:
    """A collision is said loudly, and nothing of the addition is entered."""
    index.remember([named(b"a")])
    other = ForeignDigest(algorithm="md5", value=named(b"a").value, digest=of_bytes(b"b"), size=1)

    with pytest.raises(Conflict) as refused:
        index.remember([named(b"c"), other])
    with pytest.raises(Conflict):
        index.remember(
            [named(b"c"), ForeignDigest(algorithm="md5", value=named(b"c").value, digest=other.digest, size=1)]
        )

    assert "foreign-collision" == refused.value.code
    assert [] == index.find("md5", [named(b"c").value])


def test_what_is_gone_is_not_found(index: ForeignDigests) -> None:
    """The index keeps nothing alive, and promises nothing that the store no longer has."""
    index.remember([named(b"a")])
    index._blobs.remove([of_bytes(b"a")])  # type: ignore[attr-defined]

    assert [] == index.find("md5", [named(b"a").value])


def test_a_server_computes_itself(tmp_path: Path) -> None:
    """Through the operation, a wrong digest, a folder and missing bytes are refused."""
    with worlds.workspace(tmp_path) as house:
        caller = house._caller
        caller.blobs.put(b"a\r\n")
        right = named(b"a\r\n")
        legacy = ForeignDigest(
            algorithm="md5-dos2unix", value=hashlib.md5(b"a\n").hexdigest(), digest=right.digest, size=3
        )
        count = caller.call(ops.remember_foreign, {"found": (right, legacy)})
        wrong = ForeignDigest(algorithm="md5", value="0" * 32, digest=right.digest, size=3)
        folder = ForeignDigest(algorithm="md5", value="0" * 32 + ".dir", digest=right.digest, size=3)
        unknown = ForeignDigest(algorithm="blake3", value="0" * 64, digest=right.digest, size=3)
        absent = ForeignDigest(algorithm="md5", value="0" * 32, digest=Digest("sha256:" + "0" * 64), size=3)
        codes = []
        for one in (wrong, folder, unknown, absent):
            with pytest.raises((Invalid, NotFound)) as refused:
                caller.call(ops.remember_foreign, {"found": (one,)})
            codes.append(refused.value.code)

        assert 2 == count
        assert ["foreign-mismatch", "foreign-mismatch", "unknown-algorithm", "not-found"] == codes
        assert (right,) == caller.call(ops.name_foreign, {"algorithm": "md5", "digests": (right.digest,)})
        assert (legacy,) == caller.call(ops.find_foreign, {"algorithm": "md5-dos2unix", "values": (legacy.value,)})


def test_many_are_found(index: ForeignDigests) -> None:
    """More than one question takes."""
    many = [named(b"%d" % number) for number in range(1200)]
    index._blobs.put_many([b"%d" % number for number in range(1200)])
    index.remember(many)

    assert 1200 == len(index.find("md5", [one.value for one in many]))
