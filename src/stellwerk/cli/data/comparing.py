"""`data diff`: what changed between two versions."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from stellwerk.cli.command import Command
from stellwerk.cli.data import sources
from stellwerk.cli.output import Line, Span, Table, dim
from stellwerk.cli.session import Session
from stellwerk.core.errors import Invalid

if TYPE_CHECKING:
    from stellwerk.data.model import TableDiff


@click.command(cls=Command)
@click.argument("name")
@click.argument("old", type=int, required=False)
@click.argument("new", type=int, required=False)
@sources.as_of
@click.pass_obj
def diff(session: Session, name: str, old: int | None, new: int | None, as_of: datetime | None) -> None:
    """Show what changed between two versions, down to the cell.

    Without a second version, what changed until now.

    \b
    Example:
      stellwerk data diff flights 1 2
      stellwerk data diff flights --as-of 2026-05-01
    """
    if old is None and as_of is None:
        raise Invalid("diff needs a version or a time to begin with", code="usage", hint="--as-of 2026-05-01")
    with session.workspace() as workspace, session.screen.working("comparing"):
        found = workspace.data.diff(name, old, new, as_of=as_of)
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
