"""Executions of plans: begun, advanced by their engine, followed and steered by others."""

from __future__ import annotations

from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Refused
from stellwerk.pipelines.model import Due, Execution, Standing, TaskState
from stellwerk.tracking.model import Run, StepMemory
from stellwerk.tracking.rules import begun
from stellwerk.triggers.tags import TAG
from stellwerk.workspace import awaiting
from stellwerk.workspace.calls import operation
from stellwerk.workspace.layout import process_alive
from stellwerk.workspace.operations.kept import must_be_its_own, must_be_kept, still_kept
from stellwerk.workspace.rooms import Rooms


@operation("executions.begin", "runs:write", changes=True)
def begin_execution(
    rooms: Rooms,
    pipeline: str,
    plan: Digest,
    code: Digest,
    call: dict[str, Any],
    owner: str,
    params: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
    environment: Digest | None = None,
    name: str = "",
    parent: str | None = None,
) -> tuple[Run, Execution]:
    """Begin to execute a plan, as a run. One that a trigger fired begins once, under the claim that its tag names."""
    must_be_kept(rooms, [plan])
    claim = (tags or {}).get(TAG)
    also = None if claim is None else rooms.queue.beginning(claim)
    run = begun(
        rooms.clock.now(),
        rooms.actor,
        experiment=pipeline,
        name=name or pipeline,
        parent=parent,
        kind="pipeline",
        params=params or {},
        tags=tags or {},
        environment=environment,
        process=owner or None,
    )
    return rooms.executions.begin(run, plan=plan, code=code, call=call, owner=owner, also=also)


@operation("executions.advance", "runs:write", changes=True)
def advance_execution(
    rooms: Rooms,
    execution: str,
    epoch: int,
    runs: tuple[Run, ...] = (),
    memories: tuple[StepMemory, ...] = (),
    tasks: tuple[TaskState, ...] = (),
) -> tuple[StepMemory, ...]:
    """Write what steps of an execution did, in one transaction; the results that others had committed before."""
    must_be_kept(
        rooms,
        {
            *(digest for run in runs for digest in (*run.inputs.values(), *run.outputs.values())),
            *(digest for memory in memories for digest in memory.outputs.values()),
        },
    )
    made = {run.id: run for run in runs}
    for memory in memories:
        run = made.get(memory.run)
        ours = run if run is not None and run.parent == execution else None
        must_be_its_own(memory, ours.outputs if ours else {}, step_keys={ours.step_key} if ours else ())
    for state in tasks:
        if state.execution != execution:
            raise Refused("a task may only be written to its own execution", code="foreign-memory")
    first = rooms.executions.advance(execution, epoch, runs=runs, memories=memories, tasks=tasks)
    kept = still_kept(rooms, first)
    gone = {memory.step_key for memory in first} - {memory.step_key for memory in kept}
    if gone:
        rooms.executions.replace(execution, epoch, [memory for memory in memories if memory.step_key in gone])
    return tuple(kept)


@operation("executions.beat", "runs:write", changes=True)
def beat_execution(rooms: Rooms, execution: str, epoch: int) -> str:
    """Say that the engine of an execution is alive; what somebody wants of it: pause, cancel, or nothing."""
    return rooms.executions.beat(execution, epoch)


@operation("executions.leave", "runs:write", changes=True)
def leave_execution(
    rooms: Rooms, execution: str, epoch: int, status: Standing, keys: Digest | None = None
) -> Execution:
    """The engine of an execution ends: it is over, or goes on some other time."""
    if keys is not None:
        must_be_kept(rooms, [keys])
    return rooms.executions.leave(execution, epoch, status, keys, also=awaiting.closing(rooms, execution, status))


@operation("executions.remembered", "runs:read")
def remembered_steps(rooms: Rooms, pipeline: str) -> tuple[StepMemory, ...]:
    """The results under the step keys that the latest execution of a pipeline came to: to look them up at one time."""
    document = rooms.executions.latest_keys(pipeline)
    if document is None or not rooms.blobs.has(document):
        return ()
    keys = canonical.loads(rooms.blobs.get(document))
    return tuple(still_kept(rooms, rooms.runs.remembered_many(keys)))


@operation("executions.take", "runs:write", changes=True)
def take_execution(
    rooms: Rooms, execution: str, owner: str, code: Digest | None = None, cause: str = ""
) -> tuple[Execution, tuple[TaskState, ...]]:
    """Take an execution over whose engine has ended, to go on with it. What that one offered to workers is withdrawn."""
    taken, states = rooms.executions.take(execution, code=code, owner=owner, alive=process_alive, cause=cause[:200])
    rooms.offers.withdraw(execution)
    return taken, tuple(states)


@operation("executions.due", "runs:read")
def due_executions(rooms: Rooms, only: tuple[str, ...] = ()) -> tuple[Due, ...]:
    """Executions that can go on by themselves: a decision was taken, a time or an event has come."""
    return tuple(awaiting.due(rooms, only))


@operation("executions.pass-over", "runs:write", changes=True)
def pass_over_execution(rooms: Rooms, execution: str, epoch: int, why: str, cause: str = "") -> Execution:
    """Say why an execution that waits does not go on by itself: it is left to people."""
    return rooms.executions.pass_over(execution, epoch, why[:500], cause[:200])


@operation("executions.ask", "runs:write", changes=True)
def ask_execution(rooms: Rooms, execution: str, request: str) -> Execution:
    """Ask for an execution to pause, to cancel, or (with an empty request) to go on."""
    also = awaiting.closing(rooms, execution, "cancelled") if request == "cancel" else None
    return rooms.executions.ask(execution, request, alive=process_alive, also=also)


@operation("executions.get", "runs:read")
def get_execution(rooms: Rooms, execution: str) -> tuple[Execution, tuple[TaskState, ...]]:
    """One execution, and its tasks that have not simply been done."""
    return rooms.executions.get(execution), tuple(rooms.executions.tasks(execution))


@operation("executions.list", "runs:read")
def list_executions(
    rooms: Rooms, status: str | None = None, pipeline: str | None = None, limit: int = 100
) -> tuple[Execution, ...]:
    """Executions of plans."""
    return tuple(rooms.executions.all(status=status, pipeline=pipeline, limit=limit))
