"""`compare`: runs side by side, or two model versions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Line, Span, Table, dim, strong
from stellwerk.cli.session import Session
from stellwerk.core.errors import Invalid, NotFound, StellwerkError

if TYPE_CHECKING:
    from stellwerk.governance.comparing import Comparison
    from stellwerk.tracking.tables import Compared
    from stellwerk.web.ui.comparing import Difference

_RUN = re.compile(r"[0-9a-hjkmnp-tv-z]{26}|[0-9a-f]{32}")
"""How ids of runs look: those that are given here, and those that were taken over."""
SILENT = ("no-interface", "no-bytes")
"""Why two versions cannot be compared by their files: those say nothing of inputs, or are elsewhere."""
BESIDE = 6
"""So many runs stand beside each other; of more it is told how they are spread."""


@click.command(cls=Command)
@click.argument("things", nargs=-1, required=True, metavar="FIRST SECOND...")
@click.option("--all", "every", is_flag=True, help="What is equal as well.")
@click.pass_obj
def compare(session: Session, things: tuple[str, ...], every: bool) -> None:
    """Show where runs or two model versions differ, and what they share.

    Runs are named by their ids: what differs of their parameters, metrics, code, packages, data and tags. Model versions
    are name, name@3, name@alias or a digest; their numbers are paired only where a proof judged both on the same cases.

    \b
    Example:
      stellwerk compare delay@1 delay@2
      stellwerk compare 01kc4v3n0w5x8y2z6q7r9s1t3v 01kc4v3n0w5x8y2z6q7r9s1t3w
    """
    of_runs = [_RUN.fullmatch(one) is not None for one in things]
    if all(of_runs) and len(things) > 1:
        _compare_runs(session, things, every=every)
    elif not any(of_runs) and len(things) == 2:
        _compare_models(session, *things, every=every)
    else:
        raise Invalid(
            "two model versions, or two and more runs, are compared",
            code="usage",
            hint="`stellwerk runs` lists the ids of runs, `stellwerk models` the versions of models",
        )


def _compare_models(session: Session, first: str, second: str, *, every: bool) -> None:
    with session.workspace() as workspace:
        try:
            found = workspace.models.compare(first, second)
        except StellwerkError as error:
            runs = tuple(workspace.models.get(one).run_id for one in (first, second))
            if error.code not in SILENT or not all(runs) or len(set(runs)) < 2:
                raise
        else:
            session.screen.show(found, *_of_models(found, every=every))
            return
    session.screen.say(dim("their files say nothing that could be compared; these are the runs behind them"))
    _compare_runs(session, runs, every=every)


def _of_models(found: Comparison, *, every: bool) -> list[Block]:
    equal = sum(row.equal for row in found.differences)
    rows = [row for row in found.differences if every or not row.equal]
    blocks: list[Block] = []
    if rows:
        tone = {True: "dim", False: "plain"}
        blocks.append(
            Table(
                header=("", found.first, found.second),
                rows=tuple(
                    (dim(row.what), *(Span(text, tone[row.equal]) for text in (row.first, row.second)))  # type: ignore[arg-type]
                    for row in rows
                ),
            )
        )
    if not every:
        blocks += [""] if rows else ["no difference"]
        blocks += [dim(f"{words.count(equal, 'fact')} equal (--all shows them)")]
    if found.paired:
        blocks += ["", strong("Paired on the same cases"), *(f"  {line}" for line in found.paired)]
    return blocks


def _compare_runs(session: Session, runs: tuple[str, ...], *, every: bool) -> None:
    with session.workspace() as workspace:
        found = workspace.compare_runs(*runs)
    missing = [one for one in dict.fromkeys(runs) if one not in {run.id for run in found}]
    if missing:
        raise NotFound(f"no run {', '.join(missing[:3])}", hint="`stellwerk runs` lists them")
    session.screen.show(found, *_of_runs(found, every=every))


def _of_runs(found: tuple[Compared, ...], *, every: bool) -> list[Block]:
    """What differs, by kind, exactly as the page of a comparison says it."""
    from stellwerk.web.ui import comparing

    groups = comparing.differences(found, comparing.quantities(found), everything=every, beside=BESIDE)
    blocks: list[Block] = [_head(found), ""]
    equal = sum(group.hidden for group in groups)
    for group in groups:
        if group.lines:
            blocks += [strong(group.title), _table(group.lines, len(found)), ""]
    if all(not group.lines for group in groups):
        blocks += ["no difference", ""]
    if not every:
        blocks.append(dim(f"{words.count(equal, 'fact')} equal (--all shows them)"))
    return blocks


def _head(found: tuple[Compared, ...]) -> Table:
    return Table(
        header=("", "run", "name", "experiment", "status", "started"),
        firm=(1, 4),
        spare=(5, 3),
        rows=tuple(
            (strong(str(number)), dim(run.id), run.name, run.experiment, run.status, words.moment(run.started_at))
            for number, run in enumerate(found, 1)
        ),
    )


def _table(lines: tuple[Difference, ...], runs: int) -> Table:
    if not lines[0].cells:
        rows: list[tuple[Line, ...]] = [
            (dim(line.label), ", ".join(f"{what} {said}" for what, said in line.spread)) for line in lines
        ]
        return Table(rows=tuple(rows))
    return Table(
        header=("", *(str(number) for number in range(1, runs + 1))),
        rows=tuple(
            (dim(line.label), *(Span(_short(cell) or "–", "dim" if line.same else "plain") for cell in line.cells))
            for line in lines
        ),
    )


def _short(text: str) -> str:
    """A digest by its beginning, a long text by its start."""
    if text.startswith("sha256:") and len(text) == 71:
        return text[:19]
    return text if len(text) <= 60 else text[:59] + "…"
