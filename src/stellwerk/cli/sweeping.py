"""`run --sweep`: a sweep file of Weights & Biases, with a pipeline or a program for each trial."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stellwerk.cli import parameters, trials, words
from stellwerk.cli.output import dim, strong
from stellwerk.cli.session import Session
from stellwerk.core.errors import Invalid

if TYPE_CHECKING:
    from stellwerk.pipelines.authoring import Pipeline
    from stellwerk.pipelines.model import Plan
    from stellwerk.pipelines.tuning.model import Budget, Trial
    from stellwerk.pipelines.tuning.sweeps import Sweep
    from stellwerk.workspace.facade import Workspace
    from stellwerk.workspace.running import Ran
    from stellwerk.workspace.tuning import Found


def sweep(
    session: Session,
    file: Path,
    pipeline: str,
    place: Path,
    given: tuple[str, ...],
    *,
    trials_at_most: int | None,
    at_once: int,
    on: str,
) -> int | None:
    """Run the trials of a sweep; the program of the file, unless it has none or a pipeline was named."""
    from stellwerk.workspace import sweeping

    asked = sweeping.load(file)
    limit = sweeping.budget(asked, trials_at_most)
    for note in asked.notes:
        session.screen.say(dim(note))
    with session.workspace() as workspace:
        if pipeline or not asked.program:
            if asked.pruning is not None:
                raise Invalid(
                    "trials of a pipeline cannot be ended early (early_terminate)",
                    code="sweep-not-supported",
                    hint="let the file name a program, or use sw.tune with a step that reports",
                )
            planned = parameters.find(place, pipeline)
            found = _pipelines(
                session, workspace, asked, planned, parameters.read(planned, given), limit=limit, on=on
            )
        else:
            if given:
                raise Invalid("-p is for pipelines; the sweep runs a program", code="wrong-arguments")
            found = sweeping.programs(
                workspace._caller, asked, file.resolve().parent, place=_place(session), limit=limit, workers=at_once,
                watch=_watch(session),
            )  # fmt: skip
        page = workspace.run_page(found.run)
    session.screen.show(
        {"run": found.run, "best": found.report["best"], "report": found.report},
        (strong(page.run.name), f"  {words.count(len(found.trials), 'trial')}  ", dim(f"run {found.run}")),
        "",
        *(trials.blocks(page.study) if page.study is not None else ()),
    )
    return None


def _pipelines(
    session: Session, workspace: Workspace, asked: Sweep, pipeline: Pipeline, fixed: dict[str, Any], *, limit: Budget,
    on: str,
) -> Found:  # fmt: skip
    """A run of the pipeline for each trial."""
    from stellwerk.workspace import sweeping
    from stellwerk.workspace.running import How

    def plan(params: Mapping[str, Any]) -> Plan:
        return pipeline.plan(**{**fixed, **params})

    def run(made: Plan) -> Ran:
        return workspace.run(made, how=How(on=on))

    code = {"pipeline": pipeline.name, "given": fixed, "code": _code(plan, asked.space)}
    return sweeping.pipelines(
        workspace._caller, asked, pipeline.name, plan=plan, run=run, code=code, limit=limit, watch=_watch(session)
    )


def _place(session: Session) -> str:
    return session.place if session.remote else str(session.layout().root)


def _code(plan: Any, space: Mapping[str, Any]) -> dict[str, str]:
    """The code of every step of the pipeline, as it is planned for the first point."""
    from stellwerk.pipelines.service import closures
    from stellwerk.pipelines.tuning.space import drawn
    from stellwerk.pipelines.tuning.sweeps import nested

    first = plan(nested(drawn(space, seed=0, number=0)))
    return {name: found.digest for name, found in sorted(closures(first).items())}


def _watch(session: Session) -> Any:
    def say(trial: Trial) -> None:
        came = ", ".join(words.figure(value) for value in trial.values) if trial.state == "done" else trial.state
        chosen = "  ".join(f"{name} {value}" for name, value in trial.params.items())
        why = f"  {trial.error}" if trial.error else ""
        session.screen.say(dim(f"#{trial.number}  {chosen}: "), f"{came}{why}")

    return say
