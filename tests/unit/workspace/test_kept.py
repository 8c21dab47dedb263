"""What is remembered of a run is its own, whichever door it comes through: as a run, as a trial, in an execution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import stellwerk as sw
from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import NotFound, Refused
from stellwerk.core.names import new_id
from stellwerk.tracking.model import Run, StepMemory
from stellwerk.workspace import operations as ops
from stellwerk.workspace.facade import Workspace
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

KEY, OTHER = of_bytes(b"a step"), of_bytes(b"another step")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setenv("STELLWERK_ACTOR", "anna")
    create(tmp_path, Settings(actor="anna"))
    with sw.connect(tmp_path) as made:
        yield made


def call(workspace: Workspace, operation: Any, **arguments: Any) -> Any:
    return workspace._caller.call(operation, arguments)


def by_run(workspace: Workspace, given: Digest, **changes: Any) -> StepMemory | None:
    run = call(workspace, ops.start_run, experiment="e", name="step", kind="step", step_key=KEY)
    memory = replace(remembered(run, given), **changes)
    call(workspace, ops.finish_run, run=run.id, outputs={"value": given}, memory=memory)
    return known(workspace)


def by_trial(workspace: Workspace, given: Digest, **changes: Any) -> StepMemory | None:
    study = of_bytes(b"a study")
    call(workspace, ops.open_study, study=study, experiment="e", name="study", setup={})
    line = call(workspace, ops.claim_trial, study=study, number=0, holder="h", step_key=KEY)
    memory = replace(remembered(line.run, given), **changes)
    trial = {"study": study, "number": 0, "epoch": line.epoch}
    call(workspace, ops.finish_trial, **trial, outputs={"value": given}, memory=memory)
    return known(workspace)


def by_execution(workspace: Workspace, given: Digest, **changes: Any) -> StepMemory | None:
    plan = workspace._caller.blobs.put(b"{}")
    parent, execution = call(
        workspace, ops.begin_execution, pipeline="e", plan=plan, code=plan, call={}, owner="me", environment=None
    )
    now = workspace.now()
    run = Run(
        id=new_id(now),
        experiment="e",
        name="step",
        kind="step",
        status="finished",
        started_at=now,
        started_by=parent.started_by,
        ended_at=now,
        parent=parent.id,
        step_key=KEY,
        outputs={"value": given},
    )
    memory = replace(remembered(run, given), **changes)
    steps = {"runs": (run,), "memories": (memory,)}
    call(workspace, ops.advance_execution, execution=execution.id, epoch=execution.epoch, **steps)
    return known(workspace)


def remembered(run: Run, given: Digest) -> StepMemory:
    return StepMemory(step_key=KEY, outputs={"value": given}, media={}, run=run.id, created_at=run.started_at)


def known(workspace: Workspace) -> StepMemory | None:
    found: StepMemory | None = call(workspace, ops.remembered_step, step_key=KEY)
    return found


doors = pytest.mark.parametrize("door", [by_run, by_trial, by_execution])


@doors
def test_a_run_is_remembered_by_what_it_gave(workspace: Workspace, door: Any) -> None:
    """Its result is found under its step key."""
    given = workspace._caller.blobs.put(b"a result")

    found = door(workspace, given)

    assert {"value": given} == found.outputs
    assert KEY == found.step_key


@doors
def test_nothing_is_remembered_under_the_key_of_another_step(workspace: Workspace, door: Any) -> None:
    """Else a result could be put under the key of a step that never gave it."""
    given = workspace._caller.blobs.put(b"a result")

    with pytest.raises(Refused) as refused:
        door(workspace, given, step_key=OTHER)

    assert "foreign-memory" == refused.value.code
    assert call(workspace, ops.remembered_step, step_key=OTHER) is None
    assert known(workspace) is None


@doors
def test_nothing_is_remembered_that_the_run_did_not_give(workspace: Workspace, door: Any) -> None:
    """A result that lies in the store is not for that the result of this run."""
    given, foreign = (workspace._caller.blobs.put(data) for data in (b"a result", b"not a result"))

    with pytest.raises(Refused) as refused:
        door(workspace, given, outputs={"value": foreign})

    assert "foreign-memory" == refused.value.code
    assert known(workspace) is None


@doors
def test_nothing_is_remembered_that_the_store_does_not_hold(workspace: Workspace, door: Any) -> None:
    """The bytes come first."""
    with pytest.raises(NotFound):
        door(workspace, of_bytes(b"never put"))

    assert known(workspace) is None
