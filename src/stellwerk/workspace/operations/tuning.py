"""Studies and their trials. What may be tuned on is checked here, where nobody can go around it."""

from __future__ import annotations

from typing import Any

from stellwerk.core.digest import Digest
from stellwerk.tracking.model import Cost, Run, Status, StepMemory, Study, TrialLine
from stellwerk.tracking.trials import Came
from stellwerk.workspace import sealed
from stellwerk.workspace.calls import operation
from stellwerk.workspace.operations.kept import must_be_its_own, must_be_kept, result_must_be_kept
from stellwerk.workspace.rooms import Rooms


@operation("tuning.find", "runs:read")
def find_study(rooms: Rooms, study: Digest) -> Study | None:
    """A study, if somebody has begun it."""
    return rooms.trials.find(study)


@operation("tuning.open", "runs:write", changes=True)
def open_study(
    rooms: Rooms,
    study: Digest,
    experiment: str,
    name: str,
    setup: dict[str, Any],
    again: bool = True,
    parent: str | None = None,
    params: dict[str, Any] | None = None,
    inputs: dict[str, Digest] | None = None,
    code: Digest | None = None,
    environment: Digest | None = None,
) -> Study:
    """Begin a study, or go on with it. Refused where its inputs come from a gate set."""
    must_be_kept(rooms, (inputs or {}).values())
    sealed.refuse(rooms, inputs or {})
    return rooms.trials.open(
        study,
        experiment=experiment,
        name=name,
        setup=setup,
        again=again,
        parent=parent,
        params=params or {},
        inputs=inputs or {},
        code=code,
        environment=environment,
    )


@operation("tuning.claim", "runs:write", changes=True)
def claim_trial(
    rooms: Rooms,
    study: Digest,
    number: int,
    holder: str,
    params: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
    inputs: dict[str, Digest] | None = None,
    code: Digest | None = None,
    environment: Digest | None = None,
    step_key: Digest | None = None,
    process: str | None = None,
) -> TrialLine:
    """Begin the trial of a number; a conflict where somebody has begun it."""
    must_be_kept(rooms, (inputs or {}).values())
    return rooms.trials.claim(
        study,
        number,
        holder=holder,
        params=params or {},
        tags=tags or {},
        inputs=inputs or {},
        code=code,
        environment=environment,
        step_key=step_key,
        process=process,
    )


@operation("tuning.retake", "runs:write", changes=True)
def retake_trial(
    rooms: Rooms, study: Digest, number: int, epoch: int, holder: str, process: str | None = None
) -> TrialLine | None:
    """Begin a trial again whose holder is gone; nothing where it is not, or where somebody else did."""
    return rooms.trials.retake(study, number, epoch=epoch, holder=holder, process=process)


@operation("tuning.finish", "runs:write", changes=True)
def finish_trial(
    rooms: Rooms,
    study: Digest,
    number: int,
    epoch: int,
    status: Status = "finished",
    outputs: dict[str, Digest] | None = None,
    metrics: dict[str, float] | None = None,
    reports: tuple[tuple[int, float], ...] = (),
    pruned: bool = False,
    cached: bool = False,
    cost: Cost | None = None,
    error: str = "",
    log: Digest | None = None,
    memory: StepMemory | None = None,
) -> Run | None:
    """End a trial, once; nothing where it is not this epoch's any more. Its result is remembered with it."""
    result_must_be_kept(rooms, outputs, memory)
    if memory is not None:
        keys = {line.run.step_key for line in rooms.trials.lines(study) if line.number == number}
        must_be_its_own(memory, outputs, step_keys=keys)
    came = Came(
        status=status,
        reports=reports,
        pruned=pruned,
        cached=cached,
        outputs=outputs,
        metrics=metrics,
        cost=cost,
        error=error,
        log=log,
        memory=memory,
    )
    return rooms.trials.finish(study, number, epoch=epoch, came=came)


@operation("tuning.release", "runs:write", changes=True)
def release_trials(rooms: Rooms, study: Digest, holder: str) -> int:
    """Give back the trials of a holder, for anybody to begin again."""
    return rooms.trials.release(study, holder=holder)


@operation("tuning.renew", "runs:write", changes=True)
def renew_trials(rooms: Rooms, study: Digest, holder: str) -> int:
    """Say that a holder is still at work on its trials."""
    return rooms.trials.renew(study, holder=holder)


@operation("tuning.trials", "runs:read")
def list_trials(rooms: Rooms, study: Digest, reports: bool = False) -> tuple[TrialLine, ...]:
    """All trials of a study by number, each as its newest attempt stands."""
    return tuple(rooms.trials.lines(study, reports=reports))
