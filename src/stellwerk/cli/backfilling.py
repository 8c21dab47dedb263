"""`run --backfill`: one run of a pipeline for each value of a parameter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stellwerk.cli import exits, parameters, words
from stellwerk.cli.output import Line, Span, Table, dim, state, strong
from stellwerk.cli.session import Session
from stellwerk.core.errors import Invalid

if TYPE_CHECKING:
    from stellwerk.pipelines.authoring import Pipeline
    from stellwerk.workspace.backfilling import Backfilled, Partition, State

SHOWN = 200
"""Partitions of the summary, beside which only those are shown that failed."""
_ORDER: tuple[State, ...] = ("finished", "skipped", "waiting", "paused", "failed", "interrupted", "queued")


def backfill(
    session: Session,
    pipeline: Pipeline,
    file: Path,
    given: tuple[str, ...],
    text: str,
    *,
    on: str,
    rerun: tuple[str, ...],
    stay: bool,
    newest_first: bool,
    at_once: int,
    again: bool,
) -> int:
    """Run a pipeline for each partition, show them as a table, and answer the exit code."""
    from stellwerk.pipelines import partitions
    from stellwerk.workspace import running
    from stellwerk.workspace.backfilling import Backfill
    from stellwerk.workspace.running import How

    wanted = partitions.parse(text, newest_first=newest_first)
    if any(item.partition("=")[0] == wanted.param for item in given):
        raise Invalid(f"parameter {wanted.param!r} is given twice", code="usage", hint="leave out -p for it")
    # Each is planned before any is run: no slip of the keyboard is found in the last one.
    plans = {value: parameters.plan(pipeline, (*given, f"{wanted.param}={value}")) for value in wanted.values}
    for plan in plans.values():
        running.check(plan, How(on=on, again=rerun))
    with session.workspace() as workspace:
        done = Backfill(
            caller=workspace._caller,
            place=session.place if session.remote else str(session.layout().root),
            file=file.resolve(),
            partitions=wanted,
            plans=plans,
            given=given,
            how=("--on", on, *(["--stay"] if stay else ()), *(f"--rerun={name}" for name in rerun)),
            at_once=at_once,
            again=again or bool(rerun),
            watch=lambda one: _watch(session, wanted.param, one),
        ).run()
    session.screen.show(done, *_summary(wanted.param, done))
    if done.count("failed", "interrupted"):
        session.screen.suggest("the same command again, for what failed")
    if done.count("waiting", "paused"):
        session.screen.suggest("stellwerk inbox")
        session.screen.say(dim("`stellwerk triggers run` goes on with what waits, once its waits are over"))
    return exits.STOP if done.run.status != "finished" else exits.DONE


def _watch(session: Session, param: str, one: Partition) -> None:
    if one.status != "queued":
        why = f"  {one.problem.splitlines()[0]}" if one.problem else ""
        session.screen.say(strong(f"{param}={one.value}"), "  ", state(one.status), dim(f"  {one.run}"), why)


def _summary(param: str, done: Backfilled) -> list[Line | Table]:
    counts = [(name, done.count(name)) for name in _ORDER]
    facts = Table(
        rows=(
            (dim("backfill"), (done.run.id, "  ", state(done.run.status))),
            (dim("partitions"), ", ".join(f"{count:,} {name}" for name, count in counts if count)),
        )
    )
    shown = [one for one in done.partitions if len(done.partitions) <= SHOWN or one.status == "failed"]
    if not shown:
        return [facts]
    rows = tuple(
        (
            strong(one.value),
            state(one.status) if one.status != "skipped" else Span("done before", "dim"),
            dim(one.run or "–"),
            one.problem.partition("\n")[0],
        )
        for one in shown
    )
    more = len(done.partitions) - len(shown)
    parts: list[Line | Table] = [facts, "", Table(header=(param, "status", "run", ""), rows=rows, firm=(0, 1, 2))]
    return [*parts, dim(f"and {words.count(more, 'partition')} more")] if more else parts
