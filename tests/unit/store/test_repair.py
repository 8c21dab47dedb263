"""A store is healed from another: what the other has whole comes back, and everything else is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import LocalStore

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import NotFound
from stellwerk.store import repair
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.store.adapters.objects import Objects
from stellwerk.store.adapters.s3 import S3Blobs
from stellwerk.store.fsck import check_blobs
from stellwerk.store.sync import Loss
from stellwerk.testing import buckets
from stellwerk.testing.fakes import MemoryBlobs


class WithQuarantine(MemoryBlobs):
    """Puts damaged copies aside."""

    def __init__(self) -> None:
        super().__init__()
        self.aside: dict[Digest, bytes] = {}

    def quarantine(self, digest: Digest) -> bool:
        if digest not in self._kept:
            return False
        self.aside[digest] = self._kept.pop(digest)
        return True


def damage(root: Path) -> None:
    """One byte in the middle of every pack, and of every object."""
    for file in root.rglob("*"):
        kept = file.is_file() and file.parent.name in ("packs", file.name[:2]) and "chunked" not in file.parts
        if kept and file.stat().st_size > 300:
            file.chmod(0o644)
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 1
            file.write_bytes(data)


@given(
    items=st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=8, unique=True),
    broken=st.sets(st.integers(0, 7)),
    there=st.sets(st.integers(0, 7)),
    broken_there=st.sets(st.integers(0, 7)),
)
def test_whatever_is_whole_somewhere_is_whole_afterwards(
    items: list[bytes], broken: set[int], there: set[int], broken_there: set[int]
) -> None:
    """And nothing else is claimed; copies that were damaged are kept aside, those that cannot be healed stay."""
    here, other = WithQuarantine(), MemoryBlobs()
    for number, item in enumerate(items):
        digest = here.put(item)
        if number in broken:
            here.flip(digest, 0)
        if number in there:
            other.put(item)
            if number in broken_there:
                other.flip(digest, 0)
    bad = list(repair.damaged(here, list(here)))
    healed, aside, lost = repair.heal(here, other, bad)

    hurt = {of_bytes(item) for number, item in enumerate(items) if number in broken}
    helped = {of_bytes(item) for n, item in enumerate(items) if n in broken and n in there and n not in broken_there}
    assert hurt == {loss.digest for loss in bad}
    assert sorted(helped) == healed
    assert (len(helped), helped) == (aside, set(here.aside))
    assert (
        hurt - helped == {loss.digest for loss in lost} == {loss.digest for loss in repair.damaged(here, list(here))}
    )
    assert hurt - helped <= set(here)


def test_what_is_missing_comes_back() -> None:
    """As does what is longer than travels in memory."""
    other, here = MemoryBlobs(), MemoryBlobs()
    long = bytes(3 << 20)
    names = sorted([other.put(b"small"), other.put(long)])
    healed, aside, lost = repair.heal(here, other, [Loss(digest=name, problem="missing") for name in names])

    assert (names, 0, []) == (healed, aside, lost)
    assert long == here.get(of_bytes(long))


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_real_stores_are_healed(kind: str, tmp_path: Path) -> None:
    """Small blobs in packs or objects, long ones in chunks, each damaged."""
    items = [b"%d" % number * 400 for number in range(30)] + [bytes(range(256)) * 90_000]
    other = MemoryBlobs()
    names = other.put_many(items)
    root = tmp_path / "blobs"
    root.mkdir()

    def opened() -> LocalFolder | S3Blobs:
        return LocalFolder(root) if kind == "folder" else S3Blobs(
            Objects(LocalStore(root), name="here", patience=buckets.QUICK), chunk=1 << 20, whole=1 << 20
        )  # fmt: skip

    first = opened()
    first.put_many(items)
    damage(root)
    here = opened()
    bad = list(repair.damaged(here, list(here)))
    assert bad
    healed, _, lost = repair.heal(here, other, bad)

    assert [] == lost
    assert sorted(loss.digest for loss in bad) == healed
    assert items == [here.get(name) for name in names]
    if isinstance(here, LocalFolder):
        assert [] == [found for found in check_blobs(root) if found.severity == "error"]
        assert list((root / "quarantine").iterdir())
    with pytest.raises(NotFound):
        here.get(of_bytes(b"never"))
