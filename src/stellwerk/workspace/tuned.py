"""What is said of a study: its report, and its pictures as files of its run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stellwerk.core import canonical
from stellwerk.pipelines.adapters import optuna_search
from stellwerk.pipelines.tuning import rules
from stellwerk.pipelines.tuning.model import Setup, Trial
from stellwerk.pipelines.tuning.plots import Picture, pictures, svg
from stellwerk.tracking.model import Run
from stellwerk.tracking.rules import artifacts_of
from stellwerk.workspace import operations as ops
from stellwerk.workspace.filing import HERE
from stellwerk.workspace.ports import Caller

FANOVA = "fANOVA"
LEADING = 5
"""Trials that a report names besides the best."""
LEAST_FOR_FANOVA = 10
MOST_FOR_FANOVA = 1000


def report(setup: Setup, trials: Sequence[Trial], best: Trial) -> dict[str, Any]:
    """What the search came to, as JSON; without times and ids of runs, so that equal searches say the same."""
    count = {state: sum(trial.state == state for trial in trials) for state in ("done", "pruned", "failed")}
    method, shares = importance(setup, trials)
    objectives = [{"metric": one.metric, "goal": one.goal} for one in setup.objectives]
    said: dict[str, Any] = {
        "format": "stellwerk-tuning/1",
        "search": setup.search,
        "seed": setup.seed,
        "objectives": objectives,
        "trials": {"all": len(trials), **count, "cached": sum(trial.cached for trial in trials)},
        "best": {"number": best.number, "params": best.params, "values": list(best.values)},
        "leading": [
            {"number": one.number, "params": one.params, "values": list(one.values)}
            for one in rules.leading(trials, setup.objectives[0], LEADING)
        ],
        "importance": {"by": method, "shares": {name: round(share, 6) for name, share in shares.items()}},
        "note": "the best of many is optimistic about itself: judge it on data that no trial has seen",
    }
    if len(setup.objectives) > 1:
        front = rules.front(trials, setup.objectives)
        said["front"] = [{"number": one.number, "params": one.params, "values": list(one.values)} for one in front]
    return said


def importance(setup: Setup, trials: Sequence[Trial]) -> tuple[str, dict[str, float]]:
    """How much each parameter matters, and by which measure: fANOVA where it can be had, else our own."""
    ended = rules.done(trials)
    if LEAST_FOR_FANOVA <= len(ended) <= MOST_FOR_FANOVA and len(setup.space) > 1:
        found = optuna_search.importance(setup, ended)
        named = {path.rpartition("/")[2]: share for path, share in found.items()}
        # It knows only parameters that every trial has.
        if named and len(named) == len(rules.named(setup.space)):
            return FANOVA, dict(sorted(named.items(), key=lambda item: (-item[1], item[0])))
    return rules.OURS, rules.importance(ended, setup.space)


def drawn(setup: Setup, trials: Sequence[Trial], said: dict[str, Any]) -> tuple[Picture, ...]:
    """The pictures of a study that has a report."""
    return pictures(setup, trials, said["importance"]["shares"], said["importance"]["by"])


def keep(caller: Caller, run: Run, setup: Setup, trials: Sequence[Trial], said: dict[str, Any]) -> None:
    """Put the report, with times and runs, and the pictures among the files of the study's run."""
    folder = artifacts_of(run).removeprefix(HERE)
    by_number = {trial.number: trial for trial in trials}
    best = by_number[said["best"]["number"]]
    whole = {**said, "seconds": round(sum(trial.seconds for trial in trials), 3), "run": best.run}
    files = {"tuning/report.json": (canonical.dumps(whole), "application/json")}
    for one in drawn(setup, trials, said):
        files[f"tuning/{one.name}.svg"] = (svg(one).encode(), "image/svg+xml")
    for path, (data, media) in files.items():
        digest = caller.blobs.put(data)
        caller.call(ops.log_artifact, {"path": f"{folder}/{path}", "digest": digest, "media": media})
