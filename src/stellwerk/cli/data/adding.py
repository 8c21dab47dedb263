"""`data add`: a table becomes a version under its contract, anything else a version of files."""

from __future__ import annotations

from pathlib import Path

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command
from stellwerk.cli.output import dim, strong
from stellwerk.cli.session import Session
from stellwerk.core.digest import short
from stellwerk.core.errors import Invalid, NotFound

TABLES = (".csv", ".tsv", ".psv", ".txt", ".data", ".parquet", ".pq", ".jsonl", ".ndjson", ".json")


@click.command(cls=Command)
@click.argument("name")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--partition", default="all", show_default=True, help="Part of the dataset that the file becomes.")
@click.option("--replace", is_flag=True, help="Begin anew with this file alone.")
@click.option("--files", "as_files", is_flag=True, help="Keep the bytes as they are, also of a table.")
@click.option("--source", default="", help="Where it comes from, for people; the path by default.")
@click.option("--skip-special", is_flag=True, help="Leave out links, pipes and devices instead of refusing them.")
@click.option("--adopt", is_flag=True, help="Link files over 1 MiB into the store; they become read-only.")
@click.option("--dvcignore", is_flag=True, help="Obey .dvcignore as well as .stellwerkignore.")
@click.option("--unpack", is_flag=True, help="Keep what is in a tar or zip archive, without unpacking it on disk.")
@click.pass_context
def add(
    context: click.Context,
    name: str,
    file: Path | None,
    partition: str,
    replace: bool,
    as_files: bool,
    source: str,
    skip_special: bool,
    adopt: bool,
    dvcignore: bool,
    unpack: bool,
) -> None:
    """Add a table, a folder or a file, and so make the next version.

    With one argument it is the path, and the dataset is called like it. CSV, Parquet and JSON lines become a table:
    the other parts of the dataset stay, the first file drafts a contract, and once that is confirmed, files that break
    it are refused with rows and reasons. A folder, or any other file, is kept as it is: only what changed is read, and
    a pointer PATH.stw beside it, for your code repository, says which version belongs there.

    \b
    Example:
      stellwerk data add flights 2013-02.csv --partition 2013-02
      stellwerk data add images
      stellwerk data add weights model.bin
      stellwerk data add corpus corpus.tar.gz --unpack
    """
    session: Session = context.obj
    path, dataset = (Path(name), "") if file is None else (file, name)
    as_parts = any(context.get_parameter_source(p) is not _BY_ITSELF for p in ("partition", "replace"))
    if unpack:
        _unpack(session, path, dataset, source)
        return
    if as_files and as_parts:
        raise Invalid("--files goes with neither --partition nor --replace", code="usage", hint="leave one out")
    with session.workspace() as workspace:
        table = not (as_files or path.is_dir() or workspace.data.copies.tracked(path) is not None) and (
            as_parts or path.suffix.lower() in TABLES or _is_table(workspace.data, dataset)
        )
        if not table:
            with session.screen.counting(f"adding {path.name}") as progress:
                kept = workspace.data.add_files(
                    path,
                    name=dataset,
                    source=source,
                    special="skip" if skip_special else "refuse",
                    adopt=adopt,
                    dvc_ignore=dvcignore,
                    progress=progress,
                )
            version = kept.version
            session.screen.show(
                kept,
                (
                    strong(f"{version.name}@{version.version}"),
                    f"  {words.count(version.files, 'file')}, {words.size(version.bytes)}",
                    f", {words.count(kept.read, 'file')} read  " if kept.fresh or kept.read else ", unchanged  ",
                    dim(short(version.digest)),
                ),
            )
            for skipped in kept.skipped[:10]:
                session.screen.say(f"skipped, no file: {skipped}")
            if kept.fresh:
                session.screen.suggest(f"git add {kept.pointer}")
            return
        if not dataset:
            from stellwerk.core.names import slug

            dataset = slug(path.stem)
        with session.screen.working(f"reading {path.name}"):
            version = workspace.data.add(dataset, path, partition=partition, source=source, replace=replace)
        contract = workspace.data.contract(dataset)
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
        session.screen.suggest(f"stellwerk data contract {dataset}  (a draft; --confirm makes it binding)")


def _unpack(session: Session, path: Path, dataset: str, source: str) -> None:
    from stellwerk.core.names import slug

    dataset = dataset or slug(path.name.partition(".")[0])
    with session.workspace() as workspace, session.screen.working(f"reading {path.name}"):
        version = workspace.data.unpack(path, dataset, source=source)
    session.screen.show(
        version,
        (
            strong(f"{version.name}@{version.version}"),
            f"  {words.count(version.files, 'file')}, {words.size(version.bytes)}  ",
            dim(short(version.digest)),
        ),
    )
    session.screen.suggest(f"stellwerk data checkout {version.name}@{version.version} --to {version.name}")


_BY_ITSELF = click.core.ParameterSource.DEFAULT


def _is_table(data: object, dataset: str) -> bool:
    """Whether a dataset of this name holds a table already."""
    from stellwerk.workspace.nouns.data import Data

    if not dataset or not isinstance(data, Data):
        return False
    try:
        return data.get(dataset).kind == "table"
    except NotFound:
        return False
