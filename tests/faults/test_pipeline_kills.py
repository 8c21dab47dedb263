"""Engine and workers are killed again and again over a graph with a loop, a branch, retries and a wait.

It finishes with the same results as if nothing had happened, and no result of a step is committed twice.
`STELLWERK_KILLS` says how many kills; the acceptance is 500.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import stellwerk as sw
from stellwerk.core import canonical
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

pytestmark = pytest.mark.faults
KILLS = int(os.environ.get("STELLWERK_KILLS", "12"))
GRID = '''
from pathlib import Path

import stellwerk as sw


@sw.step
def numbers(count: int) -> list[int]:
    return list(range(count))


@sw.step(retries=3, backoff=sw.Backoff(first="1s", most="1s", jitter=1.0))
def square(x: int, folder: str) -> int:
    """Every fifth fails when it is tried for the first time."""
    mark = Path(folder, f"tried-{x}")
    if x % 5 == 0 and not mark.exists():
        mark.touch()
        raise OSError("not yet")
    return x * x


@sw.step
def plus(x: int, y: int) -> int:
    return x + y


@sw.step
def total(values: list[int]) -> int:
    return sum(values)


@sw.step(timeout="1m")
def isolated(x: int) -> int:
    return x + 1


@sw.step
def say(word: str, number: int) -> str:
    return f"{word} {number}"


@sw.pipeline
def grid(folder: str):
    with sw.each(numbers(25)) as x:
        squared = square(x, folder)
        more = plus(squared, x)
    sum_ = total(more)
    with sw.when(sum_, above=10) as large:
        big = say("large", sum_)
    with sw.otherwise(large):
        small = say("small", sum_)
    answer = sw.wait_for_person("Is that right?", about=sum_)
    last = isolated(sum_)
    for _ in range(4):
        last = plus(last, 1)
    return {"said": sw.either(big, small), "answer": say(answer, last)}
'''


class Lives:
    """A folder with a workspace, and a process that forks engines for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        create(folder, Settings(actor="anna"))
        (folder / "pipeline.py").write_text(GRID)
        self.errors = (folder / "errors.txt").open("w")
        self.mother = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("pipeline_writer.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
        )  # fmt: skip
        assert "ready\n" == self.mother.stdout.readline()  # type: ignore[union-attr]

    def begin(self, on: str) -> int:
        """Fork a life; its process group."""
        assert self.mother.stdin is not None
        self.mother.stdin.write(json.dumps({"folder": str(self.folder), "on": on}) + "\n")
        self.mother.stdin.flush()
        return int(self.mother.stdout.readline().split()[1])  # type: ignore[union-attr]

    def end(self) -> int:
        """The status with which the life has ended."""
        return int(self.mother.stdout.readline().split()[1])  # type: ignore[union-attr]

    def live(self, on: str = "in-process") -> dict[str, object]:
        self.begin(on)
        assert 0 == self.end(), (self.folder / "errors.txt").read_text()
        found: dict[str, object] = json.loads((self.folder / "done.json").read_text())
        return found

    def close(self) -> None:
        assert self.mother.stdin is not None
        with self.mother:
            self.mother.stdin.close()
        self.errors.close()


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    made = Lives(tmp_path / "work")
    yield made
    made.close()


def test_killed_anywhere_it_finishes_with_the_same_results(lives: Lives, tmp_path: Path) -> None:
    """Whatever was killed, and when: the same digests, one commit under each key, and a ledger that verifies."""
    calm = Lives(tmp_path / "calm")
    expected = _values(calm, calm.live()["results"])
    calm.close()
    chance = random.Random(20261121)
    for kill in range(KILLS):
        group = lives.begin(chance.choice(["in-process", "pool:2"]))
        try:  # a life that is over before is one that was not hit
            signal.sigtimedwait([], chance.uniform(0.02, 0.6))  # type: ignore[attr-defined]
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass
        assert lives.end() in (0, -signal.SIGKILL), (lives.folder / "errors.txt").read_text()
        if (lives.folder / "done.json").exists():
            _check(lives, expected, f"after kill {kill}")
            _forget(lives, kill)
    lives.live()
    _check(lives, expected, "at the end")
    with sw.connect(lives.folder, actor="anna") as workspace:
        assert () == tuple(workspace.verify().findings)
        assert () == workspace.fsck()


def _check(lives: Lives, expected: dict[str, object], when: str) -> None:
    """The execution that is done gave what it should, and committed nothing twice."""
    done = json.loads((lives.folder / "done.json").read_text())
    assert ("done", expected) == (done["status"], _values(lives, done["results"])), when
    with sw.connect(lives.folder, actor="anna") as workspace:
        runs = workspace.runs(parent=done["run"], limit=1000)
        finished = Counter(run.step_key for run in runs if run.status == "finished" and not run.cached)
        assert {} == {key: times for key, times in finished.items() if times > 1}, when
        assert 60 <= len({run.name for run in runs if run.status == "finished"}), when
        assert "finished" == workspace.runs(experiment="grid", limit=1)[0].status, when


def _values(lives: Lives, results: object) -> dict[str, object]:
    assert isinstance(results, dict)
    with sw.connect(lives.folder, actor="anna") as workspace:
        blobs = workspace._caller.blobs
        return {name: [canonical.loads(blobs.get(digest)) for digest in some] for name, some in results.items()}


def _forget(lives: Lives, kill: int) -> None:
    """Begin anew: other parameters of the code, so that nothing is known, and every fifth step fails again."""
    (lives.folder / "done.json").unlink()
    for mark in lives.folder.glob("tried-*"):
        mark.unlink()
    (lives.folder / "pipeline.py").write_text(GRID.replace("return x + y", f"return x + y + 0 * {kill}"))
