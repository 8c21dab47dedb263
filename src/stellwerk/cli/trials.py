"""Trials of a search in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stellwerk.cli import words
from stellwerk.cli.output import Block, Span, Table, dim, state, strong

if TYPE_CHECKING:
    from stellwerk.governance.model import StudyView
    from stellwerk.pipelines.tuning.model import Trial

SHOWN = 40
"""Trials of a page: the best first, then what is still running and what failed."""


def blocks(study: StudyView) -> list[Block]:
    """The trials of a study, the best first, and what matters."""
    from stellwerk.pipelines.tuning.model import Setup

    setup = Setup.read(study.setup)
    goal = setup.objectives[0].goal
    names = [one.metric for one in setup.objectives]

    def rank(trial: Trial) -> tuple[int, float, int]:
        value = trial.values[0] if trial.values else 0.0
        order = ("done", "running", "pruned", "failed").index(trial.state)
        return order, value if goal == "minimize" else -value, trial.number

    ordered = sorted(study.trials, key=rank)
    table = Table(
        header=("trial", *names, "ended", "took", "parameters", "run"),
        right=(0, *range(1, len(names) + 1), len(names) + 2),
        firm=(0, 1, len(names) + 1),
        spare=(len(names) + 4, len(names) + 2),
        rows=tuple(_row(trial, names) for trial in ordered[:SHOWN]),
    )
    shown: list[Block] = [table]
    left = len(study.trials) + study.more - min(len(ordered), SHOWN)
    if left:
        shown.append(dim(f"and {words.count(left, 'more trial')}: stellwerk runs --json RUN"))
    if any(study.shares.values()):
        ranked = sorted(study.shares.items(), key=lambda item: (-item[1], item[0]))
        said = ", ".join(f"{name} {share:.0%}" for name, share in ranked[:8])
        shown += ["", (dim("what matters  "), f"{said}  ", dim(f"by {study.by}"))]
    return shown


def _row(trial: Trial, names: list[str]) -> tuple[Any, ...]:
    values: list[Any] = [words.figure(value) for value in trial.values] or [dim("–")] * len(names)
    chosen = "  ".join(f"{name} {_said(value)}" for name, value in trial.params.items())
    status = state("cached" if trial.cached else _STATUS[trial.state])
    ended = status if trial.state != "pruned" else Span("pruned", "warn")
    return (strong(str(trial.number)), *values, ended, words.took(trial.seconds), chosen, dim(trial.run))


_STATUS = {"done": "finished", "running": "running", "failed": "failed", "pruned": "finished"}


def _said(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
