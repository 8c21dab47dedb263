"""Studies as they are kept, read: trials as tuning knows them, and what a page shows."""

from __future__ import annotations

from typing import Any

from stellwerk.core import canonical
from stellwerk.core.errors import StellwerkError
from stellwerk.governance.model import StudyView
from stellwerk.pipelines.tuning import rules
from stellwerk.pipelines.tuning.model import Setup, Trial
from stellwerk.tracking.model import PRUNED_TAG, Run, TrialLine
from stellwerk.workspace.rooms import Rooms

SHOWN = 1000
"""Trials of a page: the last ones, and the best."""


def view(rooms: Rooms, run: Run) -> StudyView | None:
    """What the page of a study's run shows."""
    study = rooms.trials.of_run(run.id)
    if study is None:
        return None
    setup = Setup.read(study.setup)
    trials = [trial_of(setup, line) for line in rooms.trials.lines(study.id)]
    said = _report(rooms, run)
    by, shares = (said["by"], said["shares"]) if said else (rules.OURS, rules.importance(trials, setup.space))
    best = rules.best(trials, setup.objectives[0])
    shown = trials[-SHOWN:]
    if best is not None and best not in shown:
        shown = [best, *shown[1:]]
    return StudyView(
        setup=study.setup, trials=tuple(shown), by=by, shares=dict(shares), more=len(trials) - len(shown)
    )


def _report(rooms: Rooms, run: Run) -> dict[str, Any]:
    """What was found to matter when the study ended."""
    try:
        said: dict[str, Any] = canonical.loads(rooms.blobs.get(run.outputs["report"]))["importance"]
    except (KeyError, StellwerkError):
        return {}
    return said


def trial_of(setup: Setup, line: TrialLine) -> Trial:
    """A trial as tuning knows it, from what is kept of it."""
    run = line.run
    names = [one.metric for one in setup.objectives]
    measured = tuple(run.metrics[name] for name in names if name in run.metrics)
    state: Any = "running"
    if run.status == "failed":
        state = "failed"
    elif run.status == "finished":
        state = "pruned" if PRUNED_TAG in run.tags else "done"
    return Trial(
        number=line.number,
        epoch=line.epoch,
        run=run.id,
        params=setup.searched(run.params),
        state=state,
        started_at=run.started_at,
        ended_at=run.ended_at,
        values=measured if state == "done" else (),
        reports=line.reports,
        seconds=run.cost.wall_seconds,
        cached=run.cached,
        held=line.held,
        error=run.error,
        outputs=dict(run.outputs),
    )
