"""What is said of a run beside its numbers, by who recorded it."""

from __future__ import annotations

from stellwerk.core.digest import Digest
from stellwerk.tracking.model import DatasetUse, Run
from stellwerk.workspace.calls import operation
from stellwerk.workspace.operations.kept import must_be_kept
from stellwerk.workspace.rooms import Rooms


@operation("runs.describe", "runs:write", changes=True)
def describe_run(
    rooms: Rooms,
    run: str,
    environment: Digest | None = None,
    inputs: dict[str, Digest] | None = None,
    datasets: tuple[DatasetUse, ...] = (),
    error: str = "",
) -> Run:
    """Say in which environment a run runs, which bytes of the store and which other data it read, and why it failed."""
    must_be_kept(rooms, [*(inputs or {}).values(), *([environment] if environment else [])])
    rooms.logbook.use(run, datasets=datasets)
    return rooms.logbook.describe(run, environment=environment, inputs=inputs or {}, error=error)
