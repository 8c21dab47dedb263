"""Runs beside each other in a terminal: the same differences as on the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stellwerk.cli.main import main
from stellwerk.tracking.model import Point
from stellwerk.workspace.layout import find as open_layout
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, list[str]]:
    """A workspace with eight runs that differ a little."""
    settings = Settings(actor="anna")
    rooms = Rooms(create(tmp_path, settings), settings)
    made = []
    for index in range(8):
        run = rooms.logbook.create(
            "0", name=f"fit {index}", tags=[("mlflow.source.git.commit", f"c{index // 4}")]
        ).run
        rooms.logbook.log(
            run.id, points=[Point("auc", index / 10, 1, 0)], params=[("depth", str(index)), ("lr", "1")]
        )
        files = f"0/{run.id}/artifacts/requirements.txt"
        rooms.artifacts.log(files, rooms.blobs.put(f"numpy==2.{index // 4}.0\n".encode()))
        made.append(run.id)
    rooms.close()
    return tmp_path, made


def said(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> str:
    assert 0 == main(["-w", str(folder), "compare", *arguments])
    return capsys.readouterr().out


def test_what_differs_is_listed_by_kind(runs: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """Parameters, metrics, code and packages, by the number of the run; equal facts are counted, or shown too."""
    folder, ids = runs
    lines = [" ".join(line.split()) for line in said(capsys, folder, ids[0], ids[7]).splitlines()]

    assert ["depth 0 7", "auc 0.0000 0.7000", "commit c0 c1", "numpy 2.0.0 2.1.0"] == [
        line for line in lines if line.startswith(("depth", "auc", "commit", "numpy"))
    ]
    assert "lr 1 1" not in lines
    assert "1 fact equal (--all shows them)" in lines
    assert "lr 1 1" in [" ".join(line.split()) for line in said(capsys, folder, ids[0], ids[7], "--all").splitlines()]


def test_equal_runs_have_no_difference(runs: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """And that is said, with how much is equal; a run stands beside itself once."""
    folder, ids = runs

    assert "no difference" in said(capsys, folder, ids[0], ids[0])


def test_of_many_runs_it_is_told_how_they_spread(
    runs: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Not one column more than a terminal has room for."""
    folder, ids = runs
    shown = said(capsys, folder, *ids)

    assert "least 0, median 4, largest 7" in shown
    assert "2.0.0 4, 2.1.0 4" in shown


def test_programs_get_everything(runs: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """With `--json`: the runs as they are, whatever differs."""
    folder, ids = runs
    assert 0 == main(["-w", str(folder), "--json", "compare", *ids[:2]])

    found = json.loads(capsys.readouterr().out)
    assert [{"numpy": "2.0.0"}] * 2 == [one["environment"] for one in found]
    assert ids[:2] == [one["id"] for one in found]


def test_versions_that_say_nothing_are_compared_by_their_runs(
    runs: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """As most are that MLflow's client registered; that it is so is said beside the differences."""
    folder, ids = runs
    settings = Settings(actor="anna")
    rooms = Rooms(open_layout(folder), settings)
    rooms.catalogue.create("churn")
    for run in ids[:2]:
        rooms.catalogue.add("churn", f"s3://elsewhere/{run}", run_id=run)
    rooms.close()

    assert 0 == main(["-w", str(folder), "compare", "churn@1", "churn@2"])
    shown = capsys.readouterr()
    assert "depth  0  1" in shown.out
    assert "the runs behind them" in shown.err
    assert 0 == main(["-w", str(folder), "models"])
    assert ["model", "aliases", "made", "run", "digest"] == capsys.readouterr().out.splitlines()[0].split()
