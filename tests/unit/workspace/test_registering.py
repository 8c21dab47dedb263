"""Registering what an evaluation chose: one way for runs and for exported pipelines, told whether or not it succeeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.errors import Refused
from stellwerk.pipelines.environment import current
from stellwerk.testing import worlds
from stellwerk.tracking.model import Run
from stellwerk.workspace import operations as ops
from stellwerk.workspace.layout import find
from stellwerk.workspace.local import LocalCaller
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.settings import Settings
from stellwerk.workspace.steps.registering import register


class Refusing(LocalCaller):
    """A workspace whose registry takes nothing."""

    problem: BaseException = Refused("not today")

    def call(self, operation: Any, arguments: dict[str, Any]) -> Any:
        if operation is ops.register_model:
            raise self.problem
        return super().call(operation, arguments)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A workspace in which a pipeline has registered its model."""
    folder = tmp_path_factory.mktemp("registered")
    with worlds.workspace(folder) as live:
        live.data.add(worlds.DATASET, worlds.World().parcels(600, 1))
        live.data.confirm(worlds.DATASET)
        live.run(worlds.plan(folder))
    opened = Rooms(find(folder), Settings(actor=worlds.OWNER))
    yield opened
    opened.close()


def registered(rooms: Rooms) -> list[Run]:
    return rooms.runs.search(where="attributes.run_name = 'register'")


def again(caller: LocalCaller, before: Run, name: str) -> Any:
    environment = caller.blobs.put(current().document)
    found = [before.inputs["model"]]
    return register(caller, name, before.inputs["evaluation"], found, parent="", environment=environment)


def test_the_same_model_is_the_same_version_of_bytes(rooms: Rooms) -> None:
    """What a pod registers and what a run registers is one: the same files, signature and origin."""
    (before,) = registered(rooms)

    said, version = again(LocalCaller(rooms), before, "elsewhere")

    first = rooms.registry.get(worlds.ENDPOINT)
    assert (first.digest, first.signature, first.seed) == (version.digest, version.signature, version.seed)
    assert "auroc" in said["metrics"]
    run = rooms.runs.get(version.run_id or "")
    assert ("finished", {"model": version.digest}) == (run.status, run.outputs)
    assert before.inputs == run.inputs


@pytest.mark.parametrize(
    ("problem", "status"),
    [(Refused("not today"), "failed"), (KeyboardInterrupt(), "interrupted"), (SystemExit(1), "interrupted")],
)
def test_a_registration_that_fails_is_told(rooms: Rooms, problem: BaseException, status: str) -> None:
    """Its run has ended, says why, and names no model; an interrupt is no failure."""
    before = next(run for run in registered(rooms) if run.status == "finished")
    caller = Refusing(rooms)
    caller.problem = problem

    with pytest.raises(type(problem)):
        again(caller, before, "nowhere")

    last = registered(rooms)[0]
    assert (status, {}) == (last.status, last.outputs)
    assert (str(problem) or type(problem).__name__) == last.error


def test_own_results_are_demanded_by_a_policy(tmp_path: Path) -> None:
    """Under `own@1` it is proven of a model that no other workspace gave any of it."""
    with worlds.workspace(tmp_path) as live:
        file = tmp_path / "stellwerk.toml"
        file.write_text(file.read_text().replace('deputy = "ben"', 'deputy = "ben"\npolicy = ["base@1", "own@1"]'))
        live.data.add(worlds.DATASET, worlds.World().parcels(600, 1))
        live.data.confirm(worlds.DATASET)
        live.run(worlds.plan(tmp_path))
        live.declare(worlds.declared(tmp_path))

        verdict = live.prove(worlds.ENDPOINT)

    (found,) = [reason for reason in verdict.reasons if reason.check == "own-results"]
    assert "pass" == found.outcome
