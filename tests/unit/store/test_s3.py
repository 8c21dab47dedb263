"""A store in a bucket keeps the contract: over a real S3 service, over obstore's memory, and over its folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from hypothesis import HealthCheck, settings
from obstore.store import LocalStore, MemoryStore

from stellwerk.core.digest import Digest, hex_of, of_bytes
from stellwerk.core.errors import Conflict, Corrupt, Invalid, NotFound, Refused, Unavailable
from stellwerk.store.adapters import s3
from stellwerk.store.adapters.objects import Access, Objects, parse_location
from stellwerk.store.adapters.s3 import S3Blobs
from stellwerk.store.adapters.s3.marker import MARKER
from stellwerk.testing import buckets
from stellwerk.testing.blobs import BlobsContract, BlobsMachine

SMALL = 1 << 20
"""Chunks short enough for tests."""


def flip(blobs: Any, digest: Digest, position: int) -> None:
    """Change one byte of the object that holds a position of a blob."""
    objects = buckets.objects(blobs)
    name = hex_of(digest)
    key = f"sha256/{name[:2]}/{name}"
    try:
        data = bytearray(objects.get(key))
    except FileNotFoundError:
        for chunk, size in blobs._reading.read_list(digest):
            if position < size:
                key = f"chunks/{hex_of(chunk)[:2]}/{hex_of(chunk)}"
                break
            position -= size
        data = bytearray(objects.get(key))
    data[position] ^= 0x01
    objects.put(key, bytes(data), create=False)


def over(store: Any, **options: Any) -> S3Blobs:
    return S3Blobs(Objects(store, name="a test", patience=buckets.QUICK), chunk=SMALL, whole=SMALL, **options)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with buckets.bucket_server() as url:
        yield url


class InABucket(BlobsContract):
    def flip(self, blobs: Any, digest: Digest, position: int) -> None:
        flip(blobs, digest, position)


class TestS3(InABucket):
    @pytest.fixture
    def blobs(self, endpoint: str, request: pytest.FixtureRequest) -> Iterator[S3Blobs]:
        prefix = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")
        made = buckets.blobs(endpoint, f"contract/{prefix}")
        made._chunk = made._whole = SMALL
        yield made
        made.close()


class TestMemory(InABucket):
    @pytest.fixture
    def blobs(self) -> S3Blobs:
        return over(MemoryStore())


class TestFolder(InABucket):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> S3Blobs:
        return over(LocalStore(tmp_path))


class MemoryMachine(BlobsMachine):
    def make(self) -> S3Blobs:
        return S3Blobs(Objects(MemoryStore(), name="a test", patience=buckets.QUICK), chunk=4, whole=8)

    def flip(self, digest: Digest, position: int) -> None:
        flip(self.blobs, digest, position)


TestMemoryStates = MemoryMachine.TestCase
TestMemoryStates.settings = settings(
    max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)


PIECES = [bytes([number]) * SMALL for number in range(5)]
LARGE = b"".join(PIECES) + b"the end"


@pytest.fixture
def folder(tmp_path: Path) -> S3Blobs:
    """A store whose objects are files, so that a test can see and age them."""
    return over(LocalStore(tmp_path))


def keys(root: Path, kind: str) -> list[str]:
    return sorted(str(file.relative_to(root)) for file in (root / kind).rglob("*") if file.is_file())


def age(root: Path, days: float) -> None:
    """Make every object old."""
    for file in root.rglob("*"):
        if file.is_file():
            then = file.stat().st_mtime - days * 86_400
            os.utime(file, (then, then))


class TestLayout:
    """What `docs/formats/store-s3.md` says is what is there."""

    def test_a_small_blob_is_one_object(self, folder: S3Blobs, tmp_path: Path) -> None:
        """Under its own digest, as it is, beside the marker of the format."""
        digest = folder.put(b"small")

        assert [f"sha256/{hex_of(digest)[:2]}/{hex_of(digest)}"] == keys(tmp_path, "sha256")
        assert b"small" == (tmp_path / keys(tmp_path, "sha256")[0]).read_bytes()
        assert b'{"format":"stellwerk-store-s3/1","owner":""}' == (tmp_path / MARKER).read_bytes()

    def test_a_large_blob_is_a_list_of_chunks(self, folder: S3Blobs, tmp_path: Path) -> None:
        """However it is put, it is kept as the same objects, and no object is longer than a chunk."""
        digest = folder.put(LARGE)
        first = keys(tmp_path, "chunks")
        again = folder.put_stream(LARGE[at : at + 70_001] for at in range(0, len(LARGE), 70_001))
        many = folder.put_many([LARGE, b"x"])

        assert [digest, of_bytes(b"x")] == many
        assert digest == again == of_bytes(LARGE)
        assert 6 == len(first)
        assert first == keys(tmp_path, "chunks")
        assert SMALL == max((tmp_path / key).stat().st_size for key in first)
        assert [f"lists/{hex_of(digest)[:2]}/{hex_of(digest)}"] == keys(tmp_path, "lists")
        assert len(LARGE) == folder.size(digest)

    def test_chunks_that_blobs_share_are_kept_once(self, folder: S3Blobs, tmp_path: Path) -> None:
        """A blob that differs in one chunk costs one chunk."""
        folder.put(LARGE)
        before = set(keys(tmp_path, "chunks"))
        folder.put(PIECES[0] + b"?" * SMALL + LARGE[2 * SMALL :])

        assert 1 == len(set(keys(tmp_path, "chunks")) - before)

    def test_another_format_is_refused(self, folder: S3Blobs, tmp_path: Path) -> None:
        """What a newer version wrote is neither read nor written over."""
        (tmp_path / MARKER).write_bytes(b'{"format":"stellwerk-store-s3/2","owner":""}')

        for act in (lambda: folder.put(b"x"), lambda: folder.get(of_bytes(b"x"))):
            with pytest.raises(Unavailable) as caught:
                act()
            assert "schema-mismatch" == caught.value.code

    def test_a_bucket_of_something_else_is_not_written_to(self, folder: S3Blobs, tmp_path: Path) -> None:
        """A marker that cannot be read stops everything."""
        (tmp_path / MARKER).write_bytes(b"<html>")

        with pytest.raises(Corrupt) as caught:
            folder.put(b"x")
        assert "corrupt-store" == caught.value.code
        assert [] == keys(tmp_path, "sha256")

    def test_blobs_are_listed_and_counted(self, folder: S3Blobs, tmp_path: Path) -> None:
        """Whole and listed blobs once each, in order; chunks and strangers are none."""
        kept = {folder.put(data): len(data) for data in (LARGE, b"a", b"bc")}
        (tmp_path / "sha256" / "ab").mkdir(exist_ok=True)
        (tmp_path / "sha256" / "ab" / "stranger").write_bytes(b"?")

        assert sorted(kept) == list(folder)
        assert kept == folder.lengths([*kept, of_bytes(b"never")])
        assert kept == folder.lengths([*kept, *(of_bytes(b"%d" % n) for n in range(400))])
        assert [LARGE, b"bc"] == list(folder.get_many([of_bytes(LARGE), of_bytes(b"bc")]))


class TestLarge:
    """Blobs that are many objects."""

    def test_an_interrupted_upload_goes_on(self, tmp_path: Path) -> None:
        """What arrived before an interruption is not sent again, and until the end there is no blob."""
        first = over(LocalStore(tmp_path))

        def broken() -> Iterator[bytes]:
            yield from PIECES
            raise OSError("the line is cut")

        with pytest.raises(OSError, match="the line is cut"):
            first.put_stream(broken())
        first._bucket._pool.shutdown()
        arrived = {key: (tmp_path / key).stat().st_mtime_ns for key in keys(tmp_path, "chunks")}
        second = over(LocalStore(tmp_path))
        assert [] == list(second)
        second.put_stream([LARGE])

        assert len(arrived) >= 1
        assert arrived == {key: (tmp_path / key).stat().st_mtime_ns for key in arrived}
        assert LARGE == second.get(of_bytes(LARGE))

    @pytest.mark.parametrize(
        ("start", "stop"),
        [
            (0, 5),
            (SMALL - 3, SMALL + 3),
            (SMALL, 2 * SMALL),
            (3, 4 * SMALL),
            (5 * SMALL, None),
            (9 * SMALL, None),
            (7, 3),
        ],
    )
    def test_ranges_are_slices(self, folder: S3Blobs, start: int, stop: int | None) -> None:
        """A range may begin and end within chunks, at their edges and beyond the end."""
        digest = folder.put(LARGE)

        assert LARGE[start:stop] == b"".join(folder.stream(digest, start=start, stop=stop))

    def test_a_range_reads_only_its_chunks(self, folder: S3Blobs) -> None:
        """Damage elsewhere does not hinder it; damage inside is found."""
        digest = folder.put(LARGE)
        flip(folder, digest, 3 * SMALL + 7)

        assert LARGE[:SMALL] == b"".join(folder.stream(digest, stop=SMALL))
        with pytest.raises(Corrupt):
            list(folder.stream(digest, start=3 * SMALL, stop=3 * SMALL + 1))

    def test_a_missing_chunk_is_damage(self, folder: S3Blobs, tmp_path: Path) -> None:
        """Not a missing blob: somebody acknowledged it. Putting it again heals it."""
        digest = folder.put(LARGE)
        (tmp_path / keys(tmp_path, "chunks")[0]).unlink()

        with pytest.raises(Corrupt):
            folder.get(digest)
        folder.put(LARGE)
        assert LARGE == folder.get(digest)

    def test_a_damaged_list_is_damage(self, folder: S3Blobs, tmp_path: Path) -> None:
        """A list that cannot be read, or that names other chunks, gives no bytes; putting heals."""
        digest = folder.put(LARGE)
        file = tmp_path / keys(tmp_path, "lists")[0]
        good = file.read_bytes()
        for bad in (
            b"{}",
            good[:-1],
            good.replace(b"1048576", b"1048577"),
            b'{"chunks":[],"format":"","size":0}',
            b"",
        ):
            file.write_bytes(bad)
            with pytest.raises(Corrupt):
                folder.get(digest)

        folder.put(LARGE)
        assert good == file.read_bytes()


class TestRemoving:
    """Garbage collection asks; chunks go when nobody can be relying on them."""

    def test_bytes_that_are_freed_are_counted(self, folder: S3Blobs, tmp_path: Path) -> None:
        """The count is that of the objects that are gone."""
        digest = folder.put(b"12345")

        assert 5 == folder.remove([digest, of_bytes(b"never")])
        assert not folder.has(digest)
        assert [] == keys(tmp_path, "sha256")

    def test_chunks_go_when_they_are_old_and_in_no_list(self, folder: S3Blobs, tmp_path: Path) -> None:
        """Those that another blob has stay, and so do young ones: a writer may be about to list them."""
        digest = folder.put(LARGE)
        other = folder.put(LARGE[: 3 * SMALL])
        size = len((tmp_path / keys(tmp_path, "lists")[0]).read_bytes())
        young = folder.remove([digest])
        assert 6 == len(keys(tmp_path, "chunks"))
        age(tmp_path, 3)

        assert size * 0.3 < young < size * 3
        assert 2 * SMALL + len(b"the end") == folder.sweep()
        assert LARGE[: 3 * SMALL] == folder.get(other)

    def test_a_writer_makes_old_chunks_young_again(self, tmp_path: Path) -> None:
        """What it relies on cannot be swept before its list is there."""
        over(LocalStore(tmp_path)).put(LARGE)
        (tmp_path / keys(tmp_path, "lists")[0]).unlink()
        age(tmp_path, 3)
        folder = over(LocalStore(tmp_path))
        assert 6 == len([folder._writing.keep_chunk(piece) for piece in [*PIECES, b"the end"]])

        assert 0 == folder.sweep()
        assert 6 == len(keys(tmp_path, "chunks"))

    def test_only_its_workspace_removes(self, tmp_path: Path) -> None:
        """A store that belongs to a workspace is read and written by others, and never emptied by them."""
        store = MemoryStore()
        ours, theirs = over(store), over(store)
        digest = ours.put(b"kept")
        marker = b'{"format":"stellwerk-store-s3/1","owner":"stellwerk/1"}'
        buckets.objects(ours).put(MARKER, marker, create=False)

        with pytest.raises(Refused) as caught:
            theirs.remove([digest])
        assert "store-owned" == caught.value.code
        assert b"kept" == theirs.get(digest)
        assert 4 == over(store, owner="stellwerk/1").remove([digest])

    def test_a_damaged_copy_is_put_aside(self, folder: S3Blobs, tmp_path: Path) -> None:
        """It is kept, it is no blob any more, and the right bytes can be put in its place."""
        digest = folder.put(b"right")
        flip(folder, digest, 0)

        assert folder.quarantine(digest)
        assert not folder.has(digest)
        assert not folder.quarantine(digest)
        assert [b"sight"] == [(tmp_path / key).read_bytes() for key in keys(tmp_path, "quarantine")]
        folder.put(b"right")
        assert b"right" == folder.get(digest)


class TestAtAService:
    """What only a service over HTTP can do."""

    @pytest.fixture
    def blobs(self, endpoint: str, request: pytest.FixtureRequest) -> S3Blobs:
        made = buckets.blobs(endpoint, f"direct/{abs(hash(request.node.name))}")
        made._chunk = made._whole = SMALL
        return made

    def test_two_workspaces_cannot_claim_one_store(self, blobs: S3Blobs, endpoint: str) -> None:
        """The first owner stays; it may claim again."""
        blobs.claim("stellwerk/1")
        blobs.claim("stellwerk/1")

        with pytest.raises(Conflict) as caught:
            blobs.claim("stellwerk/2")
        assert "store-owned" == caught.value.code

    def test_anybody_with_the_address_can_fetch(self, blobs: S3Blobs) -> None:
        """The pieces of a blob, in order, are its bytes, each with its digest."""
        for data in (b"small", LARGE):
            pieces = blobs.download(blobs.put(data), seconds=60)
            parts = [urllib3.request("GET", piece.url, retries=False).data for piece in pieces]

            assert data == b"".join(parts)
            assert [of_bytes(part) for part in parts] == [piece.digest for piece in pieces]
            assert [len(part) for part in parts] == [piece.size for piece in pieces]

    def test_what_was_sent_directly_is_read_before_it_is_a_blob(self, blobs: S3Blobs) -> None:
        """Right bytes become a blob, also long ones in one object; wrong ones are discarded."""
        for data in (b"sent", LARGE):
            upload = blobs.upload(seconds=60)
            urllib3.request("PUT", upload.url, body=data, retries=False)
            assert not blobs.has(of_bytes(data))
            blobs.accept(upload.name, of_bytes(data))
            assert data == blobs.get(of_bytes(data))
            assert data[3:900] == b"".join(blobs.stream(of_bytes(data), start=3, stop=900))

        upload = blobs.upload(seconds=60)
        urllib3.request("PUT", upload.url, body=b"other", retries=False)
        with pytest.raises(Invalid) as caught:
            blobs.accept(upload.name, of_bytes(b"promised"))
        assert "digest-mismatch" == caught.value.code
        assert not blobs.has(of_bytes(b"promised"))
        with pytest.raises(NotFound):
            blobs.accept(upload.name, of_bytes(b"other"))

    @pytest.mark.parametrize("name", ["", "../sha256/ab/x", "a" * 31, "A" * 32, "a" * 32 + "\n"])
    def test_names_of_uploads_are_ours(self, blobs: S3Blobs, name: str) -> None:
        """Nothing else can be made a blob."""
        with pytest.raises(Invalid) as caught:
            blobs.accept(name, of_bytes(b"x"))
        assert "invalid-upload" == caught.value.code

    def test_a_missing_bucket_is_said(self, endpoint: str) -> None:
        """It is no missing blob."""
        store = s3.open_blobs("s3://no-such-bucket/x", buckets.access(endpoint), buckets.QUICK)

        for act in (lambda: store.put(b"x"), lambda: store.get(of_bytes(b"x"))):
            with pytest.raises(Unavailable) as caught:
                act()
            assert "s3-no-bucket" == caught.value.code

    def test_plain_http_must_be_said(self) -> None:
        """Without an endpoint of that kind nothing is sent in the clear."""
        access = Access(options={"access_key_id": "a", "secret_access_key": "b", "endpoint": "http://127.0.0.1:1"})
        store = s3.open_blobs("s3://bucket/x", access, buckets.QUICK)

        with pytest.raises(Unavailable):
            store.get(of_bytes(b"x"))


class TestAddresses:
    """`s3://bucket/prefix` and nothing else."""

    def test_an_address_is_read(self) -> None:
        """Bucket and prefix, with or without a slash at the end."""
        assert "s3://my-bucket/a/b" == parse_location("s3://my-bucket/a/b/").url
        assert "s3://my-bucket" == parse_location("s3://my-bucket").url

    @pytest.mark.parametrize(
        "url",
        [
            "s3://", "s3:///x", "s3://UPPER/x", "s3://a/x", "https://my-bucket/x", "s3://my-bucket/../x",
            "s3://my-bucket/a//b", "s3://my-bucket/a?x=1", "s3://my-bucket/a#x", "s3://key:secret@my-bucket/a",
            "s3://my-bucket/%2e%2e/x", "s3://my-bucket/a\\b", "s3://my-bucket/a b", "s3://my-bucket/" + "a" * 600,
            "s3://my-bucket:80/x", "s3://my-bucket/a\n",
        ],
    )  # fmt: skip
    def test_what_is_no_address_is_refused(self, url: str) -> None:
        """Whatever it spells; and what may be a secret is not repeated."""
        with pytest.raises(Invalid) as caught:
            parse_location(url)
        assert "invalid-url" == caught.value.code
        assert "secret" not in caught.value.message

    def test_secrets_have_no_text(self, endpoint: str) -> None:
        """Neither values nor errors show them."""
        access = buckets.access(endpoint)
        store = s3.open_blobs("s3://no-such-bucket/x", access, buckets.QUICK)
        with pytest.raises(Unavailable) as caught:
            store.put(b"x")

        for text in (repr(access), str(access), repr(store), str(caught.value), caught.value.hint):
            assert buckets.SECRET not in text
