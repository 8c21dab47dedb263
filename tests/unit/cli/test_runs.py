"""`stellwerk runs` of what clients logged: a line each, and one with everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from stellwerk.cli.main import main
from stellwerk.cli.running import LOG_LINES
from stellwerk.tracking.model import Point
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A run with a note, many metrics, some of the machine, and a log."""
    settings = Settings(actor="anna")
    rooms = Rooms(create(tmp_path, settings), settings)
    tags = [("mlflow.note.content", "as agreed"), ("mlflow.source.git.commit", "c0ffee")]
    made = rooms.logbook.create("0", name="fit", tags=tags).run.id
    keys = ("system/cpu", *(f"score{number}" for number in range(5)))
    rooms.logbook.log(made, points=[Point(key, 0.5, 1, 0) for key in keys])
    log_text = "".join(f"line {number}\n" for number in range(40)).encode()
    rooms.artifacts.log(f"0/{made}/artifacts/output.log", rooms.blobs.put(log_text))
    rooms.close()
    return made


def test_a_line_tells_of_what_ran(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Some metrics of it and how many more there are; what the machine did is not among them."""
    assert 0 == main(["-w", str(tmp_path), "runs"])
    shown = capsys.readouterr().out

    assert run in shown
    assert "score0 0.5  score1 0.5  score2 0.5  and 2 more" in shown
    assert "system/cpu" not in shown


def test_one_run_is_told_with_everything(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its note, its code, all metrics with the machine apart, and the end of its log."""
    assert 0 == main(["-w", str(tmp_path), "runs", run])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    assert "note as agreed" in lines
    assert "commit c0ffee" in lines
    assert "machine system/cpu = 0.5" in lines
    assert 5 == sum(line.startswith("metric score") for line in lines)
    assert [f"line {number}" for number in range(40 - LOG_LINES, 40)] == [
        one for one in lines if one.startswith("line")
    ]
