"""`data`: adding datasets, listing and comparing their versions, confirming contracts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stellwerk.cli import words
from stellwerk.cli.command import Group
from stellwerk.cli.output import Line, Span, Table, dim, state, strong
from stellwerk.cli.session import Session
from stellwerk.core.digest import short
from stellwerk.core.errors import NotFound

if TYPE_CHECKING:
    from stellwerk.data.model import ColumnRule, Contract, DatasetVersion, TableDiff


@click.group(cls=Group)
def data() -> None:
    """Datasets and their contracts.

    \b
    Example:
      stellwerk data add flights 2013-01.csv --partition 2013-01
      stellwerk data contract flights --confirm
    """


@data.command()
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


@data.command("ls")
@click.option("--all", "every", is_flag=True, help="Every version, not only the newest.")
@click.pass_obj
def list_versions(session: Session, every: bool) -> None:
    """List datasets.

    \b
    Example:
      stellwerk data ls --all
    """
    with session.workspace() as workspace:
        versions = workspace.data.list()
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
                f"{len(version.partitions):,}",
                words.moment(version.created_at),
                version.created_by,
                version.source or "–",
                dim(short(version.digest)),
            )
            for version in versions
        ),
    )


@data.command()
@click.argument("name")
@click.argument("old", type=int)
@click.argument("new", type=int)
@click.pass_obj
def diff(session: Session, name: str, old: int, new: int) -> None:
    """Show what changed between two versions, down to the cell.

    \b
    Example:
      stellwerk data diff flights 1 2
    """
    with session.workspace() as workspace, session.screen.working("comparing"):
        found = workspace.data.diff(name, old, new)
    blocks: list[Line | Table] = [_counts(found)]
    if found.changed:
        blocks += [
            "",
            Table(
                header=("column", "changed cells"), right=(1,), rows=tuple((c, f"{n:,}") for c, n in found.changed)
            ),
        ]
    if found.examples:
        blocks += ["", _examples(found)]
    session.screen.show(found, *blocks)


def _counts(found: TableDiff) -> Table:
    rows: list[tuple[Line, ...]] = [
        ("rows", f"{found.rows_old:,} → {found.rows_new:,}"),
        ("added", Span(f"{found.rows_added:,}", "good" if found.rows_added else "dim")),
        ("removed", Span(f"{found.rows_removed:,}", "bad" if found.rows_removed else "dim")),
        ("changed", Span(f"{found.rows_changed:,}", "warn" if found.rows_changed else "dim")),
        ("matched by", ", ".join(found.key) or "whole rows: no column identifies them"),
    ]
    for what, names in (("columns added", found.columns_added), ("columns removed", found.columns_removed)):
        rows += [(what, ", ".join(names))] if names else []
    rows += [("retyped", f"{column}: {old} → {new}") for column, old, new in found.columns_retyped]
    return Table(rows=tuple((dim(str(row[0])), *row[1:]) for row in rows))


def _examples(found: TableDiff) -> Table:
    return Table(
        header=(" ".join(found.key) or "row", "column", "old", "new"),
        rows=tuple(
            (" ".join(change.key), change.column, _value(change.old), _value(change.new)) for change in found.examples
        ),
    )


def _value(text: str | None) -> Span:
    return dim("null") if text is None else Span(text)


@data.command()
@click.argument("name")
@click.option("--confirm", is_flag=True, help="Make it binding: tables that break it are refused from now on.")
@click.pass_obj
def contract(session: Session, name: str, confirm: bool) -> None:
    """Show the contract of a dataset, or confirm it.

    \b
    Example:
      stellwerk data contract flights --confirm
    """
    with session.workspace() as workspace:
        found = workspace.data.confirm(name) if confirm else workspace.data.contract(name)
    if found is None:
        raise NotFound(
            f"there is no contract for {name!r}",
            code="no-contract",
            hint=f"`stellwerk data add {name} FILE` drafts one",
        )
    title = (strong(found.name), f"  version {found.version}  ", state(found.status), "  ")
    further = "refused" if found.extra_columns == "refuse" else "allowed"
    facts = f"at least {words.count(found.min_rows, 'row')}, further columns {further}"
    session.screen.show(found, (*title, dim(facts)), "", _rules(found))
    if found.status == "draft":
        session.screen.suggest(f"stellwerk data contract {name} --confirm")


def _rules(found: Contract) -> Table:
    return Table(
        header=("column", "kind", "type", "values", "allowed"),
        firm=(1, 3),
        spare=(2,),
        rows=tuple(
            (strong(rule.name), rule.kind, dim(rule.dtype), _presence(rule), _allowed(rule)) for rule in found.columns
        ),
    )


def _presence(rule: ColumnRule) -> str:
    if not rule.required:
        return "may be missing"
    unique = ", unique" if rule.unique else ""
    if rule.min_fraction <= 0:
        return "may be empty" + unique
    return ("always" if rule.min_fraction >= 1 else f"≥ {rule.min_fraction:.1%} of rows") + unique


def _allowed(rule: ColumnRule) -> str:
    if rule.vocabulary is not None:
        shown = ", ".join(rule.vocabulary[:8])
        return shown + (f", … ({len(rule.vocabulary)} values)" if len(rule.vocabulary) > 8 else "")
    if rule.kind == "time" or (rule.minimum is None and rule.maximum is None):
        return "any"
    if rule.minimum is None:
        return f"up to {words.figure(rule.maximum)}"
    if rule.maximum is None:
        return f"from {words.figure(rule.minimum)}"
    return f"{words.figure(rule.minimum)} to {words.figure(rule.maximum)}"
