"""The code that the formats' pages give for reading by hand reads what Stellwerk writes, and notices damage."""

from __future__ import annotations

import runpy
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from obstore.store import LocalStore

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.evidence.adapters.sealing import FileSealer, create_sealing_key
from stellwerk.serving.adapters.spool import Spool
from stellwerk.serving.model import PredictionBatch, Steer
from stellwerk.store.adapters.objects import Objects, Patience
from stellwerk.store.adapters.s3 import S3Blobs
from stellwerk.store.framing import frame
from stellwerk.tracking import segments, spans
from stellwerk.tracking.adapters.outbox import Outbox

docs = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("pages.py"))))
FORMATS = docs.ROOT / "docs" / "formats"


def by_hand(page: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the one Python block of a page in a folder."""
    (block,) = [block for block in docs.blocks(FORMATS / page) if block.language == "python"]
    return subprocess.run(
        [sys.executable, "-I", "-c", block.text], cwd=folder, capture_output=True, text=True, check=False
    )


def batch(number: int) -> PredictionBatch:
    return PredictionBatch(
        id=f"01kc4v3n0w5x8y2z6q7r9s1t{number:02}",
        at=datetime(2026, 1, 2, tzinfo=UTC),
        workspace="default",
        endpoint="delay",
        release="r",
        model=Digest("sha256:" + "0" * 64),
        signal="clear",
        audit_share=0.01,
        count=2,
        columns={"origin": ("JFK", None), "hour": (7, 18.5)},
        scores=(0.25, float("nan")),
        answers=("false", None),
        steered={1: Steer(kind="stop", reason="stop: the model gave no usable score", probability=1.0)},
    )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """An open log with three batches."""
    spool = Spool(tmp_path / "delay")
    for number in range(3):
        spool.append(batch(number))
    spool.close()
    return tmp_path / "delay"


def test_a_log_is_read_by_hand(log: Path) -> None:
    """Every batch is found, in order, with its number of rows."""
    read = by_hand("predictions.md", log)

    assert [f"{batch(number).id} 2" for number in range(3)] == read.stdout.splitlines(), read.stderr


def test_a_damaged_log_is_noticed_by_hand(log: Path) -> None:
    """One changed byte fails."""
    data = bytearray((log / "current.log").read_bytes())
    data[len(data) // 2] ^= 1
    (log / "current.log").write_bytes(data)

    assert by_hand("predictions.md", log).returncode == 1


def test_a_store_in_a_bucket_is_read_by_hand(tmp_path: Path) -> None:
    """Small and large blobs are found and verified; a changed byte of a chunk fails."""
    blobs = S3Blobs(Objects(LocalStore(tmp_path), name="here", patience=Patience()), chunk=4, whole=8)
    kept = [blobs.put(b"small"), blobs.put(b""), blobs.put(b"longer than eight bytes")]
    read = by_hand("store-s3.md", tmp_path)

    assert sorted(kept) == sorted(read.stdout.splitlines()), read.stderr
    chunk = next(file for file in (tmp_path / "chunks").rglob("*") if file.is_file())
    chunk.write_bytes(b"?" * chunk.stat().st_size)
    assert by_hand("store-s3.md", tmp_path).returncode == 1


def test_points_are_read_by_hand(tmp_path: Path) -> None:
    """Every point of a segment is found."""
    kept = {"loss": segments.series([(1, 1, 0.5), (2, 2, 0.25)]), "auc": segments.series([(1, 7, float("inf"))])}
    (tmp_path / "segment").write_bytes(segments.encode(kept))
    read = by_hand("points.md", tmp_path)

    assert ["auc [(7, inf)]", "loss [(1, 0.5), (2, 0.25)]"] == read.stdout.splitlines(), read.stderr


def test_spans_are_read_by_hand(tmp_path: Path) -> None:
    """Every span of a part is found, and no line is taken for two."""
    root = {"span_id": "AQ==", "name": "first\u2028", "start_time_unix_nano": 2**63, "end_time_unix_nano": 2**63 + 1}
    (tmp_path / "part").write_bytes(
        spans.encode([root, {"span_id": "Ag==", "parent_span_id": "AQ==", "name": "a\nb"}])
    )
    read = by_hand("spans.md", tmp_path)

    assert [" first\u2028 1", "  a", "b 0"] == read.stdout.split("\n")[:-1], read.stderr


def test_an_outbox_is_read_by_hand(tmp_path: Path) -> None:
    """Every whole record is found; a torn one ends it, a damaged one fails."""
    box = Outbox(tmp_path, "run")
    box.append({"kind": "begin"})
    box.append({"kind": "points"}, b"\n\x00")
    box.close()
    data = (tmp_path / "run.log").read_bytes()
    (tmp_path / "outbox").write_bytes(data + b"\x00\x00\x00\x09torn")
    read = by_hand("outbox.md", tmp_path)
    (tmp_path / "outbox").write_bytes(data.replace(b"begin", b"BEGIN"))

    assert ['{"kind":"begin"} 0', '{"kind":"points"} 2'] == read.stdout.splitlines(), read.stderr
    assert by_hand("outbox.md", tmp_path).returncode == 1


def test_frames_are_read_by_hand(tmp_path: Path) -> None:
    """Every blob of a stream is found; a changed byte fails."""
    items = [b"first", b"", b"third"]
    body = bytearray(b"".join(map(frame, items)))
    (tmp_path / "body").write_bytes(body)
    read = by_hand("frames.md", tmp_path)
    body[41] ^= 1
    (tmp_path / "body").write_bytes(body)

    assert [of_bytes(item) for item in items] == read.stdout.splitlines(), read.stderr
    assert by_hand("frames.md", tmp_path).returncode == 1


def test_sealed_labels_are_opened_by_hand(tmp_path: Path) -> None:
    """What the sealer wrote opens with the key and gives the commitment; a changed byte does not open."""
    create_sealing_key(tmp_path / "sealing.key")
    plain = b"salt" * 8 + b"PAR1 labels"
    sealed = FileSealer(tmp_path / "sealing.key").seal(plain)

    (tmp_path / "labels").write_bytes(sealed)
    opened = by_hand("gate.md", tmp_path)
    (tmp_path / "labels").write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    changed = by_hand("gate.md", tmp_path)

    assert of_bytes(plain) == opened.stdout.strip(), opened.stderr
    assert changed.returncode == 1
