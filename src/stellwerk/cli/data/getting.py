"""`data get` and `data export`: files of a version at a place of their own, which nothing follows."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command
from stellwerk.cli.data import sources
from stellwerk.cli.output import strong
from stellwerk.cli.session import Session
from stellwerk.cli.times import as_of


@click.command(cls=Command)
@click.argument("dataset")
@click.argument("path")
@click.argument("to", required=False, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace what is there.")
@as_of
@click.pass_obj
def get(session: Session, dataset: str, path: str, to: Path | None, force: bool, as_of: datetime | None) -> None:
    """Fetch one file or folder of a version, without tracking it.

    DATASET is a name, or name@version; PATH is in it. Works against a folder and against a URL.

    \b
    Example:
      stellwerk data get images@2 train/cat.jpg
      stellwerk data get images train /tmp/train -w https://stellwerk.example
    """
    target = to or Path(path.rstrip("/").rpartition("/")[2])
    with session.workspace() as workspace, session.screen.counting(f"getting {path}") as progress:
        dataset = sources.at(workspace, dataset, as_of)
        done = workspace.data.fetch(dataset, path, target, force=force, progress=progress)
    answer = {"path": str(target), "files": done.written, "bytes": done.bytes}
    session.screen.show(
        answer, (strong(str(target)), f"  {words.count(done.written, 'file')}, {words.size(done.bytes)}")
    )


@click.command(cls=Command)
@click.argument("dataset")
@click.argument("to", type=click.Path(path_type=Path))
@as_of
@click.pass_obj
def export(session: Session, dataset: str, to: Path, as_of: datetime | None) -> None:
    """Write a version as plain files that need no Stellwerk.

    DATASET is a name, or name@version. Files become a folder; a table becomes one file where TO ends in .parquet or
    .csv, and a folder of its parts elsewhere. TO must not exist.

    \b
    Example:
      stellwerk data export images@2 /tmp/images
      stellwerk data export flights flights.csv --as-of 2026-05-01
    """
    with session.workspace() as workspace, session.screen.counting(f"exporting {dataset}") as progress:
        dataset = sources.at(workspace, dataset, as_of)
        done = workspace.data.export(dataset, to, progress=progress)
    answer = {"path": str(to), "files": done.written, "bytes": done.bytes}
    session.screen.show(answer, (strong(str(to)), f"  {words.count(done.written, 'file')}, {words.size(done.bytes)}"))
