"""Emptying the bin: runs that were deleted long enough ago are forgotten, and their bytes are garbage from then on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.tracking.logbook import KIND
from stellwerk.tracking.model import Run
from stellwerk.workspace.rooms import Rooms

PAGE = 500


def empty(rooms: Rooms, *, days: float) -> tuple[str, ...]:
    """Forget runs that have been in the bin for so many days; returns their ids.

    Runs of pipelines stay, and runs whose models are registered: what stands behind a model can be looked up for good.
    """
    if not 0 <= days <= 3650:
        raise Invalid(f"a time of {days} days in the bin (expected 0 to 3650)", code="invalid-grace")
    limit = rooms.clock.now() - timedelta(days=days)
    needed = {version.run_id for version in rooms.registry.list()}
    gone = []
    for run, since in list(_binned(rooms)):
        if since > limit or run.kind != KIND or run.id in needed:
            continue
        try:
            rooms.logbook.forget(run.id)
        except (Invalid, NotFound):  # restored, or forgotten, since it was found
            continue
        files = f"{run.experiment}/{run.id}/artifacts"
        if not run.location and rooms.artifacts.find(files) is not None:
            rooms.artifacts.delete(files)
        gone.append(run.id)
    return tuple(gone)


def _binned(rooms: Rooms) -> Iterator[tuple[Run, datetime]]:
    """Runs in the bin, and since when: by themselves, or with their experiment."""
    homes = {one.id: one for one in rooms.experiments.search(deleted=None, limit=1_000_000)}
    offset = 0
    while found := rooms.logbook.search(tuple(homes), deleted=True, limit=PAGE, offset=offset):
        for one in found:
            yield one.run, one.run.deleted_at or homes[one.run.experiment].changed_at
        offset += PAGE
