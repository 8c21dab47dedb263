"""Workers are killed and stopped in the middle of a step: another one takes over, and nothing is committed twice.

The time of the workspace stands still until a test moves it, so that a lease ends when the test says so.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import stellwerk as sw
from stellwerk.core.clock import ReplayClock
from stellwerk.pipelines.loading import find_pipelines, load
from stellwerk.pipelines.offers import LEASE
from stellwerk.pipelines.shelves import OFFERS
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

pytestmark = pytest.mark.faults
FLOW = '''
import os
from pathlib import Path

import stellwerk as sw


@sw.step
def numbers(count: int) -> list[int]:
    return list(range(count))


@sw.step
def squares(values: list[int], folder: str) -> list[int]:
    """Where somebody listens, it says which process it is, and waits until it is let go on."""
    begun, gate = Path(folder, "begun"), Path(folder, f"gate-{os.getpid()}")
    if begun.exists():
        os.mkfifo(gate)
        begun.write_text(str(os.getpid()))
        gate.read_text()
    return [value * value for value in values]


@sw.step
def total(values: list[int]) -> int:
    return sum(values)


@sw.pipeline
def flow(folder: str):
    return total(squares(numbers(10), folder))
'''
MANY = 300
"""Looks at what a process says, a tenth of a second each."""


class Scene:
    """A workspace, an engine that offers the steps of a flow, and workers, all in processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []
        folder.mkdir()
        create(folder, Settings(actor="anna"), clock="replay")
        (folder / "pipeline.py").write_text(FLOW)
        os.mkfifo(folder / "begun")

    def start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "stellwerk", *words], cwd=self.folder, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, env={**os.environ, "STELLWERK_ACTOR": "anna"},
        )  # fmt: skip
        self.processes.append(process)
        return process

    def run(self) -> subprocess.Popen[str]:
        return self.start("run", "flow", "--on", "workers", "-p", f"folder={self.folder}")

    def begun(self) -> int:
        """Wait until the step has begun; its process."""
        return int((self.folder / "begun").read_text())

    def let_go(self, step: int) -> None:
        (self.folder / f"gate-{step}").write_text("go")

    def pass_by(self, seconds: timedelta) -> None:
        clock = ReplayClock(self.folder / ".stellwerk" / "clock.json")
        clock.set(clock.now() + seconds)

    def holder(self) -> int:
        """The process of the worker that has the step."""
        with sw.connect(self.folder, actor="anna") as workspace, _rooms(workspace).book.read() as reader:
            (offer,) = OFFERS.select(reader, status="claimed")
        return int(offer.worker.rpartition(":")[2].partition(".")[0])

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path / "work")
    yield made
    made.close()


def test_a_killed_worker_loses_its_step_to_another(scene: Scene, tmp_path: Path) -> None:
    """It is killed in the middle; when its lease is over the other one runs the step, and the results are the same."""
    workers = {process.pid: process for process in (scene.start("worker", "--on", "pool:1") for _ in range(2))}
    engine = scene.run()
    scene.begun()
    first = scene.holder()
    workers[first].kill()
    workers[first].wait()

    scene.pass_by(LEASE + timedelta(seconds=1))
    step = scene.begun()
    second = scene.holder()
    scene.let_go(step)
    _, said = engine.communicate(timeout=60)

    assert 0 == engine.returncode, said
    assert {first, second} == set(workers)
    _check(scene.folder, tmp_path / "calm")


def test_what_a_stopped_worker_says_later_is_refused(scene: Scene, tmp_path: Path) -> None:
    """It wakes up with a result when another worker has its step: that result is none, and the run is as any other."""
    workers = {process.pid: process for process in (scene.start("worker", "--on", "pool:1") for _ in range(2))}
    engine = scene.run()
    early = scene.begun()
    zombie = scene.holder()
    os.kill(zombie, signal.SIGSTOP)

    scene.pass_by(LEASE + timedelta(seconds=1))
    late = scene.begun()
    second = scene.holder()
    scene.let_go(early)
    os.kill(zombie, signal.SIGCONT)
    heard = _until(workers[zombie], "lost")
    under_way = engine.poll() is None
    scene.let_go(late)
    _, said = engine.communicate(timeout=60)

    assert "squares@1  lost" in heard
    assert under_way
    assert 0 == engine.returncode, said
    assert {zombie, second} == set(workers)
    _check(scene.folder, tmp_path / "calm")


def test_a_run_that_no_worker_hears_says_what_to_type(scene: Scene) -> None:
    """After ten seconds of the workspace's time, and then a worker brings it to its end."""
    engine = scene.run()
    said = ""
    for _ in range(MANY):
        scene.pass_by(timedelta(seconds=11))
        said += _heard(engine)
        if "stellwerk worker" in said:
            break
    (scene.folder / "begun").unlink()
    scene.start("worker", "--on", "pool:1")
    _, rest = engine.communicate(timeout=60)

    assert 1 == (said + rest).count(
        "no worker has taken a step so far; start one on this workspace: stellwerk worker\n"
    )
    assert 0 == engine.returncode


def _check(folder: Path, calm: Path) -> None:
    """The results are those of a run in one process; each step key has one result, and each attempt ended once."""
    calm.mkdir()
    create(calm, Settings(actor="anna"))
    (calm / "pipeline.py").write_text(FLOW)
    with sw.connect(calm, actor="anna") as workspace:
        expected = workspace.run(find_pipelines(load(calm / "pipeline.py"))["flow"].plan(str(calm))).run.outputs
    with sw.connect(folder, actor="anna") as workspace:
        (run,) = workspace.runs("parent IS NULL", experiment="flow")
        steps = workspace.runs(parent=run.id)
        ended = [entry.body["attempt"] for entry in _rooms(workspace).book.entries(kinds=["attempt.ended"])]

        assert ("finished", expected) == (run.status, run.outputs)
        assert {"numbers": 1, "squares": 1, "total": 1} == Counter(one.name for one in steps)
        assert {1} == set(Counter(one.step_key for one in steps).values())
        assert ["numbers@1", "squares@2", "total@1"] == ended
        assert () == tuple(workspace.verify().findings)
        assert () == workspace.fsck()


def _rooms(workspace: sw.Workspace) -> Any:
    return workspace._caller.rooms  # type: ignore[attr-defined]


def _heard(process: subprocess.Popen[str]) -> str:
    """What a process has said; it is given a moment."""
    assert process.stderr is not None
    ready, _, _ = select.select([process.stderr], [], [], 0.1)
    return os.read(process.stderr.fileno(), 1 << 16).decode() if ready else ""


def _until(process: subprocess.Popen[str], word: str) -> str:
    said = ""
    for _ in range(MANY):
        said += _heard(process)
        if word in said:
            break
    return said
