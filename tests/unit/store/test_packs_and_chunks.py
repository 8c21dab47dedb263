"""Small blobs share packs, large ones share chunks: what that saves, and what can go wrong with it."""

from __future__ import annotations

import hashlib
import io
import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.digest import Digest, hex_of, of_bytes
from stellwerk.core.errors import Conflict, Corrupt, NotFound
from stellwerk.store import packing
from stellwerk.store.adapters.local import LocalFolder, chunking
from stellwerk.store.fsck import check_blobs
from stellwerk.store.packing import BLOB, CHUNK, Piece, Record

MANY = [f"blob {number}".encode() * (number % 50 + 1) for number in range(200)]
LARGE = random.Random(7).randbytes(24 << 20)


GOLDEN_CUTS = [272316, 740224, 283143, 337743, 302870, 283333, 237874, 839683, 452418, 288819, 155881]


def disk_usage(root: Path) -> int:
    """Bytes of the files of a store, without its index, whose size says nothing about blobs."""
    return sum(
        path.stat().st_size for path in root.rglob("*") if path.is_file() and not path.name.startswith("index.")
    )


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_many_small_blobs_are_one_file(tmp_path: Path) -> None:
    """Two hundred blobs make one pack, and putting them again makes nothing."""
    blobs = LocalFolder(tmp_path)
    digests = blobs.put_many(MANY)
    again = blobs.put_many(reversed(MANY))

    assert 1 == len(files_in(tmp_path / "packs"))
    assert [] == files_in(tmp_path / "sha256")
    assert digests == again[::-1]
    assert set(digests) == set(blobs)
    assert [] == check_blobs(tmp_path)


def test_what_compresses_is_compressed(tmp_path: Path) -> None:
    """Text takes less room than it is long; random bytes take no more than theirs."""
    text, noise = [f"{n},{n * 7},ok\n".encode() * 400 for n in range(50)], [os.urandom(5000) for _ in range(50)]

    LocalFolder(tmp_path / "text").put_many(text)
    LocalFolder(tmp_path / "noise").put_many(noise)

    assert disk_usage(tmp_path / "text") < sum(map(len, text)) / 10
    assert disk_usage(tmp_path / "noise") < sum(map(len, noise)) + 60 * 50 + 100


def test_a_large_blob_is_chunks_and_a_change_costs_little(tmp_path: Path) -> None:
    """Of 24 MB in which eight bytes were inserted and 200 kB changed, less than 4 MB are new; both read back whole."""
    blobs = LocalFolder(tmp_path)
    first = blobs.put(LARGE)
    before = disk_usage(tmp_path)
    changed = LARGE[: 5 << 20] + b"inserted" + LARGE[5 << 20 : 9 << 20] + os.urandom(200_000) + LARGE[10 << 20 :]
    second = blobs.put_stream(changed[start : start + 100_000] for start in range(0, len(changed), 100_000))

    assert (of_bytes(LARGE), of_bytes(changed)) == (first, second)
    assert disk_usage(tmp_path) - before < 4 << 20
    assert changed == blobs.get(second)
    assert LARGE == b"".join(blobs.stream(first))
    assert [] == files_in(tmp_path / "sha256")
    assert [] == check_blobs(tmp_path)


@pytest.mark.parametrize("portion", [1, 700_001, 16 << 20, 64 << 20])
def test_cuts_depend_on_the_content_alone(portion: int) -> None:
    """However a stream arrives, it is cut at the same places: the golden ones of the format."""
    data = b"".join(hashlib.sha256(b"stellwerk %d" % number).digest() for number in range(1 << 17))  # 4 MiB
    arriving = [data[start : start + portion] for start in range(0, len(data), portion)] if portion > 1 else [data]
    whole = hashlib.sha256()

    pieces = [piece for piece, _ in chunking.cut(chunking.filling(arriving), whole)]

    assert hashlib.sha256(data).digest() == whole.digest()
    assert GOLDEN_CUTS == [piece.length for piece in pieces]


@pytest.mark.parametrize("size", [0, 1, chunking.MAXIMUM, 4 << 20, (4 << 20) + 1, 33_554_433])
def test_chunks_are_the_bytes_of_their_source(size: int) -> None:
    """Whatever a source gives at once, its chunks in a row are its bytes, each under its own name."""
    data = random.Random(size).randbytes(size)
    file, whole = io.BytesIO(data), hashlib.sha256()
    chance = random.Random(7)

    def fill(buffer: memoryview) -> int:
        return file.readinto(buffer[: chance.randrange(1, len(buffer) + 1)])

    cut = [(piece, bytes(chunk)) for piece, chunk in chunking.cut(fill, whole)]

    assert data == b"".join(chunk for _, chunk in cut)
    assert [(hashlib.sha256(chunk).digest(), len(chunk)) for _, chunk in cut] == [tuple(piece) for piece, _ in cut]
    assert hashlib.sha256(data).digest() == whole.digest()


@settings(max_examples=60, deadline=None)
@given(start=st.integers(0, 26 << 20), length=st.integers(0, 3 << 20))
def test_ranges_of_large_blobs(large: tuple[LocalFolder, Digest], start: int, length: int) -> None:
    """A range of a chunked blob is the slice of its bytes."""
    blobs, digest = large

    assert LARGE[start : start + length] == b"".join(blobs.stream(digest, start=start, stop=start + length))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalFolder, Digest]:
    blobs = LocalFolder(tmp_path_factory.mktemp("large"))
    return blobs, blobs.put(LARGE)


def test_a_lost_or_stale_index_is_made_again(tmp_path: Path) -> None:
    """Without its index, or with one that misses a pack, a store finds every blob; so it does with a damaged one."""
    digests = LocalFolder(tmp_path).put_many(MANY)
    big = LocalFolder(tmp_path).put(LARGE)
    index = tmp_path / "index.db"

    def lost() -> None:
        index.unlink()

    def emptied() -> None:
        with closing(sqlite3.connect(index, isolation_level=None)) as connection:
            connection.execute("DELETE FROM packs")
            connection.execute("DELETE FROM places")

    def damaged() -> None:
        index.write_bytes(b"no database" * 1000)

    for harm in (lost, emptied, damaged):
        harm()
        blobs = LocalFolder(tmp_path)
        assert MANY == [blobs.get(digest) for digest in digests]
        assert LARGE == blobs.get(big)


def test_a_wrong_index_is_no_wrong_answer(tmp_path: Path) -> None:
    """Rows that were changed or lost are corrected from the packs when their blobs are read."""
    blobs = LocalFolder(tmp_path)
    digests = blobs.put_many(MANY)
    with closing(sqlite3.connect(tmp_path / "index.db", isolation_level=None)) as connection:
        connection.execute("UPDATE places SET offset = offset + 1 WHERE size > 200")
        connection.execute("DELETE FROM places WHERE size < 20")

    assert [problem.where for problem in check_blobs(tmp_path)] == ["index.db"]
    assert MANY == [blobs.get(digest) for digest in digests]
    assert [] == check_blobs(tmp_path)


def test_opening_a_store_writes_nothing_into_its_index(tmp_path: Path) -> None:
    """Whoever only reads waits for no disk and for no writer; the file keeps the count of its changes."""
    blobs = LocalFolder(tmp_path)
    digests = blobs.put_many(MANY)
    blobs.close()
    before = (tmp_path / "index.db").read_bytes()

    again = LocalFolder(tmp_path)
    assert MANY == [again.get(digest) for digest in digests]
    again.close()

    assert before == (tmp_path / "index.db").read_bytes()


@pytest.mark.parametrize("what", ["packs", "chunked"])
def test_every_flipped_bit_is_found(tmp_path: Path, what: str) -> None:
    """A bit flipped anywhere in a pack or a chunk list is found by the check, and reading gives the bytes or fails."""
    blobs = LocalFolder(tmp_path)
    digests = blobs.put_many([b"a" * 1000, *(os.urandom(20) for _ in range(6))])
    digests += [blobs.put(LARGE[: 17 << 20])] if what == "chunked" else []
    contents = {digest: blobs.get(digest) for digest in digests}
    (file,) = files_in(tmp_path / what)
    original = file.read_bytes()
    file.chmod(0o644)
    step = 1 if what == "packs" else 97

    for position in range(0, len(original), step):
        damaged = bytearray(original)
        damaged[position] ^= 1 << position % 8
        file.write_bytes(damaged)
        assert [] != _errors(tmp_path), f"byte {position}"
        if position % 5 == 0:
            reader = LocalFolder(tmp_path)
            for digest, content in contents.items():
                try:
                    assert content == reader.get(digest)
                except (Corrupt, NotFound):
                    pass
    file.write_bytes(original)
    assert [] == _errors(tmp_path)


def _errors(root: Path) -> list[str]:
    return [damage.where for damage in check_blobs(root) if damage.severity == "error"]


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_removing_frees_what_it_says(tmp_path: Path, keep: int) -> None:
    """Bytes reported are bytes by which the files shrank; what is kept stays readable, what is removed is gone."""
    blobs = LocalFolder(tmp_path)
    digests = blobs.put_many(MANY)
    alone = blobs.put(b"alone" * 1000)
    doomed = [digest for number, digest in enumerate(digests) if not keep or number % 4 >= keep] + [alone]
    before = disk_usage(tmp_path)

    freed = blobs.remove(doomed)

    assert before - disk_usage(tmp_path) == freed > 0
    assert not any(blobs.has(digest) for digest in doomed)
    for digest, content in zip(digests, MANY, strict=True):
        if digest not in doomed:
            assert content == blobs.get(digest)
    assert [] == check_blobs(tmp_path)


def test_a_pack_that_is_mostly_alive_waits(tmp_path: Path) -> None:
    """One blob of two hundred does not make a pack be written anew: nothing is freed, and nothing claimed."""
    blobs = LocalFolder(tmp_path)
    digests = blobs.put_many(MANY)

    assert 0 == blobs.remove(digests[:1])
    assert blobs.has(digests[0])


def test_shared_chunks_outlive_the_blob_they_came_with(tmp_path: Path) -> None:
    """Removing one of two versions of a large blob frees its own chunks only."""
    blobs = LocalFolder(tmp_path)
    changed = LARGE[: 12 << 20] + os.urandom(12 << 20)
    first, second = blobs.put(LARGE), blobs.put(changed)
    before = disk_usage(tmp_path)

    freed = blobs.remove([first])

    assert before - disk_usage(tmp_path) == freed
    assert freed > 10 << 20
    assert changed == blobs.get(second)
    assert [] == check_blobs(tmp_path)


def test_an_adopted_file_costs_no_room_and_shares_its_chunks(tmp_path: Path) -> None:
    """A file that is adopted is the same file on disk; a later version of it stores what changed; removing it is safe."""
    file = tmp_path / "weights.bin"
    file.write_bytes(LARGE)
    blobs = LocalFolder(tmp_path / "store")

    digest = blobs.put_file(file, adopt=True)
    changed = LARGE[: 20 << 20] + os.urandom(100_000)
    second = blobs.put(changed)

    assert file.samefile(blobs.path(digest))
    assert 0o444 == file.stat().st_mode & 0o777
    assert LARGE == blobs.get(digest)
    assert sum(path.stat().st_size for path in files_in(tmp_path / "store" / "packs")) < 4 << 20
    assert [] == check_blobs(tmp_path / "store")
    blobs.remove([digest])
    assert changed == LocalFolder(tmp_path / "store").get(second)
    assert LARGE == file.read_bytes()
    assert [] == check_blobs(tmp_path / "store")


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, changing: Callable[[Path], Path]) -> None:
    """The digest of something that never was is not given out."""
    file = changing(tmp_path / "growing")
    blobs = LocalFolder(tmp_path / "store")

    with pytest.raises(Conflict) as caught:
        blobs.put_file(file)
    assert "file-changed" == caught.value.code


@pytest.fixture
def changing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """A file that somebody appends to whenever a portion of it was read."""

    def make(path: Path) -> Path:
        path.write_bytes(b"begin")
        stream = LocalFolder.put_stream

        def slow(self: LocalFolder, chunks: object) -> Digest:
            digest = stream(self, chunks)  # type: ignore[arg-type]
            path.write_bytes(b"something else")
            return digest

        monkeypatch.setattr(LocalFolder, "put_stream", slow)
        return path

    return make


def test_a_packed_blob_as_a_file(tmp_path: Path) -> None:
    """Workers that read files get a verified, read-only copy, made once and made anew where it was changed."""
    blobs = LocalFolder(tmp_path)
    digest = blobs.put_many(MANY)[7]
    copy = blobs.path(digest)
    copy.chmod(0o644)
    copy.write_bytes(b"changed")

    again = blobs.path(digest)

    assert MANY[7] == again.read_bytes()
    assert 0o444 == again.stat().st_mode & 0o777


RECORDS = st.lists(
    st.tuples(st.binary(min_size=32, max_size=32), st.sampled_from([BLOB, CHUNK]), st.integers(0, 1000)),
    max_size=20,
    unique_by=lambda item: item[:2],
)


@given(found=RECORDS)
def test_a_pack_index_is_read_as_written(found: list[tuple[bytes, int, int]]) -> None:
    """What the end of a pack says is what was put into it, sorted; its name is the digest of its index."""
    records, offset = [], len(packing.PACK_HEAD)
    for digest, kind, size in found:
        records.append(Record(digest, kind, packing.RAW, offset, size, size, 0))
        offset += size

    end, name = packing.pack_end(records, offset)
    index, foot = end[: -packing.FOOT_BYTES], end[-packing.FOOT_BYTES :]

    assert (offset, len(records), name) == packing.read_foot(foot, offset + len(end))
    assert sorted(records, key=lambda r: (r.digest, r.kind)) == packing.read_index(index, offset, name)


@given(lengths=st.lists(st.integers(1, 1 << 20), max_size=20))
def test_a_chunk_list_is_read_as_written(lengths: list[int]) -> None:
    """Pieces come back in order, and any cut or changed byte is refused."""
    pieces = [Piece(hashlib.sha256(b"%d" % number).digest(), length) for number, length in enumerate(lengths)]
    data = packing.chunk_list(pieces)

    assert pieces == packing.read_chunk_list(data)
    assert sum(lengths) == packing.list_size(data[: packing.LIST_HEAD_BYTES])
    for wrong in (data[:-1], data + b"\0", bytes([data[0] ^ 1]) + data[1:]):
        with pytest.raises(Corrupt):
            packing.read_chunk_list(wrong)


def test_names_of_digests_are_hex() -> None:
    """The raw digest of a record is the hexadecimal one of the blob."""
    assert bytes.fromhex(hex_of(of_bytes(b"abc"))) == hashlib.sha256(b"abc").digest()


@pytest.mark.parametrize("kind", ["file", "packed", "chunked", "list"])
def test_damaged_copies_are_set_aside_and_the_rest_stays(tmp_path: Path, kind: str) -> None:
    """After the quarantine a damaged blob is gone, the others read as before, and put again it is whole."""
    blobs = LocalFolder(tmp_path)
    others = dict(zip(blobs.put_many(MANY), MANY, strict=True))
    data = {"file": b"one", "packed": MANY[9], "chunked": LARGE, "list": LARGE}[kind]
    digest = blobs.put(data)
    others.pop(digest, None)
    _damage(tmp_path, blobs, digest, kind)
    with pytest.raises(Corrupt):
        blobs.get(digest)

    assert blobs.quarantine(digest)

    assert not blobs.quarantine(digest)
    assert 1 <= len(files_in(tmp_path / "quarantine"))
    assert others == {other: blobs.get(other) for other in others}
    with pytest.raises((NotFound, Corrupt)):
        blobs.get(digest)
    assert digest == blobs.put(data)
    assert data == blobs.get(digest) == LocalFolder(tmp_path).get(digest)
    assert [] == check_blobs(tmp_path)


def _damage(root: Path, blobs: LocalFolder, digest: Digest, kind: str) -> None:
    name = hex_of(digest)
    if kind in ("file", "list"):
        file, where = root / ("sha256" if kind == "file" else "chunked") / name[:2] / name, 1
    else:
        pieces = blobs._reading.pieces(digest)
        wanted = pieces[3].digest if pieces else bytes.fromhex(name)
        found = blobs._index.find(wanted, CHUNK if pieces else BLOB)
        assert found is not None
        file, where = root / found.pack, found.record.offset
    file.chmod(0o644)
    with file.open("r+b") as content:
        content.seek(where)
        byte = content.read(1)[0]
        content.seek(where)
        content.write(bytes([byte ^ 1]))


def test_a_pack_whose_own_index_is_damaged_loses_nothing(tmp_path: Path) -> None:
    """Records that the store's index still finds are saved when the pack is set aside, whichever blob is looked at."""
    blobs = LocalFolder(tmp_path)
    digests = blobs.put_many(MANY)
    (pack,) = files_in(tmp_path / "packs")
    pack.chmod(0o644)
    content = bytearray(pack.read_bytes())
    content[-100] ^= 1
    pack.write_bytes(content)
    assert [f"packs/{pack.name}"] == [where for where in _errors(tmp_path) if where.startswith("packs")]

    assert blobs.quarantine(of_bytes(b"some other blob"))

    assert MANY == [blobs.get(digest) for digest in digests]
    assert MANY == [LocalFolder(tmp_path).get(digest) for digest in digests]
    assert [] == check_blobs(tmp_path)


@pytest.mark.parametrize("how", ["replaced", "written to"])
def test_a_file_that_changes_while_it_is_adopted_is_not_kept(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither another file that took its place after it was hashed, nor bytes that were written then."""
    blobs, path, other = LocalFolder(tmp_path / "blobs"), tmp_path / "model.bin", tmp_path / "other.bin"
    path.write_bytes(LARGE)
    other.write_bytes(LARGE[::-1])
    link = os.link

    def changed(source: Path, target: Path) -> None:
        if source == path:
            if how == "replaced":
                other.replace(path)
            else:
                path.chmod(0o600)
                path.write_bytes(LARGE[::-1])
        link(source, target)

    monkeypatch.setattr(os, "link", changed)
    with pytest.raises(Conflict) as caught:
        blobs.put_file(path, adopt=True)
    monkeypatch.undo()

    assert "file-changed" == caught.value.code
    assert [] == list(blobs)
    assert [] == check_blobs(tmp_path / "blobs")
    assert LARGE == blobs.get(blobs.put(LARGE))
    assert LARGE[::-1] == path.read_bytes()


def test_the_true_bytes_heal_an_adopted_file(tmp_path: Path) -> None:
    """Whoever writes into an adopted file in spite of everything damages a blob; putting it again mends that."""
    blobs, path = LocalFolder(tmp_path / "blobs"), tmp_path / "model.bin"
    path.write_bytes(LARGE)
    digest = blobs.put_file(path, adopt=True)
    path.chmod(0o600)
    path.write_bytes(LARGE[::-1])
    with pytest.raises(Corrupt):
        blobs.get(digest)

    assert digest == blobs.put_stream([LARGE])

    assert LARGE == blobs.get(digest)
    assert LARGE[::-1] == path.read_bytes()
    path.write_bytes(LARGE)
    assert digest == blobs.put_file(path, adopt=True)
    assert [] == [one for one in check_blobs(tmp_path / "blobs") if one.severity == "error"]
