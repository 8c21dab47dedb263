"""Runs that tell of themselves: what a client sends of them. Each may be sent again; what is there once stays once."""

from __future__ import annotations

import base64

from stellwerk.core.errors import Conflict, Corrupt, Invalid
from stellwerk.tracking import rules, segments
from stellwerk.tracking.model import Run, Status
from stellwerk.workspace.calls import operation
from stellwerk.workspace.rooms import Rooms

MOST_POINTS = 100_000
"""Of one request."""


@operation("runs.begin", "runs:write", changes=True)
def begin_run(
    rooms: Rooms,
    run: str,
    experiment: str,
    name: str = "",
    user: str = "",
    start: int | None = None,
    tags: dict[str, str] | None = None,
) -> Run:
    """Begin a run under an id that the caller made; one that was begun already is the same."""
    rules.check_run_id(run)
    try:
        home = rooms.experiments.ensure(experiment)
        begun = rooms.logbook.create(
            home.id, identity=run, name=name, user=user, start=start, tags=tuple((tags or {}).items())
        )
    except Conflict:
        begun = rooms.logbook.get(run)
    return begun.run


@operation("runs.log", "runs:write", changes=True)
def log_run(rooms: Rooms, run: str, params: dict[str, str] | None = None, tags: dict[str, str] | None = None) -> None:
    """Keep parameters and tags of a run."""
    said, labels = tuple((params or {}).items()), tuple((tags or {}).items())
    rules.check_params(said)
    rules.check_tags(labels)
    rooms.logbook.log(run, params=said, tags=labels)


@operation("runs.points", "runs:write", changes=True)
def log_points(rooms: Rooms, run: str, segment: str) -> int:
    """Keep points of a run's metrics: a segment (docs/formats/points.md) as base64. Returns how many it holds."""
    try:
        data = base64.b64decode(segment, validate=True)
    except ValueError as cause:
        raise Invalid(f"the segment must be base64: {cause}", code="invalid-arguments") from cause
    try:
        if sum(segments.counts(data).values()) > MOST_POINTS:
            raise Invalid(f"a segment may hold at most {MOST_POINTS:,} points here", code="too-many")
        points = segments.points(data)
    except Corrupt as cause:
        raise Invalid("this is no segment of points", code="invalid-segment") from cause
    rules.check_points(points)
    rooms.logbook.log(run, points=points)
    return len(points)


@operation("runs.end", "runs:write", changes=True)
def end_run(rooms: Rooms, run: str, status: Status = "finished", end: int | None = None) -> Run:
    """End a run that was begun by `runs.begin`; its points are sealed into the ledger."""
    return rooms.logbook.update(run, status=status, end=end).run
