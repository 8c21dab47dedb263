"""`data add`."""

from __future__ import annotations

from pathlib import Path

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command
from stellwerk.cli.output import dim, strong
from stellwerk.cli.session import Session
from stellwerk.core.digest import short


@click.command(cls=Command)
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--partition", default="all", show_default=True, help="Part of the dataset that the file becomes.")
@click.option("--replace", is_flag=True, help="Begin anew with this file alone.")
@click.pass_obj
def add(session: Session, name: str, file: Path, partition: str, replace: bool) -> None:
    """Add a file and so make the next version.

    CSV, Parquet or JSON lines. The other parts of the dataset stay. The first file drafts a contract; once that is
    confirmed, files that break it are refused with rows and reasons.

    \b
    Example:
      stellwerk data add flights 2013-02.csv --partition 2013-02
    """
    with session.workspace() as workspace:
        with session.screen.working(f"reading {file.name}"):
            version = workspace.data.add(name, file, partition=partition, replace=replace)
        contract = workspace.data.contract(name)
    session.screen.show(
        version,
        (
            strong(f"{version.name}@{version.version}"),
            f"  {words.count(version.rows, 'row')}, {words.count(len(version.columns), 'column')}, ",
            f"{words.count(len(version.partitions), 'part')}  ",
            dim(short(version.digest)),
        ),
    )
    if contract is not None and contract.status == "draft":
        session.screen.suggest(f"stellwerk data contract {name}  (a draft; --confirm makes it binding)")
