"""`data ls`: datasets and their versions."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command
from stellwerk.cli.data import sources
from stellwerk.cli.output import Table, dim, strong
from stellwerk.cli.session import Session
from stellwerk.core.digest import short

if TYPE_CHECKING:
    from stellwerk.data.model import DatasetVersion


@click.command("ls", cls=Command)
@click.option("--all", "every", is_flag=True, help="Every version, not only the newest.")
@sources.as_of
@click.pass_obj
def list_versions(session: Session, every: bool, as_of: datetime | None) -> None:
    """List datasets.

    \b
    Example:
      stellwerk data ls --all
      stellwerk data ls --as-of 2026-05-01
    """
    with session.workspace() as workspace:
        versions = workspace.data.list(as_of=as_of)
    newest = {version.name: version for version in versions}
    shown = versions if every else tuple(newest.values())
    session.screen.show(shown, _versions(shown) if shown else dim("no dataset yet"))
    if not shown:
        session.screen.suggest("stellwerk data add NAME FILE")


def _versions(versions: tuple[DatasetVersion, ...]) -> Table:
    return Table(
        header=("dataset", "rows", "columns", "parts", "made", "by", "source", "digest"),
        right=(1, 2, 3),
        firm=(0, 4, 7),
        spare=(6, 7, 5, 3),
        rows=tuple(
            (
                strong(f"{version.name}@{version.version}"),
                f"{version.rows:,}",
                f"{len(version.columns):,}",
                f"{version.files if version.kind == 'reference' else len(version.partitions):,}",
                words.moment(version.created_at),
                version.created_by,
                version.source or "–",
                dim(short(version.digest)),
            )
            for version in versions
        ),
    )
