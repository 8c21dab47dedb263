"""Killed between the claim of a firing and the beginning of its run, nothing is lost and nothing begins twice.

STELLWERK_TRIGGER_KILLS says how many random kills there are.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import stellwerk as sw
from stellwerk.core import failpoints
from stellwerk.testing import worlds
from stellwerk.testing.stations import live
from stellwerk.triggers import queue as _queue  # noqa: F401  # declares the failpoints
from stellwerk.triggers import rules
from stellwerk.triggers.model import OnTime

pytestmark = pytest.mark.faults

OF_RUNNER = (
    "trigger.claimed:kill:1", "trigger.claimed:kill:2", "trigger.begun:kill:2", "ledger.record:kill:2",
    "ledger.commit:kill:1", "ledger.committed:kill:1", "ledger.committed:kill:3",
)  # fmt: skip
"""Places at which a runner dies: before, at and after its claims, its looks and its settlements."""
OF_CHILD = ("trigger.begun:kill:1", "ledger.commit:kill:1", "ledger.committed:kill:1", "ledger.committed:kill:2")
"""Places at which the process of a run dies: with the run and its place in the firing written, committed, and after."""
PLACES = ("trigger.claimed", "trigger.begun", "ledger.record", "ledger.commit", "ledger.committed")
LIVES = multiprocessing.get_context("forkserver")
LIVES.set_forkserver_preload(["stellwerk.testing.stations"])
KILLS = int(os.environ.get("STELLWERK_TRIGGER_KILLS", "2"))
FIRINGS = 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workspace on simulated time in which two hours are due."""
    worlds.workspace(tmp_path).close()
    with sw.connect(tmp_path, actor=worlds.OWNER) as workspace:
        workspace.triggers.add("hourly", "count", OnTime(cron="0 * * * *", catch_up="all"), params={"n": "3"})
    worlds.clock(tmp_path).set(worlds.START + timedelta(hours=FIRINGS))
    return tmp_path


def lives(folder: Path, *, fail: str = "", claim: str = "") -> Any:
    """A process that looks, takes and begins, or the one of a run, which may die; it is under way."""
    process = LIVES.Process(target=live, args=(str(folder), worlds.OWNER, fail, claim))
    process.start()
    return process


def life(folder: Path, *, fail: str = "", claim: str = "") -> int:
    """How such a process ended."""
    process = lives(folder, fail=fail, claim=claim)
    process.join()
    return int(process.exitcode)


def passes(folder: Path) -> None:
    """So much time that every claim has run out."""
    clock = worlds.clock(folder)
    clock.set(clock.now() + rules.LEASE)


def check(folder: Path, *, ended: set[str]) -> None:
    """Each firing has one run, each run of a trigger one firing, and the book is whole."""
    with sw.connect(folder, actor=worlds.OWNER) as workspace:
        firings = [
            one for one in workspace.triggers.firings(limit=1000) if one.cause.at <= worlds.START + timedelta(hours=2)
        ]
        rooms = workspace._caller.rooms  # type: ignore[attr-defined]
        begun = [entry.body["run"] for entry in rooms.book.entries(kinds=["trigger.started"])]
        whole = [entry for entry in rooms.book.entries(kinds=["run.started"]) if entry.body["kind"] == "pipeline"]
        assert FIRINGS == len({one.cause.key for one in firings}) == len(firings)
        assert {one.outcome for one in firings} <= ended
        runs = [one.run for one in firings if one.run]
        assert len(runs) == len(set(runs))
        assert set(runs) <= set(begun)
        assert len(begun) == len(set(begun)) == len(whole)
        assert () == workspace.verify().findings


def test_every_step_is_known() -> None:
    """No failpoint of triggers lacks a kill."""
    known = {step.partition(":")[0] for step in (*OF_RUNNER, *OF_CHILD)}

    assert {name for name in failpoints.NAMES if name.startswith("trigger.")} <= known


@pytest.mark.parametrize("step", OF_RUNNER)
def test_a_killed_runner_loses_nothing(folder: Path, step: str) -> None:
    """The next one takes up what it had claimed when the lease has run out, and every time has its one run."""
    assert -signal.SIGKILL == life(folder, fail=step), "this step was not passed"
    for _ in range(2):
        passes(folder)
        assert 0 == life(folder)

    check(folder, ended={"finished", "interrupted"})


@pytest.mark.parametrize("step", OF_CHILD)
def test_a_killed_run_is_begun_at_most_once(folder: Path, step: str) -> None:
    """Killed before its beginning is durable, it is begun again; killed later, it is interrupted and not begun twice."""
    with sw.connect(folder, actor=worlds.OWNER) as workspace:
        rooms = workspace._caller.rooms  # type: ignore[attr-defined]
        workspace.triggers.look()
        claimed = rooms.queue.claim("a runner that dies with its child")
    claim = f"{claimed.id}.{claimed.epoch}"
    assert -signal.SIGKILL == life(folder, fail=step, claim=claim)
    passes(folder)
    again = life(folder, claim=claim)
    for _ in range(2):
        assert 0 == life(folder)
        passes(folder)

    with sw.connect(folder, actor=worlds.OWNER) as workspace:
        found = next(one for one in workspace.triggers.firings(limit=100) if one.id == claimed.id)
    durable = step.startswith("ledger.committed")
    assert durable == (again != 0), "a run whose beginning is durable is not begun again"
    assert ("interrupted" if durable and step.endswith(":1") else "finished") == found.outcome
    check(folder, ended={"finished", "interrupted"})


def test_random_kills_of_many_runners(folder: Path) -> None:
    """Three runners at once, killed at random places, again and again: in the end every time has had one run."""
    seed = int(os.environ.get("STELLWERK_SEED", "0")) or random.randrange(1 << 30)
    print(f"STELLWERK_SEED={seed}")
    dice = random.Random(seed)
    for _ in range(KILLS):
        steps = [f"{dice.choice(PLACES)}:kill:{dice.randint(1, 9)}" for _ in range(3)]
        runners = [lives(folder, fail=step) for step in steps]
        for runner in runners:
            runner.join()
        passes(folder)
    for _ in range(3):
        assert 0 == life(folder)
        passes(folder)

    check(folder, ended={"finished", "interrupted", "lost"})
