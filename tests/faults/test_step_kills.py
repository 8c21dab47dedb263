"""A pod that is killed and started again: the step has one result, and what was begun is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import stellwerk as sw
from stellwerk.core import canonical
from stellwerk.pipelines.loading import load
from stellwerk.pipelines.model import document
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import read

FLOW = """
import stellwerk as sw


@sw.step
def drawn(count: int) -> list:
    import random
    return [random.random() for _ in range(count)]


@sw.pipeline
def step_kills(count: int = 3):
    return drawn(count)
"""
ARGUMENTS = ("step", "exec", "--plan", "plan.json", "--node", "drawn", "--group", "pods")


def exec_step(folder: Path, fail: str = "") -> int:
    command = [sys.executable, "-m", "stellwerk", *ARGUMENTS]
    environment = {**os.environ, "STELLWERK_FAIL": fail}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False).returncode


@pytest.mark.faults
@pytest.mark.parametrize("point", ["task.stored", "task.committed"])
def test_a_killed_pod_is_started_again(point: str, tmp_path: Path) -> None:
    """Before the commit the step runs a second time; after it, what was committed is the result."""
    (tmp_path / "step_kills.py").write_text(FLOW, "utf-8")
    create(tmp_path, read())
    plan = load(tmp_path / "step_kills.py").step_kills.plan()
    (tmp_path / "plan.json").write_bytes(canonical.dumps(document(plan)))

    assert -signal.SIGKILL == exec_step(tmp_path, f"{point}:kill:1")
    assert 0 == exec_step(tmp_path)

    with sw.connect(tmp_path) as live:
        first, second = sorted(live.runs(parent="pods"), key=lambda run: run.started_at)
        assert ("interrupted" if point == "task.stored" else "finished") == first.status
        assert (point == "task.committed") == second.cached
        ran = live.run(plan)
        assert ran.cached
        assert {"value": ran.run.outputs["result"]} == second.outputs
        assert () == live.fsck()
