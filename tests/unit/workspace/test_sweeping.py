"""Sweeps run: programs by what they log, pipelines by what they measure."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from stellwerk.cli.main import main
from stellwerk.workspace.layout import find
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

PROGRAM = """
import sys

import stellwerk

given = dict(part.split("=", 1) for part in sys.argv[1:])
print("prints", given)
if given["kind"] == "bad":
    sys.exit(3)
with stellwerk.run("fit", params=given) as run:
    run.log(loss=float(given["x"]) ** 2, step=0)
"""
PIPELINE = """
import stellwerk as sw


@sw.step
def hill(x: int, base: int) -> dict:
    return {"metrics": {"height": (x - 2) ** 2 + base}}


@sw.pipeline
def hills(x: int = 0, base: int = 0):
    return {"hill": hill(x, base)}
"""


def invoked(folder: Path, *arguments: str) -> tuple[int, str]:
    """The real command: exit code and everything it said."""
    command = [sys.executable, "-m", "stellwerk", "-w", str(folder), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STELLWERK_ACTOR", "anna")
    monkeypatch.setenv("STELLWERK_STATE", "")
    create(tmp_path, Settings(actor="anna"))
    (tmp_path / "train.py").write_text(textwrap.dedent(PROGRAM))
    (tmp_path / "pipeline.py").write_text(textwrap.dedent(PIPELINE))
    return tmp_path


def sweep_file(folder: Path, **document: object) -> str:
    (folder / "sweep.yaml").write_text(json.dumps(document))  # JSON is YAML
    return "sweep.yaml"


def test_a_program_is_run_for_each_trial(folder: Path) -> None:
    """Its metric is read from the run that it logged; one that fails has its status and what it printed."""
    file = sweep_file(
        folder, program="train.py", method="grid", metric={"name": "loss"}, command=["${interpreter}", "${program}",
        "${args_no_hyphens}"], parameters={"x": {"values": [3, 1]}, "kind": {"values": ["good", "bad"]}},
    )  # fmt: skip
    status, said = invoked(folder, "run", "--sweep", file, "--json")
    rooms = Rooms(find(folder), Settings(actor="anna"))

    assert 0 == status, said
    trials = {tuple(run.params.values()): run for run in rooms.runs.search(where="attributes.kind = 'trial'")}
    assert {1.0, 9.0} == {run.metrics["loss"] for run in trials.values() if run.metrics}
    failed = [run for run in trials.values() if run.status == "failed"]
    assert 2 == len(failed)
    assert "ended with status 3" in failed[0].error
    assert failed[0].log is not None
    assert b"prints" in rooms.blobs.get(failed[0].log)
    best = min((run for run in trials.values() if run.metrics), key=lambda run: run.metrics["loss"])
    assert ["fit"] == [run.name for run in rooms.runs.search(parent=best.id)]
    assert {"x": 1, "kind": "good"} == best.params
    rooms.close()


def test_a_pipeline_is_run_for_each_trial(folder: Path) -> None:
    """With the parameters of the trial and those that were given; what it measured counts."""
    file = sweep_file(
        folder, method="grid", metric={"name": "height", "goal": "minimize"}, parameters={"x": {"min": 0, "max": 3}}
    )
    status, said = invoked(folder, "run", "hills", "--sweep", file, "-p", "base=5")
    again, repeated = invoked(folder, "run", "hills", "--sweep", file, "-p", "base=5")

    assert (0, 0) == (status, again), said
    assert "4 trials" in said
    assert "#2  x 2: 5" in said
    assert "#2  x 2: 5" not in repeated  # it is known


@pytest.mark.parametrize(
    ("document", "arguments", "said"),
    [
        ({"method": "random", "parameters": {"x": {"min": 0, "max": 3}}}, (), "no-budget"),
        ({"method": "grid", "parameters": {"x": {"value": 0}}, "early_terminate": {"type": "x"}}, (), "not-supported"),
        ({"method": "grid", "program": "train.py", "parameters": {"x": {"value": 0}}}, ("-p", "a=1"), "wrong-arguments"),
    ],
)  # fmt: skip
def test_what_cannot_be_swept_is_said(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    document: dict[str, object],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    """With exit code 2 and the code of the error."""
    file = str(folder / sweep_file(folder, **document))
    status = main(["-w", str(folder), "run", "--sweep", file, *arguments])

    assert 2 == status
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        (None, 4, "no-such-file"),
        ("method: [", 2, "invalid-sweep"),
        ("method: annealing", 2, "invalid-sweep"),
        ("{method: grid, program: nope.py, parameters: {x: {value: 0}}}", 4, "no-such-file"),
    ],
)
def test_a_sweep_file_that_is_none_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str | None, status: int, said: str
) -> None:
    """What is missing ends with 4, as everywhere, and what is broken with 2."""
    file = folder / "sweep.yaml"
    if text is not None:
        file.write_text(text, "utf-8")

    assert status == main(["-w", str(folder), "run", "--sweep", str(file)])
    assert f"code: {said}" in capsys.readouterr().err
