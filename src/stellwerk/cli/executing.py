"""`run` and what steers it: executing pipelines, going on with them, pausing and cancelling."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from stellwerk.cli import backfilling, parameters, scripts, sweeping, words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Table, dim, state, strong
from stellwerk.cli.progress import Steps
from stellwerk.cli.screen import Screen
from stellwerk.cli.session import Session
from stellwerk.core.digest import short
from stellwerk.core.errors import Conflict, Invalid

if TYPE_CHECKING:
    from stellwerk.pipelines.model import Plan
    from stellwerk.workspace.explaining import Reason
    from stellwerk.workspace.facade import Workspace
    from stellwerk.workspace.running import How, Ran

MODES = {
    "plans": (),
    "explain": (),
    "backfill": ("on", "rerun", "stay", "newest_first", "at_once", "again"),
    "sweep": ("on", "trials", "at_once"),
    "": ("on", "rerun", "stay"),
}
"""Options that do something else than execute a pipeline once, and those that mean something beside each."""
PAUSED = "goes on with `stellwerk resume {}`"


@click.command(cls=Command)
@parameters.pipeline
@click.option(
    "--on",
    default="in-process",
    show_default=True,
    metavar="EXECUTOR",
    help="Where steps run: in-process, pool, ray.",
)
@click.option("--rerun", multiple=True, metavar="STEP", help="Execute this step anew, known or not; may be repeated.")
@click.option("--stay", is_flag=True, help="Wait here for persons, events and times, instead of ending.")
@click.option("--plan", "plans", is_flag=True, help="Only show what would be executed.")
@click.option("--explain", metavar="STEP", help="Only say why a step is known or not; `all` for every step.")
@click.option(
    "--backfill", metavar="NAME=RANGE", help="A run for each value: month=2024-01..2024-12, n=1..8, x=a,b,c."
)
@click.option("--sweep", type=click.Path(path_type=Path), help="A sweep file of Weights & Biases: a trial for each.")
@click.option("--trials", type=click.IntRange(1, 100_000), help="With --sweep: how many at most.")
@click.option("--newest-first", is_flag=True, help="With --backfill: the last value comes first.")
@click.option(
    "--at-once", type=click.IntRange(1, 64), default=2, show_default=True, help="With --backfill or --sweep: runs."
)
@click.option("--again", is_flag=True, help="With --backfill: also what was done before.")
@click.pass_obj
def run(
    session: Session,
    /,
    pipeline: str,
    param: tuple[str, ...],
    file: Path | None,
    on: str,
    rerun: tuple[str, ...],
    stay: bool,
    plans: bool,
    explain: str | None,
    backfill: str | None,
    sweep: Path | None,
    trials: int | None,
    **many: Any,
) -> int | None:
    """Execute a pipeline.

    PIPELINE is needed where the file defines several. Steps whose code, parameters and inputs are known are not
    executed again. The model that the pipeline evaluates is registered under the pipeline's name. Where only a person,
    an event or a time can make it go on, the command ends, and `stellwerk resume` goes on later. PIPELINE may also be a
    file: a notebook (.ipynb or marimo) is a pipeline of one step, and a script that defines no pipeline runs recorded.

    \b
    Example:
      stellwerk run
      stellwerk run delay -p train_until=2013-04-01 -p depth=8
      stellwerk run delay --on pool:4
      stellwerk run notebook.ipynb -p depth=4
      stellwerk run delay --explain train
      stellwerk run delay --backfill train_until=2013-04-01..2013-04-30 --at-once 4
      stellwerk run --sweep sweep.yaml --at-once 2
    """
    from stellwerk.workspace.running import How

    _must_go_together(click.get_current_context())
    if pipeline.endswith(scripts.ENDINGS) and file is None:
        file, pipeline = Path(pipeline), ""
        if scripts.kind_of(file) == "script":
            return scripts.record(session, file, param)
    project = session.project()
    place = parameters.place(session, project, file)
    if sweep is not None:
        at_once = many["at_once"]
        return sweeping.sweep(session, sweep, pipeline, place, param, trials_at_most=trials, at_once=at_once, on=on)
    found = parameters.find(place, pipeline)
    if backfill is not None:
        return backfilling.backfill(session, found, place, param, backfill, on=on, rerun=rerun, stay=stay, **many)
    plan = parameters.plan(found, param)
    if plans:
        from stellwerk.pipelines.model import document
        from stellwerk.pipelines.rules import describe

        session.screen.show(document(plan), *describe(plan))
        return None
    if explain is not None:
        with session.workspace() as workspace:
            reasons = workspace.explain(plan, step="" if explain == "all" else explain)
        session.screen.show(reasons, *_reasons(reasons))
        return None
    call = {
        "pipeline": plan.name,
        "params": list(param),
        "file": _relative(place, session.home()),
        **({"project": project.name} if project is not None else {}),
    }
    how = How(on=on, again=rerun, stay=10**9 if stay else 0.0, call=call)
    with session.workspace() as workspace:
        ran = execute(workspace, plan, session.screen, how, place=session.place)
    _told(session, ran)
    if ran.model is not None and project is not None and ran.model.name in project.endpoints:
        session.screen.suggest(f"stellwerk prove {ran.model.name}")
    return None


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.option("--file", type=click.Path(path_type=Path), help="The pipeline file, where it is not where it was.")
@click.option("--on", default="in-process", show_default=True, metavar="EXECUTOR", help="Where steps run.")
@click.option("--stay", is_flag=True, help="Wait here for persons, events and times, instead of ending.")
@click.pass_obj
def resume(session: Session, run_id: str, file: Path | None, on: str, stay: bool) -> None:
    """Go on with an execution that waited, was paused, failed, or lost its engine.

    It goes on only under the code with which it began. What is done is not done again.

    \b
    Example:
      stellwerk resume 01kc4v3n0w5x8y2z6q7r9s1t3v
    """
    from stellwerk.workspace.running import How

    with session.workspace() as workspace:
        known = workspace.execution(run_id)
        call = known.call
        place = file or session.home() / str(call.get("file") or "pipeline.py")
        if not call.get("pipeline") and file is None:
            raise Invalid(
                f"execution {run_id} was begun by a script, which has to go on with it",
                code="needs-pipeline-file",
                hint="--file FILE, if a pipeline file holds it",
            )
        plan = parameters.plan(parameters.find(place, known.pipeline), call.get("params") or ())
        how = How(on=on, stay=10**9 if stay else 0.0)
        ran = execute(workspace, plan, session.screen, how, execution=run_id, place=session.place)
    _told(session, ran)


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.pass_obj
def pause(session: Session, run_id: str) -> None:
    """Let an execution start no further step; what runs is finished.

    \b
    Example:
      stellwerk pause 01kc4v3n0w5x8y2z6q7r9s1t3v
    """
    _ask(session, run_id, "pause", f"pauses soon, and {PAUSED.format(run_id)}")


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.pass_obj
def cancel(session: Session, run_id: str) -> None:
    """End an execution: what runs is stopped, what waits is given up.

    \b
    Example:
      stellwerk cancel 01kc4v3n0w5x8y2z6q7r9s1t3v
    """
    _ask(session, run_id, "cancel", "is about to be cancelled")


def _must_go_together(ctx: click.Context) -> None:
    """Refuse options that would mean nothing beside each other, rather than pass over them."""
    options = {param.name or "": param.opts[0] for param in ctx.command.params}
    sources = {name: ctx.get_parameter_source(name) for name in options}
    # What the environment sets for all commands is no slip; but it may say what is to be done.
    given = {name for name, source in sources.items() if source is ParameterSource.COMMANDLINE}
    meant = given | {name for name, source in sources.items() if source is ParameterSource.ENVIRONMENT}
    modes = [name for name in MODES if name in meant]
    if len(modes) > 1:
        raise Invalid(f"{options[modes[0]]} and {options[modes[1]]} do not go together", code="wrong-arguments")
    mode = modes[0] if modes else ""
    for name in sorted({name for names in MODES.values() for name in names} & given):
        if name not in MODES[mode]:
            fits = " or ".join(options.get(one, "a plain run") for one, names in MODES.items() if name in names)
            where = f"beside {options[mode]}" if mode else "here"
            raise Invalid(f"{options[name]} means nothing {where} (it goes with {fits})", code="wrong-arguments")


def _ask(session: Session, run_id: str, request: str, said: str) -> None:
    with session.workspace() as workspace:
        asked = workspace.steer(run_id, request)
    said = "is cancelled" if asked.status == "cancelled" else said
    session.screen.show(asked, (strong(asked.pipeline), f"  {asked.id}  {said}"))


def execute(
    workspace: Workspace,
    plan: Plan,
    screen: Screen,
    how: How | None = None,
    *,
    execution: str = "",
    place: str = "",
) -> Ran:
    """Execute a plan with its steps as lines of progress; the tracebacks of failed steps are shown."""
    steps: Steps | None = None
    try:
        with screen.progress() as lines, Steps(plan, lines, place) as steps:
            if execution:
                return workspace.resume(execution, plan, watch=steps, how=how)
            return workspace.run(plan, watch=steps, how=how)
    finally:
        for text in steps.tracebacks if steps else ():
            screen.say(dim(text))


def _told(session: Session, ran: Ran) -> None:
    tasks = ran.report.tasks
    session.screen.show(
        {
            "run": ran.run,
            "status": ran.status,
            "cached": ran.cached,
            "model": ran.model,
            "evaluation": ran.evaluation,
            "report": ran.report,
        },
        _summary(ran),
    )
    if ran.cached and tasks:
        session.screen.say(dim("nothing had to be executed: every step was known"))
    if any(task.status == "waiting" and task.because for task in tasks):  # a person is asked, by a case
        session.screen.suggest("stellwerk inbox")
    if ran.status in ("waiting", "paused"):
        session.screen.say(dim(f"it {PAUSED.format(ran.run.id)}"))
    if ran.status == "cancelled":  # whatever a script does next, it was not done for that
        raise Conflict(
            f"execution {ran.run.id} was cancelled",
            code="execution-cancelled",
            hint="`stellwerk run` begins it anew; what was done is known",
        )


def _summary(ran: Ran) -> Table:
    cached = ran.report.count("cached")
    took = (ran.report.ended - ran.report.started).total_seconds()
    status = ran.status if ran.status in ("waiting", "paused", "cancelled") else ran.run.status
    rows: list[tuple[Any, ...]] = [
        (dim("run"), (ran.run.id, "  ", state(status), dim(f"  {words.took(took)}, {cached} of "
         f"{words.count(len(ran.report.tasks), 'task')} cached"))),
    ]  # fmt: skip
    taken = [task for task in ran.report.tasks if task.result is not None and task.result.origin is not None]
    places = sorted({task.result.origin.workspace for task in taken if task.result and task.result.origin})
    rows += [(dim("taken"), f"{words.count(len(taken), 'result')} from {', '.join(places)}")] if taken else []
    waiting = [task for task in ran.report.tasks if task.status == "waiting"]
    rows += [(dim("waits for"), (task.task, dim(f"  {task.because}".rstrip()))) for task in waiting]
    if ran.model is not None:
        rows.append(
            (dim("model"), (strong(f"{ran.model.name}@{ran.model.version}"), "  ", dim(short(ran.model.bytes()))))
        )
    rows += [(dim(name), words.figure(number)) for name, number in sorted(ran.run.metrics.items())]
    return Table(rows=tuple(rows))


def _reasons(reasons: tuple[Reason, ...]) -> list[Block]:
    blocks: list[Block] = []
    for reason in reasons:
        key = dim(f"  {short(reason.key)}" if reason.key else "")
        blocks.append((strong(reason.task), "  ", state(reason.status), key))
        blocks += [f"  {line}" for line in reason.because]
    return blocks


def _relative(place: Path, home: Path) -> str:
    """The pipeline file as seen from the project; no path of this machine is kept."""
    try:
        return place.absolute().relative_to(home.absolute()).as_posix()
    except ValueError:
        return place.name
