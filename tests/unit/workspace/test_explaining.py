"""Why a step is known or not: what is another than the last time, and nothing that is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.errors import NotFound
from stellwerk.pipelines.environment import current
from stellwerk.pipelines.loading import find_pipelines, load
from stellwerk.pipelines.model import Plan
from stellwerk.testing.wheels import wheel
from stellwerk.workspace import explaining
from stellwerk.workspace.facade import Workspace, connect
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

FLOW = """
import stellwerk as sw

LIMIT = 3


def helper(x):
    return x + LIMIT


@sw.step
def first(n: int) -> int:
    return helper(n)


@sw.step
def second(x: int) -> int:
    return x * 2


@sw.pipeline
def flow(n: int = 1):
    return second(first(n))
"""
OWN = """
import stellwerk as sw


@sw.step(environment=sw.Environment(lock="alpha.txt"))
def inside(n: int) -> int:
    return n


@sw.pipeline
def flow(n: int = 1):
    return inside(n)
"""


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    create(tmp_path, Settings(actor="anna"))
    with connect(tmp_path, actor="anna") as workspace:
        yield workspace


def plan(text: str = FLOW, **params: Any) -> Plan:
    Path("flow.py").write_text(text)
    for name, module in list(sys.modules.items()):  # as another process would find it
        if getattr(module, "__file__", None) == str(Path("flow.py").absolute()):
            del sys.modules[name]
    made: Plan = find_pipelines(load(Path("flow.py")))["flow"].plan(**params)
    return made


def reasons(live: Workspace, made: Plan) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {one.task: (one.status, one.because) for one in live.explain(made)}


def test_what_never_ran_is_new_and_what_ran_is_known(live: Workspace) -> None:
    """What comes after a new step is not known yet; to explain executes nothing and records nothing."""
    assert {"first": "new", "second": "unknown"} == {name: why[0] for name, why in reasons(live, plan()).items()}
    assert () == live.runs()

    ran = live.run(plan())

    known = reasons(live, plan())
    made = {run.name: run.id for run in live.runs(parent=ran.run.id)}
    assert {name: ("cached", (f"known since run {made[name]}",)) for name in ("first", "second")} == known


@pytest.mark.parametrize(
    ("text", "params", "expected"),
    [
        (FLOW.replace("LIMIT = 3", "LIMIT = 30"), {}, "LIMIT"),
        (FLOW.replace("x + LIMIT", "x + 2 * LIMIT"), {}, "helper"),
        (FLOW, {"n": 2}, "parameter n: 1 before, 2 now"),
    ],
)
def test_what_changed_is_named_and_nothing_else(
    live: Workspace, text: str, params: dict[str, Any], expected: str
) -> None:
    """A constant, a helper, a parameter."""
    live.run(plan())

    status, because = reasons(live, plan(text, **params))["first"]

    assert "changed" == status
    assert 2 == len(because)
    assert because[0].startswith("compared with run ")
    assert expected in because[1]


def test_another_input_is_named(live: Workspace) -> None:
    """By the digests of both."""
    live.run(plan())
    live.run(plan(n=2))
    text = FLOW.replace("x * 2", "x * 30")

    status, because = reasons(live, plan(text, n=1))["second"]

    assert "changed" == status
    assert ["code", "input"] == [line.split()[0].rstrip(":") for line in because[1:]]


def test_another_package_is_named_by_its_versions(live: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with the whole list of what is installed; many are counted."""
    live.run(plan())
    lock = current()
    kept = tuple(one for one in lock.distributions if not one.startswith("numpy=="))
    numpy = next(one for one in lock.distributions if one.startswith("numpy==")).removeprefix("numpy==")
    monkeypatch.setattr(explaining, "current", lambda: replace(lock, distributions=("aaa==1.0", *kept, "numpy==1.2")))
    few = reasons(live, plan())["first"][1][1:]
    many = tuple(f"made-{n}==1" for n in range(explaining.MOST + 3))
    monkeypatch.setattr(explaining, "current", lambda: replace(lock, distributions=(*lock.distributions, *many)))
    more = reasons(live, plan())["first"][1][1:]

    assert ("package aaa: nothing before, 1.0 now", f"package numpy: {numpy} before, 1.2 now") == few
    assert explaining.MOST + 1 == len(more)
    assert "... and 3 more packages" == more[-1]


def test_an_environment_of_its_own_is_blamed_only_where_it_changed(
    live: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And packages beside the engine are no part of it."""
    Path("wheels").mkdir()
    for version in ("2.0", "1.0"):
        found = wheel(Path("wheels").absolute(), "stw_alpha", version)
        text = f"--no-index\n--find-links wheels\nstw-alpha=={version} --hash=sha256:{found}\n"
        Path(f"{version}.txt").write_text(text)
    Path("alpha.txt").write_text(Path("1.0.txt").read_text())
    live.run(plan(OWN))
    lock = current()
    monkeypatch.setattr(explaining, "current", lambda: replace(lock, distributions=("aaa==1.0", *lock.distributions)))

    same = reasons(live, plan(OWN))["inside"]
    param = reasons(live, plan(OWN, n=2))["inside"]
    Path("alpha.txt").write_text(Path("2.0.txt").read_text())
    other = reasons(live, plan(OWN))["inside"]
    both = reasons(live, plan(OWN, n=2))["inside"]

    assert "cached" == same[0]
    assert ("parameter n: 1 before, 2 now",) == param[1][1:]
    said = "environment: lock alpha.txt: it is another one, or stands on another Python or platform"
    assert (said,) == other[1][1:]
    assert ("parameter n: 1 before, 2 now", said) == both[1][1:]


def test_a_step_that_is_not_there(live: Workspace) -> None:
    """Those that are there are named."""
    with pytest.raises(NotFound, match="it has first, second"):
        live.explain(plan(), step="nope")
