"""`data refer`, `data verify`, `data import`: datasets whose rows live elsewhere."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from stellwerk.cli import exits, words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Line, Span, Table, dim, strong
from stellwerk.cli.session import Session
from stellwerk.cli.times import as_of
from stellwerk.core.digest import short
from stellwerk.core.errors import Invalid

if TYPE_CHECKING:
    from stellwerk.data.model import DatasetVersion
    from stellwerk.workspace.facade import Workspace


def at(workspace: Workspace, dataset: str, as_of: datetime | None) -> str:
    """A dataset as `name@version`, where a time was given. Raises `Invalid` where a version was given too."""
    if as_of is None:
        return dataset
    if "@" in dataset:
        raise Invalid("give a version or a time, not both", code="version-and-time")
    return f"{dataset}@{workspace.data.get(dataset, as_of=as_of).version}"


@click.command(cls=Command)
@click.argument("name")
@click.argument("source")
@click.pass_obj
def refer(session: Session, name: str, source: str) -> None:
    """Pin rows that live elsewhere, as the next version, without copying them.

    What is there now is read once and pinned by digest; other rows are never given for it. The same source again makes
    a version only where something changed. Quote patterns, so that your shell leaves them alone.

    \b
    Example:
      stellwerk data refer flights '/data/flights/*.parquet'
    """
    with session.workspace() as workspace:
        with session.screen.working("reading the source"):
            version = workspace.data.refer(name, source)
        contract = workspace.data.contract(name)
    session.screen.show(version, told(version))
    if contract is not None and contract.status == "draft":
        session.screen.suggest(f"stellwerk data contract {name}  (a draft; --confirm makes it binding)")


def told(version: DatasetVersion) -> Line:
    """A dataset version in one line."""
    parts = version.files if version.kind == "reference" else len(version.partitions)
    where = f"at {version.source}  " if version.kind == "reference" else ""
    return (
        strong(f"{version.name}@{version.version}"),
        f"  {words.count(version.rows, 'row')}, {words.count(len(version.columns), 'column')}, ",
        f"{words.count(parts, 'part')}  {where}",
        dim(short(version.digest)),
    )


@click.command(cls=Command)
@click.argument("name")
@click.argument("version", type=int, required=False)
@as_of
@click.pass_obj
def verify(session: Session, name: str, version: int | None, as_of: datetime | None) -> int:
    """Compare a dataset that lives elsewhere with what is there now.

    Every part is read and compared with the pin. Exit code 5 where something is gone or changed.

    \b
    Example:
      stellwerk data verify flights
    """
    with session.workspace() as workspace, session.screen.working("reading the source"):
        report = workspace.data.verify(name, version, as_of=as_of)
    head = Span("CHANGED", "bad") if report.changes else Span("SAME", "good")
    count = f"  {words.count(report.rows, 'row')} in {words.count(report.parts, 'part')} of {report.source}"
    blocks: list[Block] = [(head, count)]
    if report.changes:
        rows = ((change.part, change.what) for change in report.changes)
        blocks += ["", Table(header=("part", "what"), rows=tuple(rows))]
    session.screen.show(report, *blocks)
    if report.changes:
        session.screen.suggest(f"stellwerk data refer {name} '{report.source}'  (what is there now, as a version)")
    return exits.CONFLICT if report.changes else exits.DONE


@click.command("import", cls=Command)
@click.argument("name")
@click.pass_obj
def import_rows(session: Session, name: str) -> None:
    """Copy the rows of a dataset that lives elsewhere into the store.

    They become its next version, which needs the source no more. Rows that are not those of the pin are not copied.

    \b
    Example:
      stellwerk data import flights
    """
    with session.workspace() as workspace, session.screen.working("copying"):
        version = workspace.data.copy(name)
    session.screen.show(version, told(version))
