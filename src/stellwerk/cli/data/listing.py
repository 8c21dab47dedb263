"""`data ls` and `data log`: datasets, their versions, and the files in them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command
from stellwerk.cli.data import sources
from stellwerk.cli.output import Line, Table, dim, strong
from stellwerk.cli.session import Session
from stellwerk.cli.times import as_of
from stellwerk.core.digest import short

if TYPE_CHECKING:
    from stellwerk.data.model import DatasetVersion
    from stellwerk.workspace.browsing import FileEntry


@click.command("ls", cls=Command)
@click.argument("dataset", required=False)
@click.argument("path", default="")
@click.option("--all", "every", is_flag=True, help="Every version, not only the newest.")
@click.option("-r", "--recursive", is_flag=True, help="All files below, not only what is directly in a folder.")
@as_of
@click.pass_obj
def list_versions(
    session: Session, dataset: str | None, path: str, every: bool, recursive: bool, as_of: datetime | None
) -> None:
    """List datasets, or the files of one.

    DATASET is a name, or name@version; PATH is a folder in it.

    \b
    Example:
      stellwerk data ls --all
      stellwerk data ls --as-of 2026-05-01
      stellwerk data ls images@2 train
    """
    if dataset is not None:
        with session.workspace() as workspace:
            data = workspace.data
            dataset = sources.at(workspace, dataset, as_of)
            files = tuple(data.files(dataset, path)) if recursive else data.folder(dataset, path)
        session.screen.show(files, _files(files) if files else dim("an empty folder"))
        return
    with session.workspace() as workspace:
        versions = workspace.data.list(as_of=as_of)
    newest = {version.name: version for version in versions}
    shown = versions if every else tuple(newest.values())
    session.screen.show(shown, _versions(shown) if shown else dim("no dataset yet"))
    if not shown:
        session.screen.suggest("stellwerk data add NAME FILE")


@click.command(cls=Command)
@click.argument("name")
@click.pass_obj
def log(session: Session, name: str) -> None:
    """Show the versions of a dataset, newest first: who made them, when, from what.

    \b
    Example:
      stellwerk data log images
    """
    with session.workspace() as workspace:
        versions = tuple(reversed(workspace.data.log(name)))
    session.screen.show(versions, _versions(versions))


def _files(files: tuple[FileEntry, ...]) -> Table:
    return Table(
        header=("size", "digest", "path"),
        right=(0,),
        firm=(1,),
        rows=tuple(
            (
                words.size(file.size),
                dim(short(file.digest)),
                strong(file.path + "/") if file.kind == "folder" else file.path,
            )
            for file in files
        ),
    )


def _versions(versions: tuple[DatasetVersion, ...]) -> Table:
    tables = any(version.kind != "files" for version in versions)
    folders = any(version.kind == "files" for version in versions)
    own = [("rows", _rows), ("columns", _columns), ("parts", _parts)] if tables else []
    own += [("files", _count), ("size", _size)] if folders else []
    last = 1 + len(own)
    return Table(
        header=("dataset", *(title for title, _ in own), "made", "by", "source", "digest"),
        right=tuple(range(1, last)),
        firm=(0, last, last + 3),
        spare=(last + 2, last + 3, last + 1, *((3,) if tables else ())),
        rows=tuple(
            (
                strong(f"{version.name}@{version.version}"),
                *(tell(version) for _, tell in own),
                words.moment(version.created_at),
                version.created_by,
                version.source or "–",
                dim(short(version.digest)),
            )
            for version in versions
        ),
    )


def _rows(version: DatasetVersion) -> Line:
    return f"{version.rows:,}" if version.kind != "files" else "–"


def _columns(version: DatasetVersion) -> Line:
    return f"{len(version.columns):,}" if version.kind != "files" else "–"


def _parts(version: DatasetVersion) -> Line:
    parts = version.files if version.kind == "reference" else len(version.partitions)
    return f"{parts:,}" if version.kind != "files" else "–"


def _count(version: DatasetVersion) -> Line:
    return f"{version.files:,}" if version.kind == "files" else "–"


def _size(version: DatasetVersion) -> Line:
    return words.size(version.bytes) if version.kind == "files" else "–"
