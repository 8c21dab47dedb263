"""Sealing and finding: every logged prediction is somewhere exactly once, and can be found."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.digest import hex_of, of_bytes
from stellwerk.core.errors import Corrupt, Invalid, NotFound
from stellwerk.core.names import new_id
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.serving import codec, segments
from stellwerk.serving.adapters.spool import Spool
from stellwerk.serving.model import PredictionBatch, SegmentInfo
from stellwerk.serving.shelves import SEGMENTS
from stellwerk.store import fsck
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.testing.serving import START, MovedClock

MODEL = of_bytes(b"model")


class Desk:
    """A folder with a book, blobs and the logs of two endpoints."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.clock = folder, MovedClock()
        self.database = Database(folder / "book.db", self.clock)
        self.database.create("test.example/book")
        self.book = WorkspaceBook(self.database, "ws", "anna")
        self.blobs = LocalFolder(folder / "blobs")
        self.spools = {name: Spool(folder / "spool" / name) for name in ("delay", "other")}
        self.log = segments.PredictionLog(self.book, self.blobs, self.spools)

    def add(self, endpoint: str = "delay", count: int = 2, **changes: Any) -> PredictionBatch:
        """Log one batch at the clock's time."""
        at = self.clock.now()
        facts: dict[str, Any] = {
            "id": new_id(at), "at": at, "workspace": "ws", "endpoint": endpoint, "release": "r", "model": MODEL,
            "signal": "clear", "audit_share": 0.1, "count": count, "columns": {"a": (1.0,) * count},
            "scores": (0.5,) * count, "answers": ("no",) * count,
        }  # fmt: skip
        batch = PredictionBatch(**(facts | changes))
        self.spools[endpoint].append(batch)
        return batch

    def seal(self, endpoint: str = "delay") -> tuple[SegmentInfo, ...]:
        """Seal what is there."""
        return segments.seal(self.spools[endpoint], self.blobs, self.book, self.clock, endpoint)

    def all(self, endpoint: str = "delay") -> list[PredictionBatch]:
        """Every batch of an endpoint."""
        low, high = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
        return list(self.log.batches(endpoint, low, high))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_nothing_to_seal_writes_nothing(desk: Desk) -> None:
    """An idle endpoint leaves no entries."""
    assert () == desk.seal()
    assert [] == desk.book.entries()


def test_a_sealed_segment_is_a_blob_of_lines_and_an_entry(desk: Desk) -> None:
    """What the book says about a segment is what the blob holds."""
    batches = [desk.add(count=count) for count in (1, 2, 3)]

    (info,) = desk.seal()

    lines = desk.blobs.get(info.digest).splitlines()
    assert batches == [codec.unpack(line) for line in lines]
    names = sorted(batch.id for batch in batches)
    assert (names[0], names[-1], 3, 6, START) == (
        info.first, info.last, info.batches, info.predictions, info.sealed_at,
    )  # fmt: skip
    (entry,) = desk.book.entries()
    assert ("predictions.sealed", "endpoint:delay") == (entry.kind, entry.subject)
    assert {
        "digest": info.digest, "batches": 3, "predictions": 6, "first": names[0], "last": names[-1],
    } == entry.body  # fmt: skip
    assert ([], ()) == (list(desk.spools["delay"].unsealed()), desk.spools["delay"].pending())


def test_sealing_again_changes_nothing(desk: Desk) -> None:
    """There is nothing left."""
    desk.add()
    desk.seal()

    assert () == desk.seal()
    assert 1 == len(desk.book.entries())


def test_a_file_that_comes_back_is_recognised(desk: Desk) -> None:
    """Its removal was not durable when the power went: same digest, no second segment."""
    desk.add()
    desk.add()
    name = desk.spools["delay"].rotate()
    assert name is not None
    path = desk.folder / "spool" / "delay" / name
    data = path.read_bytes()
    (first,) = desk.seal()
    path.write_bytes(data)
    assert 2 == len(desk.all())

    (again,) = desk.seal()

    assert first == again
    assert (1, 2) == (len(desk.book.entries()), len(desk.all()))
    assert not path.exists()


def test_another_content_under_the_same_batch_is_damage(desk: Desk) -> None:
    """It is reported, and the file stays."""
    batch = desk.add()
    desk.seal()
    desk.add(id=batch.id, release="forged")

    with pytest.raises(Corrupt):
        desk.seal()
    assert 1 == len(desk.spools["delay"].pending())


def test_a_batch_of_another_endpoint_is_damage(desk: Desk) -> None:
    """Logs do not mix."""
    desk.spools["delay"].append(desk.add("other"))

    with pytest.raises(Corrupt):
        desk.seal()


def test_a_damaged_file_is_not_sealed_and_not_removed(desk: Desk) -> None:
    """People decide about damage."""
    desk.add()
    name = desk.spools["delay"].rotate()
    assert name is not None
    path = desk.folder / "spool" / "delay" / name
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(Corrupt):
        desk.seal()
    assert path.exists()
    assert [] == desk.book.entries()


def test_a_process_that_does_not_write_seals_what_has_ended(desk: Desk) -> None:
    """The serving process keeps its current file; nothing waits for it."""
    ended = desk.add()
    desk.spools["delay"].rotate()
    current = desk.add()
    elsewhere = Spool(desk.folder / "spool" / "delay")

    (info,) = segments.seal(elsewhere, desk.blobs, desk.book, desk.clock, "delay")

    assert (ended.id, 1) == (info.first, info.batches)
    assert [ended.id, current.id] == [batch.id for batch in desk.all()]


def test_every_prediction_is_found_sealed_or_not(desk: Desk) -> None:
    """With its row and, if sealed, the segment that proves it."""
    sealed = []
    for _ in range(3):
        sealed.append([desk.add(), desk.add("other")])
        desk.seal()
        desk.seal("other")
        desk.clock.move(timedelta(seconds=1))
    fresh = desk.add()

    for pair in sealed:
        for batch in pair:
            found = desk.log.find(f"{batch.id}-1")
            assert (batch, 1) == (found.batch, found.row)
            assert found.segment is not None
            assert batch.id.encode() in desk.blobs.get(found.segment)
    found = desk.log.find(f"{fresh.id}-0")
    assert (fresh, 0, None) == (found.batch, found.row, found.segment)


def test_overlapping_segments_hide_nothing(desk: Desk) -> None:
    """A clock that goes back makes ranges of ids overlap; the search looks into all of them."""
    early = desk.add()
    desk.clock.move(timedelta(hours=2))
    late = desk.add()
    desk.seal()
    desk.clock.move(timedelta(hours=-1))
    middle = desk.add()
    desk.seal()

    for batch in (early, middle, late):
        assert batch == desk.log.find(f"{batch.id}-0").batch


def test_many_segments_are_searched_page_by_page(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is found behind several pages."""
    monkeypatch.setattr(segments, "PAGE", 2)
    batches = []
    for _ in range(5):
        batches.append(desk.add())
        desk.seal()
        desk.clock.move(timedelta(seconds=1))

    for batch in batches:
        assert batch == desk.log.find(f"{batch.id}-0").batch


def test_what_is_not_there_is_not_found(desk: Desk) -> None:
    """A row beyond the batch, another batch, and no id at all."""
    batch = desk.add(count=2)
    desk.seal()

    for missing in (f"{batch.id}-2", f"{new_id(START)}-0"):
        with pytest.raises(NotFound):
            desk.log.find(missing)
    with pytest.raises(Invalid):
        desk.log.find("delay")


@pytest.mark.parametrize("sealed", [False, True])
def test_text_that_looks_like_an_id_is_no_batch(desk: Desk, sealed: bool) -> None:
    """A caller's value may be anything, also an id between two batches of the same segment."""
    low, other, high = sorted(new_id(START) for _ in range(3))
    desk.add(id=low, columns={"a": (other,)})
    desk.add(id=high)
    if sealed:
        desk.seal()

    with pytest.raises(NotFound):
        desk.log.find(f"{other}-0")


def test_batches_of_a_time_are_those_and_no_others(desk: Desk) -> None:
    """From the first instant on, up to but without the second, in order, each once."""
    batches = []
    for number in range(10):
        batches.append(desk.add())
        if number % 3 == 2:
            desk.seal()
        desk.clock.move(timedelta(milliseconds=7))

    for low in range(10):
        for high in range(low, 10):
            found = list(desk.log.batches("delay", batches[low].at, batches[high].at))
            assert batches[low:high] == found
    assert batches == desk.all()
    assert [] == desk.all("other")
    assert [] == desk.all("nobody")


def test_sealing_while_batches_are_read_neither_loses_nor_doubles(desk: Desk) -> None:
    """A reader that has begun sees what was there."""
    batches = [desk.add(), desk.add()]
    desk.seal()
    desk.clock.move(timedelta(seconds=1))
    batches += [desk.add(), desk.add()]
    reading = desk.log.batches("delay", START, START + timedelta(days=1))
    found = [next(reading)]
    desk.seal()
    found += list(reading)

    assert batches == found


def test_sealing_while_threads_append_neither_loses_nor_doubles(desk: Desk) -> None:
    """Rotation takes its turn between groups of records; readers see every batch once at any moment."""
    added: list[str] = []

    def write() -> None:
        for _ in range(40):
            added.append(desk.add().id)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        known = list(added)
        present = [batch.id for batch in desk.all()]
        assert len(present) == len(set(present))
        assert set(known) <= set(present)
        desk.seal()
    desk.seal()

    assert sorted(added) == sorted(batch.id for batch in desk.all())
    assert 120 == len(set(added))


def test_sizes_are_those_of_the_batches_asked_for(desk: Desk) -> None:
    """Sealed or not; what is not there is left out."""
    first, second = desk.add(count=3), desk.add(count=5)
    desk.seal()
    third = desk.add(count=7)

    asked = [first.id, third.id, new_id(START)]

    assert {first.id: 3, third.id: 7} == desk.log.sizes("delay", asked)
    assert {second.id: 5} == desk.log.sizes("delay", [second.id])


def test_a_damaged_segment_is_not_read(desk: Desk) -> None:
    """Law 8: bytes are verified against their digest."""
    batch = desk.add()
    (info,) = desk.seal()
    name = hex_of(info.digest)
    path = desk.folder / "blobs" / "sha256" / name[:2] / name
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b'"no"', b'"ok"'))

    with pytest.raises(Corrupt):
        desk.log.find(f"{batch.id}-0")
    with pytest.raises(Corrupt):
        desk.all()


SEALER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from stellwerk.core.names import new_id
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.serving import segments
from stellwerk.serving.adapters.spool import Spool
from stellwerk.serving.model import PredictionBatch
from stellwerk.store.adapters.local import LocalFolder

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

class Clock:
    def now(self):
        return AT

folder = Path(sys.argv[1])
book = WorkspaceBook(Database(folder / "book.db", Clock()), "ws", "anna")
blobs, spool = LocalFolder(folder / "blobs"), Spool(folder / "spool" / "delay")
for _ in range(3):
    for _ in range(5):
        batch = PredictionBatch(
            id=new_id(AT), at=AT, workspace="ws", endpoint="delay", release="r", model="sha256:" + 64 * "0",
            signal="clear", audit_share=0.1, count=1, columns={"a": (1.0,)}, scores=(0.5,), answers=("no",),
        )
        spool.append(batch)
        print(batch.id, flush=True)
    try:
        segments.seal(spool, blobs, book, Clock(), "delay")
    except Exception as error:
        print("failed", type(error).__name__, flush=True)
"""

POINTS = (
    "segment.rotate", "segment.rotated", "segment.blob", "blob.open", "blob.write", "blob.fsync", "blob.link",
    "blob.dirsync", "segment.row", "ledger.record", "ledger.commit", "ledger.committed", "segment.unlink",
)  # fmt: skip


@pytest.mark.faults
@pytest.mark.parametrize(("action", "nth"), [("kill", 2), ("full", 1)])
@pytest.mark.parametrize("point", POINTS)
def test_every_failpoint_of_sealing_loses_and_doubles_nothing(
    tmp_path: Path, point: str, action: str, nth: int
) -> None:
    """After death or a full disk at any step all acknowledged batches are there once; sealing again ends it."""
    desk = Desk(tmp_path)
    process = subprocess.run(
        [sys.executable, "-c", SEALER, str(tmp_path)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "STELLWERK_FAIL": f"{point}:{action}:{nth}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    lines = process.stdout.split("\n")[:-1]
    acknowledged = {line for line in lines if not line.startswith("failed")}
    assert (-9 if action == "kill" else 0, "") == (process.returncode, process.stderr)
    if action == "full" and point != "ledger.committed":
        assert any(line.startswith("failed") for line in lines)

    def check() -> None:
        present = [batch.id for batch in desk.all()]
        assert len(present) == len(set(present))
        assert acknowledged == set(present)

    check()
    desk.seal()
    check()
    assert [] == list(desk.spools["delay"].unsealed())
    with desk.book.read() as reader:
        infos = SEGMENTS.select(reader)
    assert sorted(info.digest for info in infos) == sorted(entry.body["digest"] for entry in desk.book.entries())
    assert len(acknowledged) == sum(info.batches for info in infos)
    assert [] == [damage for damage in fsck.check_blobs(tmp_path / "blobs") if damage.severity == "error"]
