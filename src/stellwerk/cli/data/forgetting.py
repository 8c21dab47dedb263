"""`data forget`: versions that nobody needs any more."""

from __future__ import annotations

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command
from stellwerk.cli.output import dim, strong
from stellwerk.cli.session import Session
from stellwerk.core.errors import Invalid


@click.command(cls=Command)
@click.argument("dataset")
@click.option("--why", required=True, help="The reason, for the ledger.")
@click.pass_obj
def forget(session: Session, dataset: str, why: str) -> None:
    """Forget NAME@VERSION, or NAME with all its versions.

    The ledger keeps that it was there, who forgot it and why. The bytes go with `stellwerk gc`, except those that a
    run, a model, a gate set or another version still refers to.

    \b
    Example:
      stellwerk data forget images@1 --why "licence withdrawn"
    """
    name, _, number = dataset.partition("@")
    if number and not number.isdecimal():
        raise Invalid(f"{number[:40]!r} is no version (expected a number)", code="invalid-version")
    with session.workspace() as workspace:
        gone = workspace.data.forget(name, int(number) if number else None, why=why)
    session.screen.show(gone, (strong(dataset), "  ", dim(f"{words.count(len(gone), 'version')} forgotten")))
    session.screen.suggest("stellwerk gc  (marks what nothing refers to, and removes it after a time of grace)")
