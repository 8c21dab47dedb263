"""`wandb`: what clients of Weights & Biases left on a disk, taken over."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from stellwerk.cli.command import Group
from stellwerk.cli.progress import Phases
from stellwerk.cli.session import Session
from stellwerk.cli.trackers import imported


@click.group(cls=Group)
def wandb() -> None:
    """Take over runs that clients of Weights & Biases wrote on this machine.

    \b
    Example:
      stellwerk wandb import wandb
    """


@wandb.command("import")
@click.argument("folder", metavar="FOLDER")
@click.option(
    "--allow",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FOLDER",
    help="Read also files below this folder where a run links to them. May be given several times.",
)
@click.pass_obj
def import_(session: Session, folder: str, allow: tuple[Path, ...]) -> None:
    """Take over runs of Weights & Biases from the folder that its client writes, offline or not.

    FOLDER holds folders such as offline-run-20260102_030405-abcd1234, or is one of them, and is only read; no account
    and no network is needed. Projects become experiments, and runs keep their ids. What is here already is skipped,
    so an import that was broken off goes on where it was, and of a run that went on the rest is added. Of a run that
    was killed everything that is whole is taken over. What cannot be kept is named.

    \b
    Example:
      stellwerk wandb import wandb
      stellwerk wandb import wandb/offline-run-20260102_030405-abcd1234
      stellwerk wandb import wandb --allow ~/training
    """
    from stellwerk.workspace.mlflow.importing import import_tracker
    from stellwerk.workspace.trackers import open_wandb

    with (
        session.rooms() as rooms,
        closing(open_wandb(folder, allow)) as opened,
        session.screen.progress() as lines,
        Phases(lines) as say,
    ):
        done = import_tracker(rooms, opened, say=say)
    session.screen.show(done, *imported(done))
    session.screen.suggest("stellwerk runs")
