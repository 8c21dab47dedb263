"""`models` and `compare`: registered model versions, alone and side by side."""

from __future__ import annotations

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Span, Table, dim, strong
from stellwerk.cli.session import Session
from stellwerk.core.digest import short


@click.command(cls=Command)
@click.pass_obj
def models(session: Session) -> None:
    """List registered model versions.

    \b
    Example:
      stellwerk models --json
    """
    with session.workspace() as workspace:
        found = workspace.models.list()
    table = Table(
        header=("model", "task", "target", "inputs", "seed", "made", "run", "digest"),
        right=(3, 4),
        firm=(0, 5, 6, 7),
        spare=(4, 5, 7, 1, 3),
        rows=tuple(
            (
                strong(f"{model.name}@{model.version}"),
                model.signature.task,
                model.signature.target,
                str(len(model.signature.inputs)),
                "–" if model.seed is None else str(model.seed),
                words.moment(model.created_at),
                dim(model.run_id),
                dim(short(model.digest)),
            )
            for model in found
        ),
    )
    session.screen.show(found, table if found else dim("no model yet"))
    if not found:
        session.screen.suggest("stellwerk run")


@click.command(cls=Command)
@click.argument("first")
@click.argument("second")
@click.option("--all", "every", is_flag=True, help="What is equal as well.")
@click.pass_obj
def compare(session: Session, first: str, second: str, every: bool) -> None:
    """Show what two model versions share and where they differ.

    FIRST and SECOND are name, name@3, name@alias or a digest. Numbers are paired only where a proof judged both on
    the same cases.

    \b
    Example:
      stellwerk compare delay@1 delay@2
    """
    with session.workspace() as workspace:
        found = workspace.models.compare(first, second)
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
    blocks += (
        ["", strong("Paired on the same cases"), *(f"  {line}" for line in found.paired)] if found.paired else []
    )
    session.screen.show(found, *blocks)
