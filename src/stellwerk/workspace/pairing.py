"""Two models asked the same selection rows, one after the other, so that their difference has an interval.

Nothing has to be kept of old answers: rows and models are in the store, and a model that is asked again answers the
same. The rows are those that both runs kept for selection, on which neither model was trained.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stellwerk.core.digest import Digest
from stellwerk.core.errors import StellwerkError
from stellwerk.evidence.metrics import METRICS
from stellwerk.governance.change import rules
from stellwerk.governance.change.model import Confusion, Line, Measured, Pairing
from stellwerk.models.fitting import class_indices
from stellwerk.models.model import ModelVersion, Signature
from stellwerk.workspace import frames
from stellwerk.workspace.rooms import Rooms

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

ALPHA = 0.025
"""At each end, so that an interval is one of 95 %."""
LEAST = 50
"""Shared rows below which no interval is given."""
MOST_ROWS = 50_000
"""Of selection rows that are asked; of more it is the first ones, in the order of the table."""
MOST_CLASSES = 8
"""Of a confusion matrix that people can still read."""
POINTS = 60
"""Of a drawn curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A model, the rows it was chosen on, and what was measured then."""

    model: ModelVersion
    table: Digest
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What asking came to."""

    pairing: Pairing
    metrics: tuple[Measured, ...] = ()
    curves: tuple[Line, ...] = ()
    confusions: tuple[Confusion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A model's answers to some rows, and the truth."""

    labels: NDArray[Any]
    scores: NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The same rows, each as the table of its side has them.

    Attributes:
        columns: By so many they were matched; 0 where the tables have the same.
        why: Why there can be none.
    """

    mine: pl.DataFrame
    theirs: pl.DataFrame
    columns: int = 0
    why: str = ""


def pair(rooms: Rooms, head: Evaluated, base: Evaluated, groups: Iterable[str] | None) -> Answered:
    """Ask both, measure both, and bound the difference; where that is impossible, say why.

    Args:
        groups: Columns that name rows which share more than chance; None where rows are independent.
    """
    try:
        return _pair(rooms, head, base, None if groups is None else tuple(groups))
    except StellwerkError as problem:
        return Answered(pairing=Pairing(why_not=f"the models could not be asked: {problem.message}"))


def _pair(rooms: Rooms, head: Evaluated, base: Evaluated, groups: tuple[str, ...] | None) -> Answered:
    ours, theirs = head.model.interface(), base.model.interface()
    if (ours.target, ours.task) != (theirs.target, theirs.task) or sorted(ours.classes) != sorted(theirs.classes):
        return Answered(pairing=Pairing(why_not="the two models answer different questions"))
    if head.model.digest == base.model.digest:
        return Answered(pairing=Pairing(why_not="both are the same model, byte for byte"))
    rows = frames.read(rooms.blobs.get(head.table)).head(MOST_ROWS)
    of = rows.height
    shared = _shared(rooms, rows, head, base, ours.target)
    found = shared.mine.height
    if found < LEAST:
        few = f"only {found:,} of {of:,} selection rows are those of the other run (at least {LEAST} are needed)"
        return Answered(pairing=Pairing(of=of, why_not=shared.why or few))
    asked = [_ask(rooms, one.model, table, ours) for one, table in ((head, shared.mine), (base, shared.theirs))]
    sorts, note = _sorts(shared.mine, groups)
    measured = tuple(_measure(name, asked[0], asked[1], sorts) for name in _names(ours.task, asked[0].labels))
    labels = (f"{head.model.name}@{head.model.version}", f"{base.model.name}@{base.model.version}")
    return Answered(
        pairing=Pairing(rows=found, of=of, columns=shared.columns, note=note),
        metrics=measured,
        curves=_curves(ours.task, labels, asked),
        confusions=_confusions(ours.classes, labels, asked),
    )


def _shared(rooms: Rooms, rows: pl.DataFrame, head: Evaluated, base: Evaluated, target: str) -> _Rows:
    """The rows of both tables that are the same in all columns they share, in the same order."""
    if head.table == base.table:
        return _Rows(mine=rows, theirs=rows)
    import polars as pl

    others = frames.read(rooms.blobs.get(base.table))
    alike = [name for name in rows.columns if others.schema.get(name) == rows.schema[name]]
    if target not in alike or others.select(alike).n_unique() < frames.IDENTIFYING * others.height:
        why = "the columns that both tables have do not tell their rows apart"
        return _Rows(mine=rows.clear(), theirs=others.clear(), why=why)
    # Equal rows are told apart by how often they came before, so that no row is asked twice.
    numbered = [
        table.with_columns(pl.int_range(pl.len()).over(alike).alias("\x1fturn")).with_row_index("\x1fat")
        for table in (rows, others)
    ]
    on = [*alike, "\x1fturn"]
    places = numbered[0].select(*on, "\x1fat").join(
        numbered[1].select(*on, pl.col("\x1fat").alias("\x1fother")), on=on, how="inner", nulls_equal=True
    ).sort("\x1fat")  # fmt: skip
    differ = len({*rows.columns, *others.columns} - set(alike))
    return _Rows(
        mine=rows[places.get_column("\x1fat")],
        theirs=others[places.get_column("\x1fother")],
        columns=len(alike) if differ else 0,
    )


def _ask(rooms: Rooms, model: ModelVersion, table: pl.DataFrame, signature: Signature) -> _Asked:
    """Answers in the order of the classes of one signature, so that both sides mean the same."""
    labels = class_indices(signature, table.get_column(signature.target))
    buffer = io.BytesIO()
    table.drop(signature.target).write_parquet(buffer, compression="zstd")
    scores = rooms.examiner.answers(model.bytes(), rooms.blobs.put(buffer.getvalue()), samples=0).scores
    if signature.task != "regression":
        own = model.interface().classes
        scores = scores[:, [own.index(name) for name in signature.classes]]
    return _Asked(labels=labels, scores=scores)


def _sorts(table: pl.DataFrame, groups: tuple[str, ...] | None) -> tuple[NDArray[Any] | None, str]:
    """The group of each row. A column that is missing makes intervals too narrow, which must be said."""
    if not groups:
        return None, ""
    missing = [name for name in groups if name not in table.columns]
    if missing:
        return None, f"rows are taken as independent, because column {', '.join(missing)} is missing"
    parts = [table.get_column(name).cast(str).fill_null("").to_list() for name in groups]
    return np.array(["\x1f".join(key) for key in zip(*parts, strict=True)]), ""


def _names(task: str, labels: NDArray[Any]) -> list[str]:
    return [
        name
        for name, metric in METRICS.items()
        if task in metric.tasks and (name != "auroc" or len(np.unique(labels)) == 2)
    ]


def _measure(name: str, head: _Asked, base: _Asked, groups: NDArray[Any] | None) -> Measured:
    metric = METRICS[name]
    after, before = (metric.bounds(one.labels, one.scores, ALPHA, groups).estimate for one in (head, base))
    gain = metric.difference(head.labels, head.scores, base.scores, ALPHA, groups)
    return Measured(
        name=name,
        title=metric.title,
        after=after,
        before=before,
        gain=gain.estimate,
        lower=gain.lower,
        upper=gain.upper,
        larger_is_better=metric.larger_is_better,
        judgement=rules.judgement(gain.lower, gain.upper),
        method=gain.method,
    )


def _curves(task: str, labels: tuple[str, str], asked: list[_Asked]) -> tuple[Line, ...]:
    """The ROC curve of each, where there are two classes."""
    if task != "binary" or len(np.unique(asked[0].labels)) != 2:
        return ()
    return tuple(_roc(label, one.labels == 1, one.scores[:, 1]) for label, one in zip(labels, asked, strict=True))


def _roc(label: str, truth: NDArray[Any], scores: NDArray[Any]) -> Line:
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.nonzero(np.diff(scores[order]))[0], len(scores) - 1)  # equal scores are one step
    hits, misses = np.cumsum(truth[order])[ends], np.cumsum(~truth[order])[ends]
    x, y = np.append(0.0, misses / misses[-1]), np.append(0.0, hits / hits[-1])
    if len(x) > POINTS:
        grid = np.linspace(0, 1, POINTS)
        x, y = grid, np.maximum.accumulate(np.interp(grid, x, y))
    return Line(label=label, x=tuple(float(v) for v in np.round(x, 4)), y=tuple(float(v) for v in np.round(y, 4)))


def _confusions(classes: tuple[str, ...], labels: tuple[str, str], asked: list[_Asked]) -> tuple[Confusion, ...]:
    if not 2 <= len(classes) <= MOST_CLASSES:
        return ()
    found = []
    for label, one in zip(labels, asked, strict=True):
        counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
        np.add.at(counts, (one.labels, one.scores.argmax(axis=1)), 1)
        rows = tuple(tuple(int(n) for n in row) for row in counts)
        found.append(Confusion(label=label, classes=classes, counts=rows))
    return tuple(found)
