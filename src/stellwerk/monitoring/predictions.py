"""Predictions from the log as arrays, joined with their labels. What follows from them is in `rules`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.monitoring.model import Label, Task
from stellwerk.monitoring.outcomes import Known, class_tokens, microseconds, token
from stellwerk.monitoring.ports import Batch

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

FOREIGN = -1.0
"""The class number of a label that the model cannot give."""

_ROUNDING = 1e-3
"""How far from 1 the probabilities of a model that counts in 32 bits may sum up."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What one model predicted, ordered by time; arrays are aligned.

    Attributes:
        at: Microseconds since 1970.
        scores: (n, k) probabilities, or (n,) values.
        usable: Whether the score is one that the model may give.
        labels: Class numbers (`FOREIGN` for others) or values; NaN without a label or with an unusable one.
        labelled: Whether a label is known, usable or not.
        observed: Microseconds since 1970 at which the label was known; 0 without one.
        recent: Inputs of the predictions from the row `recent_from` on.
        withheld: Whether a person decided instead; these are no part of the risk of automatic decisions.
        groups: Number of the group of each, in the order in which groups appear.
    """

    at: Integers
    scores: Floats
    usable: Booleans
    labels: Floats
    labelled: Booleans
    observed: Integers
    recent_from: int
    recent: Mapping[str, Sequence[Any]]
    withheld: Booleans
    groups: Integers

    def __len__(self) -> int:
        return len(self.at)


def gather(
    batches: Iterable[Batch],
    outcomes: Mapping[str, Known],
    *,
    model: Digest,
    task: Task,
    classes: Sequence[str],
    recent_since: datetime,
    group_by: Sequence[str] = (),
) -> Predictions:
    """Read the predictions of one model and join them with the labels that are known.

    Args:
        group_by: Columns that, with the day, name a group; one that was not sent counts as missing.
    """
    own = sorted((batch for batch in batches if batch.model == model), key=lambda batch: (batch.at, batch.id))
    counts = [batch.count for batch in own]
    ids = [f"{batch.id}-{row}" for batch in own for row in range(batch.count)]
    known = [outcomes.get(prediction) for prediction in ids]
    at = np.repeat(np.array([microseconds(batch.at) for batch in own], dtype=np.int64), counts)
    scores, usable = score_array([batch.scores for batch in own], task, classes, rows=len(ids))
    recent = [batch for batch in own if batch.at >= recent_since]
    return Predictions(
        at=at,
        scores=scores,
        usable=usable,
        labels=label_array([None if found is None else found[0] for found in known], task, classes),
        labelled=np.array([found is not None for found in known], dtype=np.bool_),
        observed=np.array([0 if found is None else found[1] for found in known], dtype=np.int64),
        recent_from=len(ids) - sum(batch.count for batch in recent),
        recent=_columns(recent),
        withheld=_withheld(own, rows=len(ids)),
        groups=_groups(own, group_by, rows=len(ids)),
    )


def _groups(batches: Sequence[Batch], columns: Sequence[str], *, rows: int) -> Integers:
    numbers: dict[tuple[Any, ...], int] = {}
    codes = np.empty(rows, dtype=np.int64)
    at = 0
    for batch in batches:
        day = batch.at.date()
        values = [batch.columns.get(column) or (None,) * batch.count for column in columns]
        for row in range(batch.count):
            codes[at] = numbers.setdefault((day, *(column[row] for column in values)), len(numbers))
            at += 1
    return codes


def score_array(
    parts: Sequence[Sequence[Any]], task: Task, classes: Sequence[str], *, rows: int
) -> tuple[Floats, Booleans]:
    """Scores as an array, and which of them are numbers, or probabilities that sum to 1."""
    width = 2 if task == "binary" else len(classes)
    if not rows:
        return np.empty(0 if task == "regression" else (0, width)), np.empty(0, dtype=np.bool_)
    try:
        answers = _joined(parts)
        if task == "multiclass":
            answers = [(np.nan,) * width if answer is None else answer for answer in answers]
        table = np.array(answers, dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise Invalid(f"scores cannot be read: {cause}", code="invalid-scores") from cause
    shape = (rows, width) if task == "multiclass" else (rows,)
    if table.shape != shape:
        raise Invalid(f"scores of shape {table.shape} (expected {shape})", code="invalid-scores")
    if task == "regression":
        return table, np.isfinite(table)
    if task == "binary":
        table = np.column_stack([1.0 - table, table])
    return table, (table >= 0.0).all(axis=1) & (np.abs(table.sum(axis=1) - 1.0) <= _ROUNDING)


def label_array(labels: Sequence[Label | None], task: Task, classes: Sequence[str]) -> Floats:
    """Labels as class numbers or values; NaN for none. A class unknown to the model is `FOREIGN`, a text no value."""
    if task == "regression":
        return np.array([_value(label) for label in labels], dtype=np.float64)
    numbers = class_tokens(classes)
    seen: dict[Label | None, float] = {None: float("nan")}
    for label in set(labels):
        if label is not None:
            seen[label] = float(numbers.get(token(label), FOREIGN))
    return np.array([seen[label] for label in labels], dtype=np.float64)


def _value(label: Label | None) -> float:
    return float("nan") if label is None or isinstance(label, str) else float(label)


def _withheld(batches: Sequence[Batch], *, rows: int) -> Booleans:
    result, start = np.zeros(rows, dtype=np.bool_), 0
    for batch in batches:
        for row, steer in batch.steered.items():
            result[start + row] = steer.withheld
        start += batch.count
    return result


def _columns(batches: Sequence[Batch]) -> dict[str, Sequence[Any]]:
    """Inputs of several batches, put together; a column that some batches lack is missing there."""
    inputs = [batch.columns for batch in batches]
    names = dict.fromkeys(chain.from_iterable(dict.fromkeys(map(tuple, inputs))))
    result: dict[str, Sequence[Any]] = {}
    for name in names:
        try:
            parts: list[Any] = list(map(itemgetter(name), inputs))
        except KeyError:
            parts = [batch.columns.get(name, [None] * batch.count) for batch in batches]
        result[name] = _joined(parts)
    return result


def _joined(parts: Sequence[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return list(chain.from_iterable(parts))
