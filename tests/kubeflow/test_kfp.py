"""The SDK of Kubeflow Pipelines reads what we write, and runs it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stellwerk.pipelines.kubeflow.emitter import emit
from stellwerk.pipelines.kubeflow.model import Secret, Target
from stellwerk.pipelines.loading import load
from stellwerk.testing.flows import PLANS
from stellwerk.workspace.facade import Workspace, connect
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import read
from stellwerk.workspace.steps.emitting import Wish

TARGET = Target(
    image="ghcr.io/team/steps:1",
    address="http://stellwerk.svc:8000",
    secrets=(Secret(variable="TOKEN", secret="stellwerk", key="token"),),
)
FLOW = """
    from pathlib import Path

    import stellwerk as sw


    @sw.step
    def squared(number: int) -> int:
        return number * number


    @sw.step(retries=1, backoff=sw.Backoff(first="1s"))
    def total(squares: list, mark: str) -> int:
        if not Path(mark).exists():  # fails once
            Path(mark).write_text("tried", "utf-8")
            raise ValueError("not yet")
        return sum(squares)


    @sw.step
    def small(total: int) -> str:
        return f"small: {total}"


    @sw.step
    def large(total: int) -> str:
        return f"large: {total}"


    @sw.pipeline
    def kfp_flow(mark: str, most: int = 20):
        with sw.each([1, 2]) as number:
            square = squared(number)
        whole = total(square, mark)
        with sw.when(whole, above=most) as much:
            big = large(whole)
        with sw.otherwise(much):
            little = small(whole)
        return sw.either(big, little)
"""


def test_the_sdk_reads_every_kind_of_plan(kfp: Any, tmp_path: Path) -> None:
    """As the messages of its own protocol, and as pipelines. It would find a key that nobody knows, wherever it is."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name, plan in PLANS.items():
        text = yaml.safe_dump_all(emit(plan, TARGET), sort_keys=False)
        (folder / f"{name}.yaml").write_text(text, "utf-8")
    spec = emit(PLANS["a loop"], TARGET)[0]
    spec["components"]["comp-each"]["dag"]["tasks"]["each-each"]["parameterIterator"]["bogus"] = 1
    (folder / "wrong.yaml").write_text(yaml.safe_dump(spec), "utf-8")

    [problem] = kfp("check", str(folder), cwd=tmp_path)

    assert problem.startswith("wrong.yaml: ")
    assert '"bogus"' in problem


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Workspace]:
    home = tmp_path / "project"
    home.mkdir()
    (home / "kfp_flow.py").write_text(textwrap.dedent(FLOW), "utf-8")
    create(home, read())
    with connect(home) as found:
        yield found


def test_the_local_runner_of_the_sdk_runs_it(kfp: Any, live: Workspace, tmp_path: Path) -> None:
    """A loop, a retry, a condition and a choice; then this process finds all of it in the cache, with equal digests."""
    home = tmp_path / "project"
    pipeline = load(home / "kfp_flow.py").kfp_flow
    plan = pipeline.plan(mark=str(tmp_path / "mark"))
    wish = Wish(image="python:3.11", address=str(home), images={})
    (tmp_path / "pipe.yaml").write_text(live.steps.export(plan, pipeline, wish).text, "utf-8")

    outputs = kfp("run", str(tmp_path / "pipe.yaml"), str(tmp_path / "root"), {}, cwd=tmp_path)
    ran = live.run(plan)

    assert ran.cached
    assert ran.run.outputs["result"] == outputs["result"]["digest"]
    whole = next(run for run in live.runs(experiment="kfp_flow") if run.id.startswith("kfp-"))
    steps = live.runs(parent=whole.id)
    assert "finished" == whole.status
    assert ["small", "squared", "squared", "total", "total"] == sorted(run.name for run in steps)
    assert ["failed"] == [run.status for run in steps if run.status != "finished"]
