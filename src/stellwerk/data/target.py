"""What kind of question a target column asks, and why some columns cannot be a target. Models are another room's."""

from __future__ import annotations

import polars as pl

from stellwerk.core.errors import Invalid
from stellwerk.data.columns import as_text, family_of, listed, nameless, nearest, row_numbers
from stellwerk.data.model import Task

MAX_CLASSES = 50
"""So many different texts or more are no classes."""

_RATINGS = 10


def target_of(frame: pl.DataFrame, name: str) -> pl.Series:
    """The target column; a name that does not exist is `Invalid` with the nearest names."""
    if name not in frame.columns:
        raise Invalid(
            f"there is no column {name!r} among {frame.width:,} columns",
            code="unknown-column",
            hint=nearest(name, frame.columns),
        )
    return frame.get_column(name)


def task_of(target: pl.Series) -> Task:
    """Two values ask a binary question, texts and up to ten frequent whole numbers name classes, others are amounts.

    Raises:
        Invalid: Rows without a target, infinities, a single class, too many classes, or a type nobody can predict.
    """
    if not len(target):
        raise Invalid(f"target {target.name!r} has no rows", code="empty-table", hint="give it data")
    kind = family_of(target)
    if kind not in {"integer", "float", "text", "boolean", "nothing"}:
        raise Invalid(
            f"target {target.name!r} of type {target.dtype} cannot be predicted (expected numbers, text or booleans)",
            code="target-type",
            hint="derive a number or a class from it",
        )
    _complete(target.name, nameless(target))
    name, target = target.name, nameless(target)
    distinct = target.n_unique()
    if distinct == 1:
        raise Invalid(
            f"target {name!r} has only the value {as_text(target.head(1)).item()!r}: nothing can be learned",
            code="one-class",
            hint="check the filter or the time range of the data",
        )
    if kind in {"text", "boolean"}:
        return _classes(name, distinct)
    if distinct == 2:
        return "binary"
    whole = kind == "integer" or bool((target == target.floor()).all())
    often = distinct <= _RATINGS and len(target) >= 10 * distinct
    return "multiclass" if whole and often else "regression"


def _complete(name: str, target: pl.Series) -> None:
    """Refuse targets that are unknown or infinite, saying where."""
    missing = target.is_null()
    infinite = pl.repeat(value=False, n=len(target), eager=True)
    if family_of(target) == "float":
        number = target.cast(pl.Float64)
        missing = missing | number.is_nan().fill_null(value=False)
        infinite = number.is_infinite().fill_null(value=False)
    if missing.any():
        raise Invalid(
            f"target {name!r} is unknown in {_where(missing)}",
            code="target-null",
            hint="drop these rows or find their labels; a guessed label is no label",
        )
    if infinite.any():
        raise Invalid(
            f"target {name!r} is infinite in {_where(infinite)}",
            code="target-infinite",
            hint="drop these rows or cap the values",
        )


def _where(rows: pl.Series) -> str:
    count = int(rows.sum())
    return f"{count:,} of {len(rows):,} rows: row {listed(row_numbers(rows))}{' …' if count > 5 else ''}"


def _classes(name: str, distinct: int) -> Task:
    if distinct == 2:
        return "binary"
    if distinct >= MAX_CLASSES:
        raise Invalid(
            f"target {name!r} has {distinct:,} different texts (expected fewer than {MAX_CLASSES} classes)",
            code="too-many-classes",
            hint="group the rare ones, choose another column, or give it as a number if it is an amount",
        )
    return "multiclass"
