"""The spool: what was acknowledged is there, exactly once, whatever happens to the process or the file's end."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from stellwerk.core import failpoints, frames
from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Bug, Corrupt, NotFound, Unavailable
from stellwerk.core.names import new_id
from stellwerk.serving import codec
from stellwerk.serving.adapters.spool import Spool
from stellwerk.serving.model import PredictionBatch
from stellwerk.testing.serving import START

WRITER = """
import sys, threading
from datetime import UTC, datetime
from pathlib import Path
from stellwerk.core.names import new_id
from stellwerk.serving.adapters.spool import Spool
from stellwerk.serving.model import PredictionBatch

AT = datetime(2026, 3, 1, tzinfo=UTC)

def batch():
    return PredictionBatch(
        id=new_id(AT), at=AT, workspace="ws", endpoint="delay", release="r", model="sha256:" + 64 * "0",
        signal="clear", audit_share=0.1, count=1, columns={"a": (1.0,)}, scores=(0.5,), answers=("no",),
    )

spool = Spool(Path(sys.argv[1]), rotate_at=8_000)
lock = threading.Lock()

def say(text):
    with lock:
        sys.stdout.write(text + "\\n")
        sys.stdout.flush()

def write(count):
    for _ in range(count):
        record = batch()
        try:
            spool.append(record)
        except Exception as error:
            say(f"refused {record.id} {getattr(error, 'code', '?')}")
        else:
            say(f"kept {record.id}")

threads = [threading.Thread(target=write, args=(int(sys.argv[3]),)) for _ in range(int(sys.argv[2]))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def batch(**changes: Any) -> PredictionBatch:
    facts: dict[str, Any] = {
        "id": new_id(START), "at": START, "workspace": "ws", "endpoint": "delay", "release": "r",
        "model": of_bytes(b"model"), "signal": "clear", "audit_share": 0.1, "count": 1, "columns": {"a": (1.0,)},
        "scores": (0.5,), "answers": ("no",),
    }  # fmt: skip
    return PredictionBatch(**(facts | changes))


def ids(spool: Spool) -> list[str]:
    return [codec.head(payload).id for payload in spool.unsealed()]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool")
    yield spool
    spool.close()


def test_what_was_appended_is_read_in_order(spool: Spool) -> None:
    """The log keeps the order in which it acknowledged."""
    batches = [batch() for _ in range(5)]
    for record in batches:
        spool.append(record)

    assert batches == [codec.unpack(payload) for payload in spool.unsealed()]


def test_an_empty_or_missing_folder_holds_nothing(tmp_path: Path) -> None:
    """Reading creates nothing."""
    spool = Spool(tmp_path / "none")

    assert ([], ()) == (ids(spool), spool.pending())
    assert not (tmp_path / "none").exists()


def test_rotation_ends_files_in_order_and_never_reuses_a_name(spool: Spool) -> None:
    """A slow sealer must not remove a newer file of the same name."""
    names = []
    for _ in range(3):
        spool.append(batch())
        names.append(spool.rotate())
    assert tuple(names) == spool.pending()
    kept = ids(spool)
    for name in names:
        assert name is not None
        assert 1 == len(list(spool.read(name)))
        spool.discard(name)
        spool.discard(name)
    spool.append(batch())

    assert spool.rotate() not in names
    assert 3 == len(set(kept))


def test_nothing_to_rotate_is_no_file(spool: Spool) -> None:
    """An empty file is not ended."""
    assert spool.rotate() is None
    assert () == spool.pending()
    spool.check()
    assert spool.rotate() is None


def test_rotating_where_nothing_was_written_creates_nothing(tmp_path: Path) -> None:
    """Sealing an endpoint that never answered leaves no folder behind."""
    assert Spool(tmp_path / "none").rotate() is None
    assert [] == list(tmp_path.iterdir())


def test_a_file_that_ends_while_it_is_read_is_read_once(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the opening of the current file and the listing of the ended ones, it becomes one of them."""
    records = [batch(), batch()]
    for record in records:
        spool.append(record)
    list_ended = spool.pending

    def pending() -> tuple[str, ...]:
        monkeypatch.undo()
        spool.rotate()
        return list_ended()

    monkeypatch.setattr(spool, "pending", pending)

    assert [record.id for record in records] == ids(spool)
    assert 1 == len(spool.pending())


def test_the_file_ends_by_itself_when_it_is_large(tmp_path: Path) -> None:
    """Nobody has to ask for rotation."""
    spool = Spool(tmp_path, rotate_at=1_000)
    records = [batch() for _ in range(20)]
    for record in records:
        spool.append(record)
    spool.close()

    assert 3 < len(spool.pending())
    assert [record.id for record in records] == ids(spool)


def test_only_ended_files_may_be_removed(spool: Spool) -> None:
    """The current file and everything outside are out of reach."""
    for name in ("current.log", "../x.sealed-candidate", "lock"):
        with pytest.raises(Bug):
            spool.discard(name)


def test_a_file_that_is_gone_is_not_found(spool: Spool) -> None:
    """Somebody else has sealed it."""
    with pytest.raises(NotFound):
        spool.read("00000001-00.sealed-candidate")


def test_a_second_writer_is_refused_but_may_read(tmp_path: Path) -> None:
    """One process writes an endpoint's log; the lock goes with it."""
    first, second = Spool(tmp_path), Spool(tmp_path)
    first.append(batch())

    for write in (lambda: second.append(batch()), second.check, second.rotate):
        with pytest.raises(Unavailable) as refusal:
            write()
        assert "spool-busy" == refusal.value.code
    assert ids(first) == ids(second)

    first.close()
    second.append(batch())
    assert 2 == len(ids(first))
    second.close()


def test_rotating_alone_does_not_keep_writers_out(tmp_path: Path) -> None:
    """Whoever only seals lets go of the lock."""
    first, second = Spool(tmp_path), Spool(tmp_path)
    first.append(batch())
    first.close()

    assert second.rotate() is not None
    first.append(batch())
    first.close()


def test_folder_and_files_are_the_owners_alone(spool: Spool, tmp_path: Path) -> None:
    """Inputs may be personal."""
    spool.append(batch())

    assert 0o700 == (tmp_path / "spool").stat().st_mode & 0o777
    assert {0o600} == {file.stat().st_mode & 0o777 for file in (tmp_path / "spool").iterdir()}


def test_a_file_cut_anywhere_keeps_every_whole_record(tmp_path: Path) -> None:
    """A torn tail costs only what was never acknowledged, and the next record follows the last whole one."""
    records = [batch(columns={}, scores=(), answers=(), count=0) for _ in range(2)]
    whole = [frames.frame(codec.pack(record)) for record in records]
    data, extra = b"".join(whole), batch()
    ends = [0, len(whole[0]), len(data)]
    for cut in range(len(data) + 1):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "current.log").write_bytes(data[:cut])
        expected = [record.id for record, end in zip(records, ends[1:], strict=True) if end <= cut]
        spool = Spool(folder)
        assert expected == ids(spool)
        if cut % 16 and min(abs(cut - end) for end in ends) > 9:
            continue  # the header and a sample of the rest: every sync takes its time

        spool.append(extra)
        spool.close()

        assert [*expected, extra.id] == ids(spool)
        assert [] == list(folder.glob("*.damaged"))


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 4096, b"\0\0\0\1\0\0\0\0x", b"\xff" * 300, b"{" * 300])
def test_rubbish_at_the_end_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    """What a power cut leaves behind, zeros above all, is no record."""
    first, second = batch(), batch()
    (tmp_path / "current.log").write_bytes(frames.frame(codec.pack(first)) + tail)
    spool = Spool(tmp_path)

    spool.append(second)
    spool.close()

    assert [first.id, second.id] == ids(spool)


def test_whole_records_behind_a_damaged_one_are_kept_aside(tmp_path: Path) -> None:
    """They may have been acknowledged, so cutting them off would lose them."""
    records = [batch() for _ in range(3)]
    data = bytearray(b"".join(frames.frame(codec.pack(record)) for record in records))
    size = len(data) // 3
    data[size + 20] ^= 1
    (tmp_path / "current.log").write_bytes(data)
    spool = Spool(tmp_path)

    spool.check()
    spool.close()

    assert [records[0].id] == ids(spool)
    (kept,) = tmp_path.glob("*.damaged")
    assert bytes(data[size:]) == kept.read_bytes()


def test_a_damaged_ended_file_is_corrupt_at_every_byte(spool: Spool, tmp_path: Path) -> None:
    """An ended file was whole, so what is not whole now is damage, never an end."""
    spool.append(batch())
    spool.append(batch())
    name = spool.rotate()
    assert name is not None
    path = tmp_path / "spool" / name
    data = path.read_bytes()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x40
        path.write_bytes(damaged)
        with pytest.raises(Corrupt):
            list(spool.read(name))


def test_one_sync_serves_all_who_wait(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the first record is synced, nineteen more queue up; one more sync is enough for them."""
    syncs: list[int] = []
    real = os.fdatasync

    def sync(descriptor: int) -> None:
        while not syncs and len(spool._group.frames) < 19:
            os.sched_yield()
        syncs.append(descriptor)
        real(descriptor)

    spool.check()
    monkeypatch.setattr(os, "fdatasync", sync)
    threads = [threading.Thread(target=spool.append, args=(batch(),)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 2 == len(syncs)
    assert 20 == len(set(ids(spool)))


def test_a_failed_write_is_reported_to_everybody_in_its_group_and_leaves_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No acknowledgement without a sync; the descriptor is not used again; the next record is fine."""
    spool.append(batch())
    failures: list[BaseException] = []
    before = ids(spool)

    def sync(descriptor: int) -> None:
        raise OSError(28, "no space")

    def write() -> None:
        try:
            spool.append(batch())
        except Unavailable as error:
            failures.append(error)

    monkeypatch.setattr(os, "fdatasync", sync)
    threads = [threading.Thread(target=write) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monkeypatch.undo()

    assert ["disk-full"] * 5 == [getattr(error, "code", "") for error in failures]
    assert before == ids(spool)
    last = batch()
    spool.append(last)
    assert [*before, last.id] == ids(spool)


# --- processes that die ---------------------------------------------------------------------------------------------


def start(folder: Path, *, threads: int, count: int, fail: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(threads), str(count)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "STELLWERK_FAIL": fail},
        stdout=subprocess.PIPE,
        text=True,
    )


def told(stream: IO[str] | None) -> dict[str, set[str]]:
    assert stream is not None
    heard: dict[str, set[str]] = {"kept": set(), "refused": set()}
    for line in stream:
        if line.endswith("\n"):
            heard[line.split()[0]].add(line.split()[1])
    return heard


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(6))
def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path, seed: int) -> None:
    """SIGKILL after a random number of acknowledgements, with four threads writing."""
    chance = random.Random(seed)
    process = start(tmp_path / "spool", threads=4, count=100_000)
    assert process.stdout is not None
    first = [process.stdout.readline().split()[1] for _ in range(chance.randrange(1, 300))]
    process.kill()
    acknowledged = told(process.stdout)["kept"] | set(first)
    process.wait()
    process.stdout.close()

    spool = Spool(tmp_path / "spool")
    more = batch()
    spool.append(more)
    spool.close()

    present = ids(spool)
    assert len(present) == len(set(present))
    assert acknowledged | {more.id} <= set(present)


SPOOL_POINTS = sorted(name for name in failpoints.NAMES if name.startswith(("spool.", "segment.rotat")))


@pytest.mark.faults
@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("action", ["kill", "full", "eio"])
@pytest.mark.parametrize("point", SPOOL_POINTS)
def test_every_failpoint_of_the_spool_loses_and_doubles_nothing(
    tmp_path: Path, point: str, action: str, nth: int
) -> None:
    """Death, a full and a broken disk at each step: what was acknowledged is there once, what was refused is not."""
    process = start(tmp_path / "spool", threads=2, count=60, fail=f"{point}:{action}:{nth}")
    heard = told(process.stdout)
    code = process.wait()
    assert process.stdout is not None
    process.stdout.close()

    present = ids(Spool(tmp_path / "spool"))
    assert len(present) == len(set(present))
    assert heard["kept"] <= set(present)
    assert (-9 if action == "kill" else 0) == code
    if action != "kill":
        assert 120 == len(heard["kept"] | heard["refused"])
        assert set(present) == heard["kept"]
        assert (set() if point.startswith("segment") else {True}) == {True for _ in heard["refused"]}


def test_the_failpoints_of_the_spool_are_declared() -> None:
    """The tests above would be empty otherwise."""
    assert ["segment.rotate", "segment.rotated", "spool.sync", "spool.synced", "spool.write"] == SPOOL_POINTS
