"""A run that was taken over and went on since: what is new of it is added to the run that is here."""

from __future__ import annotations

from collections.abc import Sequence

from stellwerk.core.errors import Conflict, Invalid
from stellwerk.tracking import rules
from stellwerk.tracking.adopting import ForeignRun, Kept
from stellwerk.tracking.logbook import place
from stellwerk.tracking.model import SYSTEM, Point, Run
from stellwerk.workspace.mlflow.tally import Tally
from stellwerk.workspace.rooms import Rooms

POINTS = 10_000
"""That are logged together."""
OWN_TAGS = "wandb."
"""How tags begin that are the source's own, and follow it; others stay as they are here."""


def take_rest(rooms: Rooms, tally: Tally, found: ForeignRun, files: Sequence[Kept]) -> None:
    """Add new points, parameters and files, and how the run stands; its tags, which say how far, come last.

    Broken off and done again, nothing is there twice.
    """
    identity, where = found.run.id, f"run {found.run.id}"
    here = rooms.logbook.get(identity).run
    try:
        fresh = _points(rooms, found)
        for start in range(0, len(fresh), POINTS):
            rooms.logbook.log(identity, points=fresh[start : start + POINTS])
        rooms.logbook.log(identity, params=_params(tally, found.run, here))
        kept = [one for one in files if _put(rooms, tally, one, where)]
        end = None if found.run.ended_at is None else rules.milliseconds(found.run.ended_at)
        rooms.logbook.update(identity, status=found.run.status, end=end)
        tags = found.run.tags.items()
        rooms.logbook.log(
            identity, tags=[(key, text) for key, text in tags if key not in here.tags or key.startswith(OWN_TAGS)]
        )
    except Invalid as refused:  # such as one that is in the bin
        tally.problem("run", where, identity, f"it went on, and its rest is not taken over: {refused.message}")
        return
    tally.made["continued runs"] += 1
    tally.made["points"] += len(fresh)
    tally.made["files"] += len(kept)
    tally.made["bytes"] += sum(one.size for one in kept)


def _points(rooms: Rooms, found: ForeignRun) -> list[Point]:
    """Those that are not here."""
    here = rooms.logbook.histories(found.run.id)
    fresh: list[Point] = []
    for key, series in found.points.items():
        there = here.get(key, ())
        if len(series.at) == 1 and there and place(there[-1])[3] == place(series.points(key)[0])[3]:
            continue  # what only a summary says has the time at which the log ends, and that goes on
        # Readings of the machine are counted over all logs, so that one that came later gives them other steps.
        counted = key.startswith(SYSTEM)
        known = {place(one._replace(step=0) if counted else one) for one in there}
        fresh += [one for one in series.points(key) if place(one._replace(step=0) if counted else one) not in known]
    return fresh


def _params(tally: Tally, found: Run, here: Run) -> list[tuple[str, str]]:
    fresh = []
    for key, value in found.params.items():
        if key not in here.params:
            fresh.append((key, value))
        elif rules.spelled(here.params[key]) != value:
            reason = f"it has become {value[:80]!r}, and a parameter never changes here"
            tally.problem("param", f"run {found.id}", key, reason)
    return fresh


def _put(rooms: Rooms, tally: Tally, file: Kept, where: str) -> bool:
    """Whether a file was not here."""
    known = rooms.artifacts.find(file.path)
    if known is not None and known.digest == file.digest:
        return False
    try:
        rooms.artifacts.log(file.path, file.digest)
    except Conflict as refused:
        tally.problem("artifact", where, file.path, refused.message)
        return False
    return True
