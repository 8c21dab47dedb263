"""Many processes execute pipelines on one workspace at the same time: all finish, and none fails on a lock.

`STELLWERK_ENGINES` says how many; the acceptance is 50.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import stellwerk as sw
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

pytestmark = pytest.mark.faults
ENGINES = int(os.environ.get("STELLWERK_ENGINES", "6"))
FLOW = """
import stellwerk as sw


@sw.step
def one(n: int) -> int:
    return n + 1


@sw.step
def two(x: int) -> int:
    return x * 2


@sw.pipeline
def flow(n: int = 0):
    x = one(n)
    for _ in range(5):
        x = two(x)
    return x
"""


def test_many_engines_share_one_workspace(tmp_path: Path) -> None:
    """Every run finishes; each step key has one result, however many computed it at once; the ledger is whole."""
    create(tmp_path, Settings(actor="anna"))
    (tmp_path / "pipeline.py").write_text(FLOW)
    environment = {**os.environ, "STELLWERK_ACTOR": "anna"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "stellwerk", "run", "flow", "-p", f"n={n % 7}"],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for n in range(ENGINES)
    ]  # fmt: skip
    said = [process.communicate()[0] for process in started]

    assert [0] * ENGINES == [process.returncode for process in started], "\n".join(said)
    with sw.connect(tmp_path, actor="anna") as workspace:
        runs = workspace.runs("parent IS NULL", experiment="flow", limit=1000)
        assert {"finished": ENGINES} == Counter(run.status for run in runs)
        assert {(n % 7 + 1) * 32 for n in range(ENGINES)} == {
            int(workspace._caller.blobs.get(run.outputs["result"])) for run in runs
        }
        assert () == tuple(workspace.verify().findings)
