"""A bucket read through a folder keeps the contract of blobs, and the folder is never believed nor needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from obstore.store import LocalStore, MemoryStore

from stellwerk.core.digest import Digest, hex_of, of_bytes
from stellwerk.core.errors import NotFound, Unavailable
from stellwerk.store.adapters.cached import Cache, CachedBlobs
from stellwerk.store.adapters.objects import Objects, open_s3, parse_location
from stellwerk.store.adapters.s3 import S3Blobs
from stellwerk.store.adapters.s3_fsck import BucketCatalogue
from stellwerk.testing import buckets
from stellwerk.testing.blobs import BlobsContract

SMALL = 1 << 20


def far(store: Any) -> S3Blobs:
    return S3Blobs(Objects(store, name="a test", patience=buckets.QUICK), chunk=SMALL, whole=SMALL)


def flip(blobs: S3Blobs, digest: Digest, position: int) -> None:
    objects = buckets.objects(blobs)
    key = f"sha256/{hex_of(digest)[:2]}/{hex_of(digest)}"
    try:
        data = bytearray(objects.get(key))
    except FileNotFoundError:
        for chunk, size in blobs._reading.read_list(digest):
            if position < size:
                key = f"chunks/{hex_of(chunk)[:2]}/{hex_of(chunk)}"
                break
            position -= size
        data = bytearray(objects.get(key))
    data[position] ^= 1
    objects.put(key, bytes(data), create=False)


class TestContract(BlobsContract):
    """With an empty cache each time a blob is damaged: a good near copy would hide it, as it should."""

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> CachedBlobs:
        return CachedBlobs(far(MemoryStore()), Cache(tmp_path / "cache", limit=64 << 20))

    def flip(self, blobs: Any, digest: Digest, position: int) -> None:
        blobs._cache.forget(digest)
        flip(blobs.far, digest, position)


class Time:
    """Seconds that a test decides."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def cache(tmp_path: Path, clock: Time) -> Cache:
    return Cache(tmp_path / "cache", limit=10_000, now=clock)


@pytest.fixture
def blobs(cache: Cache) -> CachedBlobs:
    return CachedBlobs(far(MemoryStore()), cache)


def near(tmp_path: Path) -> set[str]:
    return {file.name for file in (tmp_path / "cache").rglob("*") if file.is_file()}


class TestReading:
    """What is near is used, verified, and never trusted."""

    def test_what_was_read_once_needs_no_bucket(self, blobs: CachedBlobs) -> None:
        """The second reading asks nothing."""
        digest = blobs.far.put(b"far away")
        assert b"far away" == blobs.get(digest)
        blobs.far.remove([digest])

        assert b"far away" == blobs.get(digest)
        assert b"r aw" == b"".join(blobs.stream(digest, start=2, stop=6))
        assert not blobs.has(digest)

    def test_a_damaged_near_copy_is_replaced(self, blobs: CachedBlobs, tmp_path: Path) -> None:
        """Nobody sees the damage."""
        digest = blobs.put(b"right")
        file = next((tmp_path / "cache").rglob(hex_of(digest)))
        file.chmod(0o600)
        file.write_bytes(b"wrong")

        assert b"right" == blobs.get(digest)
        assert b"right" == file.read_bytes()
        assert b"right" == blobs.path(digest).read_bytes()

    def test_workers_get_a_file(self, blobs: CachedBlobs) -> None:
        """Read-only, whole, also when it is longer than what is kept beside others."""
        long = bytes(9_000)
        found = blobs.path(blobs.far.put(long))

        assert long == found.read_bytes()
        assert 0o400 == found.stat().st_mode & 0o777
        with pytest.raises(NotFound):
            blobs.path(of_bytes(b"never"))

    def test_a_cache_that_cannot_be_written_only_slows(self, tmp_path: Path) -> None:
        """Reading goes on; a worker that needs a file is told."""
        (tmp_path / "cache").write_text("in the way")
        blobs = CachedBlobs(far(MemoryStore()), Cache(tmp_path / "cache", limit=10_000))
        digest = blobs.put(b"data")

        assert b"data" == blobs.get(digest)
        with pytest.raises(Unavailable) as caught:
            blobs.path(digest)
        assert "cache-unwritable" == caught.value.code

    def test_deleting_the_cache_loses_nothing(self, blobs: CachedBlobs, tmp_path: Path) -> None:
        """At any moment."""
        digest = blobs.put(b"data")
        for file in (tmp_path / "cache").rglob(hex_of(digest)):
            file.unlink()

        assert b"data" == blobs.get(digest)


class TestBound:
    """So many bytes and no more, apart from what is in use."""

    def test_the_least_recently_used_go_first(
        self, blobs: CachedBlobs, cache: Cache, clock: Time, tmp_path: Path
    ) -> None:
        """What was read in between stays."""
        names = []
        for number in range(5):
            names.append(blobs.put(bytes([number]) * 2_000))
            clock.now += 1_000
        blobs.get(names[0])
        clock.now += 1_000
        for number in range(5, 8):
            names.append(blobs.put(bytes([number]) * 2_000))
            clock.now += 1_000
        left = cache.trim()

        assert left <= 10_000
        assert {hex_of(names[0]), *(hex_of(name) for name in names[4:])} == near(tmp_path)

    def test_what_is_in_use_stays(self, blobs: CachedBlobs, cache: Cache, clock: Time, tmp_path: Path) -> None:
        """A worker may be about to open it; later it goes."""
        names = [blobs.far.put(bytes([number]) * 9_000) for number in range(3)]
        for name in names:
            blobs.path(name)

        assert 27_000 == cache.trim()
        clock.now += 1_000
        assert 9_000 == cache.trim()
        assert 1 == len(near(tmp_path))

    def test_long_blobs_pass_by(self, blobs: CachedBlobs, tmp_path: Path) -> None:
        """One of them must not drive out everything else."""
        digest = blobs.put(bytes(9_000))

        assert bytes(9_000) == blobs.get(digest)
        assert set() == near(tmp_path)

    def test_what_was_left_behind_is_swept(
        self, blobs: CachedBlobs, cache: Cache, clock: Time, tmp_path: Path
    ) -> None:
        """Half a file of a process that was killed."""
        digest = blobs.put(b"x")
        half = next((tmp_path / "cache").rglob(hex_of(digest))).with_name(".half")
        half.write_bytes(b"?")
        os.utime(half, (clock.now, clock.now))
        cache.trim()
        assert half.exists()
        clock.now += 100_000
        cache.trim()

        assert not half.exists()


class TestFsck:
    """The independent reader of buckets finds what the format's page calls damage."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> S3Blobs:
        made = far(LocalStore(tmp_path))
        made.put(b"small")
        made.put(b"".join(bytes([number]) * SMALL for number in range(3)))
        return made

    def look(self, tmp_path: Path) -> list[tuple[str, str]]:
        found = BucketCatalogue(LocalStore(tmp_path), "here")
        return [
            (damage.where.partition("/")[0], damage.problem) for damage in found.damage if damage.severity == "error"
        ]

    def test_a_whole_store_is_whole(self, store: S3Blobs, tmp_path: Path) -> None:
        """And says what it holds."""
        (tmp_path / "incoming").mkdir()
        (tmp_path / "incoming" / "x").write_bytes(b"?")
        found = BucketCatalogue(LocalStore(tmp_path), "here")

        assert ["note"] == [damage.severity for damage in found.damage]
        assert all(found.holds(digest) for digest in store)
        assert not found.holds(of_bytes(b"never"))
        assert b"small" == found.read(of_bytes(b"small"), 100)

    @pytest.mark.parametrize("kind", ["sha256", "chunks", "lists"])
    def test_one_changed_byte_is_found(self, store: S3Blobs, tmp_path: Path, kind: str) -> None:
        """Wherever it is."""
        file = next(file for file in sorted((tmp_path / kind).rglob("*")) if file.is_file())
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)

        assert kind in {where for where, _ in self.look(tmp_path)}

    def test_missing_chunks_and_strangers_are_found(self, store: S3Blobs, tmp_path: Path) -> None:
        """A list without one of its chunks, and a key that is no blob's."""
        next(file for file in sorted((tmp_path / "chunks").rglob("*")) if file.is_file()).unlink()
        (tmp_path / "sha256" / "stranger").write_bytes(b"?")
        kinds = dict(self.look(tmp_path))

        assert "is missing" in kinds["lists"]
        assert "an object that is no blob" == kinds["sha256"]

    def test_a_bucket_that_does_not_answer_is_no_whole_one(self) -> None:
        """It raises, and never says that nothing was found."""
        access = buckets.access("http://127.0.0.1:9")
        with pytest.raises(Unavailable):
            BucketCatalogue(open_s3(parse_location("s3://bucket/x"), access, buckets.QUICK), "there")
