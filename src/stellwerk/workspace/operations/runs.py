"""Runs and the memory of their steps."""

from __future__ import annotations

from typing import Any

from stellwerk.core.digest import Digest
from stellwerk.tracking.model import Cost, Ending, Run, StepMemory
from stellwerk.triggers.tags import TAG
from stellwerk.workspace.calls import operation
from stellwerk.workspace.layout import process_alive
from stellwerk.workspace.operations.kept import must_be_its_own, must_be_kept, result_must_be_kept, still_kept
from stellwerk.workspace.rooms import Rooms


@operation("runs.start", "runs:write", changes=True)
def start_run(
    rooms: Rooms,
    experiment: str,
    name: str,
    kind: str,
    parent: str | None = None,
    params: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
    inputs: dict[str, Digest] | None = None,
    code: Digest | None = None,
    environment: Digest | None = None,
    step_key: Digest | None = None,
    process: str | None = None,
) -> Run:
    """Begin a run. One that a trigger fired begins once, under the claim that its tag names."""
    must_be_kept(rooms, (inputs or {}).values())
    claim = (tags or {}).get(TAG)
    return rooms.runs.start(
        experiment=experiment,
        name=name,
        kind=kind,
        parent=parent,
        params=params or {},
        tags=tags or {},
        inputs=inputs or {},
        code=code,
        environment=environment,
        step_key=step_key,
        process=process,
        also=None if claim is None else rooms.queue.beginning(claim),
    )


@operation("runs.finish", "runs:write", changes=True)
def finish_run(
    rooms: Rooms,
    run: str,
    status: Ending = "finished",
    outputs: dict[str, Digest] | None = None,
    metrics: dict[str, float] | None = None,
    cost: Cost | None = None,
    error: str = "",
    log: Digest | None = None,
    memory: StepMemory | None = None,
) -> Run:
    """End a run once, and remember its result under its step key in the same transaction."""
    result_must_be_kept(rooms, outputs, memory)
    if memory is not None:
        known = rooms.runs.get(run)
        must_be_its_own(memory, outputs, step_keys={known.step_key} if memory.run == run else ())
    return rooms.runs.finish(
        run, status=status, outputs=outputs, metrics=metrics, cost=cost, error=error, log=log, memory=memory
    )


@operation("runs.record", "runs:write", changes=True)
def record_run(rooms: Rooms, run: Run) -> Run:
    """Note a run that needed no execution, such as a step found in the cache."""
    must_be_kept(rooms, [*run.inputs.values(), *run.outputs.values()])
    facts = {
        field: getattr(run, field)
        for field in ("parent", "params", "metrics", "tags", "inputs", "outputs", "code", "environment", "step_key",
                      "cached", "cost", "log")
    }  # fmt: skip
    return rooms.runs.record(
        experiment=run.experiment, name=run.name, kind=run.kind, started_at=run.started_at, **facts
    )


@operation("runs.close", "runs:write", changes=True)
def close_runs(rooms: Rooms) -> tuple[Run, ...]:
    """Mark runs as interrupted whose process on this machine is gone."""
    return tuple(rooms.runs.close_interrupted(process_alive))


@operation("runs.empty", "workspace:admin", changes=True)
def empty_bin(rooms: Rooms, days: float = 30.0) -> tuple[str, ...]:
    """Forget runs that have been in the bin for some days. Their bytes go with the next collections of garbage."""
    from stellwerk.workspace import emptying

    return emptying.empty(rooms, days=days)


@operation("runs.search", "runs:read")
def search_runs(
    rooms: Rooms,
    where: str = "",
    order: tuple[str, ...] = (),
    experiment: str | None = None,
    parent: str | None = None,
    limit: int = 100,
    offset: int = 0,
) -> tuple[Run, ...]:
    """Runs that meet all conditions, in the order asked for, and then newest first."""
    return tuple(
        rooms.runs.search(where=where, order=order, experiment=experiment, parent=parent, limit=limit, offset=offset)
    )


@operation("runs.get", "runs:read")
def get_run(rooms: Rooms, run: str) -> Run:
    """One run."""
    return rooms.runs.get(run)


@operation("steps.remembered", "runs:read")
def remembered_step(rooms: Rooms, step_key: Digest) -> StepMemory | None:
    """The result of a step under its key, if any machine has computed it."""
    found = rooms.runs.remembered(step_key)
    return found if found and still_kept(rooms, [found]) else None
