"""Both keepers of blobs keep the contract; the folder also keeps its layout, its order of writes and its healing."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from stellwerk.core.digest import Digest, hex_of, of_bytes
from stellwerk.core.errors import Corrupt, Unavailable
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.store.packing import BLOB, CHUNK
from stellwerk.testing.blobs import BlobsContract, BlobsMachine
from stellwerk.testing.fakes import MemoryBlobs


def place(root: Path, digest: Digest) -> Path:
    return root / "sha256" / hex_of(digest)[:2] / hex_of(digest)


def flip_file(file: Path, position: int) -> None:
    """Change one byte of a read-only file in place, as a bad disk would."""
    file.chmod(0o644)
    with file.open("r+b") as content:
        content.seek(position)
        byte = content.read(1)[0]
        content.seek(position)
        content.write(bytes([byte ^ 0x01]))
    file.chmod(0o444)


class TestLocalFolder(BlobsContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> LocalFolder:
        return LocalFolder(tmp_path)

    def flip(self, blobs: Any, digest: Digest, position: int) -> None:
        flip_file(place(blobs._root, digest), position)


class Packing(LocalFolder):
    """A folder that packs every blob."""

    few = 0

    def put(self, data: bytes) -> Digest:
        return self.put_many([data])[0]


class Chunking(LocalFolder):
    """A folder that cuts every blob into chunks."""

    small = large = -1


def flip_packed(blobs: Any, digest: Digest, position: int, kind: int = BLOB) -> None:
    """Change one byte of what is stored of a record, wherever it lies now."""
    found = blobs._index.find(bytes.fromhex(hex_of(digest)), kind)
    flip_file(blobs._root / found.pack, found.record.offset + position % max(found.record.stored, 1))


class TestPacks(BlobsContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Packing:
        return Packing(tmp_path)

    def flip(self, blobs: Any, digest: Digest, position: int) -> None:
        if place(blobs._root, digest).exists():  # it was streamed, or is too large for a pack
            flip_file(place(blobs._root, digest), position)
        else:
            flip_packed(blobs, digest, position)


class TestChunks(BlobsContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Chunking:
        return Chunking(tmp_path)

    def flip(self, blobs: Any, digest: Digest, position: int) -> None:
        (piece, *_) = blobs._reading.pieces(digest)
        flip_packed(blobs, Digest("sha256:" + piece.digest.hex()), position, CHUNK)


class TestMemory(BlobsContract):
    @pytest.fixture
    def blobs(self) -> MemoryBlobs:
        return MemoryBlobs()

    def flip(self, blobs: Any, digest: Digest, position: int) -> None:
        blobs.flip(digest, position)


class LocalFolderMachine(BlobsMachine):
    def make(self) -> LocalFolder:
        self.folder = tempfile.TemporaryDirectory()
        return LocalFolder(Path(self.folder.name))

    def flip(self, digest: Digest, position: int) -> None:
        flip_file(place(Path(self.folder.name), digest), position)

    def teardown(self) -> None:
        self.folder.cleanup()


class MemoryMachine(BlobsMachine):
    def make(self) -> MemoryBlobs:
        return MemoryBlobs()

    def flip(self, digest: Digest, position: int) -> None:
        self.blobs.flip(digest, position)


stateful = settings(max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
TestLocalFolderStates = LocalFolderMachine.TestCase
TestLocalFolderStates.settings = stateful
TestMemoryStates = MemoryMachine.TestCase
TestMemoryStates.settings = stateful


def test_layout(tmp_path: Path) -> None:
    """A blob is a read-only file under the first two digits of its name; nothing else stays behind."""
    LocalFolder(tmp_path).put(b"abc")

    name = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert {tmp_path / "sha256" / "ba" / name, tmp_path / "index.db", tmp_path / "gate.lock"} == files
    assert 0o444 == stat.S_IMODE((tmp_path / "sha256" / "ba" / name).stat().st_mode)


@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
def test_put_returns_after_everything_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """The file is synced before it gets its name, the folder after; a blob that was there is synced as well,
    because whoever linked it may have been stopped before the sync of the folder."""
    if again:
        LocalFolder(tmp_path).put(b"abc")
    folder = LocalFolder(tmp_path)
    steps: list[str] = []
    fsync, link = os.fsync, os.link

    def synced(descriptor: int) -> None:
        number = os.fstat(descriptor).st_ino
        folders = [
            path for path in (tmp_path, *tmp_path.rglob("*")) if path.is_dir() and path.stat().st_ino == number
        ]
        steps.append(f"sync {folders[0].relative_to(tmp_path)}" if folders else "sync file")
        fsync(descriptor)

    def linked(source: Path, target: Path) -> None:
        steps.append("link")
        link(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", linked)
    folder.put(b"abc")

    folders = ["sync .", "sync sha256"]
    expected = [*folders, "sync sha256/ba"] if again else ["sync file", *folders, "link", "sync sha256/ba"]
    assert expected == steps


def test_path_is_verified(tmp_path: Path) -> None:
    """`path` hands out a file only after reading it whole."""
    folder = LocalFolder(tmp_path)
    digest = folder.put(b"abc")

    assert b"abc" == folder.path(digest).read_bytes()

    flip_file(place(tmp_path, digest), 1)
    with pytest.raises(Corrupt):
        folder.path(digest)


def test_a_link_among_the_blobs_is_not_followed(tmp_path: Path) -> None:
    """A symbolic link in place of a blob is damage, even where it leads to the right bytes; putting heals it."""
    folder = LocalFolder(tmp_path / "store")
    digest = folder.put(b"abc")
    outside = tmp_path / "outside"
    outside.write_bytes(b"abc")
    place(tmp_path / "store", digest).unlink()
    place(tmp_path / "store", digest).symlink_to(outside)

    with pytest.raises(Corrupt):
        folder.get(digest)

    folder.put(b"abc")
    assert b"abc" == folder.get(digest)
    assert b"abc" == outside.read_bytes()


def test_a_pipe_or_folder_among_the_blobs_does_not_block(tmp_path: Path) -> None:
    """What is no regular file is damage, found at once."""
    folder = LocalFolder(tmp_path)
    pipe, directory = of_bytes(b"pipe"), of_bytes(b"folder")
    for digest in (pipe, directory):
        place(tmp_path, digest).parent.mkdir(exist_ok=True)
    os.mkfifo(place(tmp_path, pipe))
    place(tmp_path, directory).mkdir()

    for digest in (pipe, directory):
        with pytest.raises(Corrupt):
            folder.get(digest)


def test_a_shortened_copy_is_healed(tmp_path: Path) -> None:
    """A copy that lost its end, or all of it, is replaced by the next put."""
    folder = LocalFolder(tmp_path)
    digest = folder.put(b"abcdef")
    for size in (3, 0):
        place(tmp_path, digest).chmod(0o644)
        os.truncate(place(tmp_path, digest), size)

        folder.put(b"abcdef")

        assert b"abcdef" == folder.get(digest)


def test_what_is_no_blob_is_not_listed(tmp_path: Path) -> None:
    """Listing names blobs only; strays are for `fsck` to report."""
    folder = LocalFolder(tmp_path)
    digest = folder.put(b"abc")
    (tmp_path / "sha256" / "stray").write_text("x")
    (tmp_path / "sha256" / "ba" / "stray").write_text("x")

    assert [digest] == list(folder)


def test_sweep_takes_only_what_the_dead_left(tmp_path: Path) -> None:
    """Temporary files of running processes, and files that no process of ours made, stay."""
    folder = LocalFolder(tmp_path)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    for name in (f"{child}-0011", f"{os.getpid()}-0011", "1-0011", "unknown", "-5-x"):
        (tmp_path / "incoming" / name).write_bytes(b"half")

    assert 1 == folder.sweep()

    left = sorted(file.name for file in (tmp_path / "incoming").iterdir())
    assert sorted([f"{os.getpid()}-0011", "1-0011", "unknown", "-5-x"]) == left


def test_a_store_that_cannot_be_used_is_unavailable(tmp_path: Path) -> None:
    """An error of the file system reaches callers in our own words, without a path."""
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(Unavailable) as caught:
        LocalFolder(tmp_path / "file")

    assert "store-unavailable" == caught.value.code
    assert str(tmp_path) not in str(caught.value)
