"""`data diff`: what changed between two versions."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stellwerk.cli.command import Command
from stellwerk.cli.data.standing import SHOWN, changes
from stellwerk.cli.output import Block, Line, Span, Table, dim, strong
from stellwerk.cli.session import Session
from stellwerk.cli.times import as_of
from stellwerk.core.errors import Invalid
from stellwerk.data.model import TableDiff
from stellwerk.workspace.browsing import parse_reference
from stellwerk.workspace.file_changes import FilesDiff

if TYPE_CHECKING:
    from stellwerk.workspace.nouns.data import Data


@click.command(cls=Command)
@click.argument("name")
@click.argument("old", required=False)
@click.argument("new", required=False)
@as_of
@click.option("--no-rows", is_flag=True, help="Compare tables in folders as files only.")
@click.pass_obj
def diff(
    session: Session, name: str, old: str | None, new: str | None, as_of: datetime | None, no_rows: bool
) -> None:
    """Show what changed, down to files, rows and cells.

    Between two versions of a dataset (NAME OLD NEW, or NAME@OLD NAME@NEW), or between a version and the files here
    (PATH alone for the version of its pointer, or PATH OLD).

    Without a second version, what changed until now.

    \b
    Example:
      stellwerk data diff flights 1 2
      stellwerk data diff flights --as-of 2026-05-01
      stellwerk data diff images
      stellwerk data diff images@1 images@3
    """
    with session.workspace() as workspace, session.screen.working("comparing"):
        found = _compare(workspace.data, name, old, new, as_of=as_of, rows=not no_rows)
    session.screen.show(found, *(_table(found) if isinstance(found, TableDiff) else _files(found)))


def _compare(
    data: Data, name: str, old: str | None, new: str | None, *, as_of: datetime | None, rows: bool
) -> TableDiff | FilesDiff:
    tracked = data.copies.tracked(Path(name)) if "@" not in name and new is None and as_of is None else None
    if tracked is not None:
        dataset = f"{tracked.pointer.dataset}@{_number(old)}" if old is not None else ""
        return data.local_changes(name, dataset, rows=rows)
    if old is None and as_of is None:
        raise Invalid("diff needs a version or a time to begin with", code="usage", hint="--as-of 2026-05-01")
    second: tuple[str, int | None] = (name, _number(new) if new is not None else None)
    first: tuple[str, int | None] | None = (name, _number(old)) if old is not None and "@" not in old else None
    if old is not None and first is None:
        first, second = parse_reference(name), parse_reference(old)
    after = data.get(*second)
    before = data.get(*first) if first is not None else data.get(name, as_of=as_of)
    if before.name == after.name and "files" not in (before.kind, after.kind):
        if as_of is not None:
            return data.diff(name, None if first is None else first[1], second[1], as_of=as_of)
        return data.diff(after.name, before.version, after.version)
    return data.changes(f"{before.name}@{before.version}", f"{after.name}@{after.version}", rows=rows)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Invalid(f"{text[:40]!r} is no version (expected a number)", code="invalid-reference")
    return int(text)


def _files(found: FilesDiff) -> list[Block]:
    if not found.changes:
        return [dim("no difference")]
    blocks: list[Block] = [*changes(found.changes)]
    if len(found.changes) > SHOWN:
        blocks.append(dim(f"  … and {len(found.changes) - SHOWN:,} more (--json has all)"))
    for path, table in found.tables:
        blocks += ["", strong(path), *_table(table)]
    return blocks + [dim(f"rows of {path} not compared: {why}") for path, why in found.unread]


def _table(found: TableDiff) -> list[Block]:
    blocks: list[Block] = [_counts(found)]
    if found.changed:
        rows = tuple((c, f"{n:,}") for c, n in found.changed)
        blocks += ["", Table(header=("column", "changed cells"), right=(1,), rows=rows)]
    if found.examples:
        blocks += ["", _examples(found)]
    return blocks


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
