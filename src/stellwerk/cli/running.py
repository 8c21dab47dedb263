"""`run` and `runs`: executing pipelines, and what was executed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from stellwerk.cli import trials, words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Line, Span, Table, dim, state, strong
from stellwerk.cli.session import Session

if TYPE_CHECKING:
    from stellwerk.governance.model import RunLine, RunPage, WaitLine
    from stellwerk.tracking.model import Run
    from stellwerk.tracking.tables import ExperimentLine, Standing

LOG_LINES = 12
"""Of the end of a log among the files of a run."""
_GOES_ON = {"waiting": "waits", "paused": "is paused"}
MEASURED = 3
"""Metrics of a run in a list."""


@click.command(cls=Command)
@click.argument("run_id", metavar="[RUN]", required=False, default="")
@click.option(
    "--where", default="", metavar="CONDITIONS", help='Only runs that meet them, such as "metrics.auc > 0.9".'
)
@click.option("--order", multiple=True, metavar="NAME [DESC]", help='Such as "metrics.auc DESC"; may be repeated.')
@click.option("--experiment", help="Only runs of this experiment (a pipeline's name).")
@click.option("--steps", is_flag=True, help="The steps of pipelines as well.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many at most.")
@click.option(
    "--send", "sends", is_flag=True, help="First send what runs logged here and the workspace does not have."
)
@click.pass_obj
def runs(
    session: Session,
    run_id: str,
    where: str,
    order: tuple[str, ...],
    experiment: str | None,
    steps: bool,
    limit: int,
    sends: bool,
) -> None:
    """List what was executed, newest first, or show one run.

    With RUN: what it waits for, its parameters, inputs, outputs, steps, error and log. Conditions are those of MLflow's
    search: metrics, params, tags and attributes (run_name, status, kind, user_id, start_time and end_time in
    milliseconds), joined by AND.

    \b
    Example:
      stellwerk runs --experiment delay --limit 5
      stellwerk runs --where "metrics.auc > 0.7 AND params.depth = '6'" --order "metrics.auc DESC"
      stellwerk runs --where "status = 'waiting'"
      stellwerk runs 01kc4v3n0w5x8y2z6q7r9s1t3v
    """
    if sends:
        _send(session)
    with session.workspace() as workspace:
        if run_id:
            page = workspace.run_page(run_id)
            session.screen.show(page, *_page(page))
            return
        asked = [where] if where.strip() else []
        if not steps:
            asked.append("parent IS NULL")  # steps are runs too
        shown = workspace.runs(" AND ".join(asked), order=order, experiment=experiment, limit=limit)
    session.screen.show(shown, _runs(shown) if shown else dim("no such run" if where or experiment else "no run yet"))


def _send(session: Session) -> None:
    from stellwerk.workspace import telling

    sent = telling.send(session.place or ".")
    for run, records in sent.items():
        session.screen.say(f"sent {words.count(records, 'record')} of run ", strong(run))
    if not sent:
        session.screen.say(dim("nothing waits to be sent"))


@click.command(cls=Command)
@click.pass_obj
def experiments(session: Session) -> None:
    """List experiments, the latest first.

    What pipelines ran under is an experiment of their name; scripts and other clients name their own.

    \b
    Example:
      stellwerk experiments
    """
    with session.workspace() as workspace:
        found = workspace.experiments()
    session.screen.show(found, _experiments(found) if found else dim("no experiment yet"))


def _experiments(found: tuple[ExperimentLine, ...]) -> Table:
    return Table(
        header=("experiment", "runs", "latest run", "id"),
        right=(1,),
        firm=(1, 2),
        spare=(3,),
        rows=tuple((strong(one.name), f"{one.runs:,}", words.moment(one.latest), dim(one.id)) for one in found),
    )


def _runs(found: tuple[Run, ...]) -> Table:
    return Table(
        header=("run", "name", "kind", "status", "started", "took", "metrics"),
        right=(5,),
        firm=(0, 3, 4),
        spare=(2, 6, 5),
        rows=tuple(
            (
                dim(one.id),
                strong(one.name) if one.parent is None else f"  {one.name}",
                one.kind,
                state("cached" if one.cached else one.status),
                words.moment(one.started_at),
                words.took(_seconds(one)),
                _measured(one.metrics) or _beginning(one.error),
            )
            for one in found
        ),
    )


def _measured(metrics: Mapping[str, float]) -> str:
    """The first of what was measured of the model; what the machine did is on the run's own page."""
    from stellwerk.tracking.model import SYSTEM

    shown = {key: value for key, value in metrics.items() if not key.startswith(SYSTEM)}
    more = len(shown) - MEASURED
    return words.pairs(dict(list(shown.items())[:MEASURED])) + (f"  and {more} more" if more > 0 else "")


def _beginning(error: str) -> str:
    """How an error begins."""
    first = error.partition("\n")[0]
    return first if len(first) <= 60 else first[:59] + "…"


def _seconds(run: Run) -> float:
    from stellwerk.tracking.tables import lasted

    return lasted(run) or 0.0


def _page(page: RunPage) -> list[Block]:
    from stellwerk.tracking.model import SYSTEM

    run = page.run
    facts: list[tuple[Any, ...]] = [
        (dim("run"), (strong(run.name), f"  {run.kind}  ", state("cached" if run.cached else run.status))),
        (dim("experiment"), page.experiment),
        (dim("started"), _started(page)),
    ]
    facts += [(dim("note"), page.note)] if page.note else []
    facts += [(dim(what), said) for what, said in page.origin]
    facts += [(dim("waits for"), _wait(one)) for one in page.waits]
    if page.parent is not None:
        facts.append((dim("part of"), f"{page.parent.name}  {page.parent.id}"))
    facts += [(dim("parameter"), f"{name} = {text}") for name, text in page.params]
    facts += [(dim("metric"), _standing(one)) for one in page.standing if not one.key.startswith(SYSTEM)]
    facts += [(dim("machine"), _standing(one)) for one in page.standing if one.key.startswith(SYSTEM)]
    if not page.standing:
        facts += [(dim("metric"), f"{name} = {words.figure(number)}") for name, number in run.metrics]
    facts += [(dim("data"), f"{one.name}  {one.digest}") for one in page.datasets]
    facts += [(dim("file"), (f"{one.path}  ", dim(one.digest))) for one in page.files]
    facts += [(dim("model"), (f"{one.name}@{one.version}  ", dim(one.digest))) for one in page.models]
    facts += [(dim("logged model"), (f"{one.name}  ", dim(one.id))) for one in page.logged]
    for label, links in (("input", page.inputs), ("output", page.outputs)):
        facts += [(dim(label), (f"{name}  ", dim(digest))) for name, digest in links]
    for label, digest in (("code", page.code), ("environment", page.environment), ("step key", page.step_key)):
        facts += [(dim(label), dim(digest))] if digest else []
    blocks: list[Block] = [Table(rows=tuple(facts))]
    if page.study is not None:
        blocks += ["", *trials.blocks(page.study)]
    elif page.children:
        blocks += ["", _children(page.children)]
    if page.error:
        blocks += ["", (strong("error"),), page.error]
    for log in page.logs:
        lines = log.text.splitlines()
        part = dim(f"  the last {LOG_LINES} lines") if log.skipped or len(lines) > LOG_LINES else ""
        blocks += ["", (strong(log.path), part), *lines[-LOG_LINES:]]
    if page.log:
        blocks += ["", (strong("log"),), page.log.rstrip("\n")]
    return blocks


def _started(page: RunPage) -> str:
    run = page.run
    took = f"took {words.took(run.seconds)}" if page.ended_at or run.seconds else _GOES_ON.get(run.status, "goes on")
    return f"{words.moment(run.started_at)} by {page.started_by}, {took}"


def _wait(wait: WaitLine) -> Line:
    """What a step waits for, and what is to be typed about it."""
    what: dict[str, str] = {
        "person": f"{wait.text}  case {wait.case}, asked of {wait.asked}",
        "time": "a time",
        "event": wait.text,
    }
    until = f"{', ' if wait.kind == 'person' else '  '}until {words.moment(wait.until)}" if wait.until else ""
    over = Span(f"  it is over: {wait.over}", "good") if wait.over else ""
    return (strong(wait.task), f"  {what[wait.kind]}{until}", over)


def _standing(metric: Standing) -> str:
    """How a metric stands, with its bounds where it has moved."""
    text = f"{metric.key} = {words.figure(metric.value)}"
    if metric.low is None or metric.low == metric.high:
        return text
    return f"{text}  at step {metric.step:,}, from {words.figure(metric.low)} to {words.figure(metric.high)}"


def _children(children: tuple[RunLine, ...]) -> Table:
    return Table(
        header=("step", "kind", "status", "took", "metrics", "run"),
        right=(3,),
        firm=(2, 5),
        spare=(1, 4),
        rows=tuple(
            (
                child.name,
                child.kind,
                state("cached" if child.cached else child.status),
                words.took(child.seconds),
                words.pairs(child.metrics),
                dim(child.id),
            )
            for child in children
        ),
    )
