"""Steps that run by themselves, in a pod or a job: what holds their runs together, and what a step key stands for."""

from __future__ import annotations

from typing import Any

from stellwerk.core.digest import Digest
from stellwerk.tracking.model import Run
from stellwerk.workspace.calls import operation
from stellwerk.workspace.operations.kept import must_be_kept
from stellwerk.workspace.rooms import Rooms


@operation("steps.gather", "runs:write", changes=True)
def gather_run(
    rooms: Rooms,
    run: str,
    experiment: str,
    name: str,
    params: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
    inputs: dict[str, Digest] | None = None,
    environment: Digest | None = None,
) -> Run:
    """Begin the run that holds steps on several machines together; one that was begun already is the same."""
    must_be_kept(rooms, (inputs or {}).values())
    return rooms.runs.gather(
        run,
        experiment=experiment,
        name=name,
        params=params or {},
        tags=tags or {},
        inputs=inputs or {},
        environment=environment,
    )


@operation("steps.runs", "runs:read")
def runs_of_step(rooms: Rooms, step_key: Digest) -> tuple[Run, ...]:
    """Runs that computed a step key, or tried to, or found it known; newest first."""
    return tuple(rooms.runs.of_step(step_key))


@operation("steps.media", "runs:read")
def media_of_value(rooms: Rooms, digest: Digest) -> tuple[str, ...]:
    """How some bytes are read, as the steps said whose results they are."""
    return tuple(rooms.runs.media_of(digest))
