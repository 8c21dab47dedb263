"""A search is killed again and again with everything that works for it: no trial is lost, and none counts twice.

`STELLWERK_TRIALS` and `STELLWERK_KILLS` say how many; the acceptance is 200 trials.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import pytest

import stellwerk as sw
from stellwerk.tracking.model import TRIAL, Run
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

pytest.importorskip("optuna", reason="needs the extra hpo")

TRIALS = int(os.environ.get("STELLWERK_TRIALS", "8"))
KILLS = int(os.environ.get("STELLWERK_KILLS", "2"))
WORKERS = 2
STEP = """
import os
from pathlib import Path

import stellwerk as sw


@sw.step
def parabola(x: float, y: float, notes: str) -> dict[str, float]:
    # One line for every time it is really executed.
    with open(notes, "a") as file:
        file.write(f"{x!r} {y!r}\\n")
    return {"loss": (x - 2) ** 2 + (y + 1) ** 2}
"""
SEARCH = """
import sys

import stellwerk as sw
from parabola import parabola

if __name__ == "__main__":
    trials, workers, notes = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    space = {"x": sw.space.real(-10, 10), "y": sw.space.real(-10, 10)}
    with sw.connect() as workspace:
        found = sw.tune(
            parabola, space, trials, given={"notes": notes}, metric="loss", workers=workers, workspace=workspace
        )
        print(found.report["trials"]["done"], found.value)
"""


class Searches:
    """A folder with a workspace and a script that searches in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.notes = folder, folder / "notes.txt"
        create(folder, Settings(actor="anna"))
        (folder / "parabola.py").write_text(textwrap.dedent(STEP))
        (folder / "search.py").write_text(textwrap.dedent(SEARCH))

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "search.py", str(TRIALS), str(WORKERS), str(self.notes)]
        environment = {**os.environ, "STELLWERK_ACTOR": "anna", "STELLWERK_STATE": ""}
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def executed(self) -> int:
        return len(self.notes.read_text().splitlines()) if self.notes.exists() else 0

    def killed(self, chance: random.Random, after: int) -> bool:
        """Kill a search a little after so many steps were executed. Whether it still ran."""
        process = self.start()
        while process.poll() is None and self.executed() < after:
            time.sleep(0.005)
        time.sleep(chance.random() * 0.3)
        killed = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return killed

    def finished(self) -> str:
        process = self.start()
        said, complaint = process.communicate(timeout=570)
        assert (0, "") == (process.returncode, complaint)
        return said


def test_no_trial_is_lost_or_repeated(tmp_path: Path) -> None:
    """After every kill the search goes on: at the end each number has one result, the one that was committed first."""
    searches, chance = Searches(tmp_path), random.Random(0)
    kills, known = 0, {}
    for turn in range(KILLS):
        # Each life comes a little further than the one before.
        kills += searches.killed(chance, searches.executed() + 1 + turn * TRIALS // (KILLS * 3))
        now = _committed(tmp_path)
        assert known.items() <= now.items(), "a committed trial has changed"
        known = now
    searches.finished()
    executed = searches.executed()

    assert 1 <= kills
    with sw.connect(tmp_path, actor="anna") as workspace:
        (study,) = workspace.runs("attributes.kind = 'study'")
        trials = workspace.runs(parent=study.id, limit=10_000)
        assert "finished" == study.status
        assert float(TRIALS) == study.metrics["trials"]
        done = [run for run in trials if run.status == "finished"]
        # None lost, none twice.
        assert Counter({str(number): 1 for number in range(TRIALS)}) == Counter(run.tags["trial"] for run in done)
        assert {TRIAL} == {run.kind for run in trials}
        # What was given up was only ever begun again, under the same parameters.
        given_up = [run for run in trials if run.status != "finished"]
        assert {"interrupted"} >= {run.status for run in given_up}
        assert len(given_up) <= kills * WORKERS
        by_number = {run.tags["trial"]: run for run in done}
        assert all(run.params == by_number[run.tags["trial"]].params for run in given_up)
        for run in done:
            assert abs((run.params["x"] - 2) ** 2 + (run.params["y"] + 1) ** 2 - run.metrics["loss"]) < 1e-9
        # A committed trial is never executed again: what is executed beyond the trials was killed before its commit.
        assert TRIALS <= executed + sum(run.cached for run in done)
        assert executed <= TRIALS + kills * WORKERS
        assert known.items() <= _values(done).items()
        assert () == tuple(workspace.verify().findings)


def _committed(folder: Path) -> dict[str, float]:
    with sw.connect(folder, actor="anna") as workspace:
        return _values([run for run in workspace.runs("attributes.kind = 'trial'", limit=10_000) if _over(run)])


def _over(run: Run) -> bool:
    return run.status == "finished"


def _values(runs: list[Run]) -> dict[str, float]:
    return {run.tags["trial"]: run.metrics["loss"] for run in runs}
