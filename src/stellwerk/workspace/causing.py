"""What a run was begun for: a firing of a trigger, or a build of a CI system. Read from the environment, kept as tags."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import TYPE_CHECKING

from stellwerk.core.errors import NotFound
from stellwerk.triggers.tags import CAUSE_TAG, TAG, firing_of
from stellwerk.workspace.revision import BRANCH, BUILD, COMMIT, REQUEST

if TYPE_CHECKING:
    from stellwerk.tracking.model import Run
    from stellwerk.triggers.model import Firing
    from stellwerk.workspace.rooms import Rooms

FIRING, CAUSE = "STELLWERK_FIRING", "STELLWERK_CAUSE"
"""Variables that a runner of triggers sets: the claim, which the first run takes, and the firing, which stays."""
GOES_ON = "STELLWERK_GOES_ON"
"""Variable that a runner sets where it continues an execution: what has come that this waited for."""
WITHIN = "STELLWERK_WITHIN"
"""Variable that a backfill sets: its own run and the partition, with a space between; the first run takes it. What
records a process sets it to a run alone, which is for recorded processes that this one starts."""


def went_on(environment: MutableMapping[str, str] | None = None) -> str:
    """What made an execution go on that a runner continues, for the ledger; it is taken out of the environment."""
    source = os.environ if environment is None else environment
    return source.pop(GOES_ON, "")


def place(pipeline: str, environment: MutableMapping[str, str] | None = None) -> dict[str, str]:
    """Name and parent of a pipeline's run that begins now: within a backfill it is one of many."""
    source = os.environ if environment is None else environment
    parent, _, partition = source.get(WITHIN, "").partition(" ")
    if not partition:
        return {"name": pipeline}
    del source[WITHIN]
    return {"name": name_within(pipeline, partition), "parent": parent}


def name_within(pipeline: str, partition: str) -> str:
    """What the run of a partition is called."""
    return f"{pipeline} {partition}"[:250]


def tags(environment: MutableMapping[str, str] | None = None) -> dict[str, str]:
    """The tags of a pipeline's run that begins now. A claim begins one run: it is taken out of the environment."""
    source = os.environ if environment is None else environment
    claim = source.pop(FIRING, "")
    if claim:
        return {TAG: claim}
    return {CAUSE_TAG: source[CAUSE]} if source.get(CAUSE) else {}


def firing(rooms: Rooms, run: Run) -> Firing | None:
    """The firing that a run was begun for, if any."""
    named = firing_of(run.tags)
    try:
        return rooms.triggers.firing(named) if named else None
    except NotFound:
        return None


def told(rooms: Rooms, run: Run) -> tuple[tuple[str, str], ...]:
    """Why there is a run, as facts for people; nothing where somebody typed a command."""
    found = firing(rooms, run)
    if found is not None:
        more = f", and {found.others} more" if found.others else ""
        return (("caused by", f"trigger {found.name}: {found.cause.text}{more}"),)
    if run.tags.get(BUILD):
        about = ", ".join(
            f"{what} {run.tags[tag]}"
            for what, tag in (("commit", COMMIT), ("branch", BRANCH), ("merge request", REQUEST))
            if run.tags.get(tag)
        )
        return (("caused by", f"the build {run.tags[BUILD]}" + (f" of {about}" if about else "")),)
    return ()
