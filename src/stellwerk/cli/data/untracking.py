"""`data rm` and `data move`: places that follow a dataset no longer, or lie elsewhere now."""

from __future__ import annotations

from pathlib import Path

import click

from stellwerk.cli.command import Command
from stellwerk.cli.output import dim, strong
from stellwerk.cli.session import Session


@click.command(cls=Command)
@click.argument("path", type=click.Path(path_type=Path))
@click.pass_obj
def rm(session: Session, path: Path) -> None:
    """Stop tracking a file or folder.

    Its pointer and its line in .gitignore go, and the ledger says so. The files stay where they are, and so do the
    versions: their bytes are freed by garbage collection only when nothing refers to them any more.

    \b
    Example:
      stellwerk data rm images
    """
    with session.workspace() as workspace:
        one = workspace.data.untrack(path)
    answer = {"path": str(path), "dataset": one.pointer.dataset, "digest": one.pointer.digest}
    session.screen.show(
        answer, (strong(str(path)), " is no longer tracked  ", dim(f"versions of {one.pointer.dataset} stay"))
    )


@click.command(cls=Command)
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.pass_obj
def move(session: Session, old: Path, new: Path) -> None:
    """Move a tracked file or folder together with its pointer.

    \b
    Example:
      stellwerk data move images pictures
    """
    with session.workspace() as workspace:
        moved = workspace.data.move(old, new)
    session.screen.show({"old": str(old), "new": str(new)}, (strong(moved.name), dim(f"  was {old}")))
