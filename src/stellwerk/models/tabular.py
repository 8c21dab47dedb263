"""Tabular models: an estimator with the signature of what it asks and answers. Files are made in `adapters`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stellwerk.core.errors import Invalid
from stellwerk.models.encoding import Array, Table, encode, encode_columns, encode_record
from stellwerk.models.model import Column, Kind, Signature, Task

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "LeftOut",
    "TabularModel",
    "class_name",
    "encode",
    "encode_columns",
    "encode_record",
    "infer_signature",
]

MAX_VOCABULARY = 200
"""Entries a vocabulary keeps; rarer ones become unknown. Below the 255 bins of histogram gradient boosting."""
MAX_DISTINCT = 1_000
"""Text with more distinct values than this is left out: its vocabulary would know too little of it."""
MIN_IDENTIFIER = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A column that a signature does not use, and why."""

    column: str
    reason: str


def infer_signature(
    frame: pl.DataFrame, target: str, task: Task, exclude: Iterable[str] = ()
) -> tuple[Signature, tuple[LeftOut, ...]]:
    """Derive inputs and classes from training data, and say which columns cannot be used and why.

    Vocabularies are ordered by frequency, then name. Text that looks like an identifier is left out.
    """
    if target not in frame.columns:
        raise Invalid(f"target column {target!r} is missing", code="missing-column")
    skip = {target, *exclude}
    inputs: list[Column] = []
    left_out: list[LeftOut] = []
    for name in frame.columns:
        if name in skip:
            continue
        found = _infer_column(name, frame.get_column(name))
        if isinstance(found, Column):
            inputs.append(found)
        else:
            left_out.append(found)
    classes = () if task == "regression" else _classes(frame.get_column(target))
    signature = Signature(inputs=tuple(inputs), target=target, task=task, classes=classes)
    check_signature(signature)
    return signature, tuple(left_out)


def _infer_column(name: str, series: pl.Series) -> Column | LeftOut:
    import polars as pl

    kind = series.dtype
    if series.null_count() == len(series):
        return LeftOut(column=name, reason="it has no values")
    plain: Kind | None = None
    if kind.is_numeric():
        plain = "number"
    elif isinstance(kind, pl.Boolean):
        plain = "boolean"
    elif isinstance(kind, (pl.Datetime, pl.Date)):
        plain = "time"
    if plain:
        return Column(name=name, kind=plain)
    if not isinstance(kind, (pl.String, pl.Categorical, pl.Enum)):
        return LeftOut(column=name, reason=f"values of type {kind} are not supported")
    return _infer_category(name, series.cast(pl.String).drop_nulls())


def _infer_category(name: str, texts: pl.Series) -> Column | LeftOut:
    counts = texts.value_counts(name="stellwerk_count")
    distinct = len(counts)
    if distinct > MAX_DISTINCT or (distinct > MIN_IDENTIFIER and distinct > len(texts) / 2):
        return LeftOut(column=name, reason=f"text with too many distinct values ({distinct} in {len(texts)} rows)")
    pairs = zip(counts.to_series(0).to_list(), counts.to_series(1).to_list(), strict=True)
    ordered = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    return Column(name=name, kind="category", vocabulary=tuple(text for text, _ in ordered[:MAX_VOCABULARY]))


def _classes(target: pl.Series) -> tuple[str, ...]:
    values = target.drop_nulls().unique().to_list()
    return tuple(class_name(value) for value in sorted(values))


def class_name(value: Any) -> str:
    """The text by which a class label is known in signatures: `true`, `1`, `late`."""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def check_signature(signature: Signature) -> None:
    """Refuse signatures without inputs, with repeated names, or whose classes do not fit the task."""
    names = [column.name for column in signature.inputs]
    if not names or len(set(names)) != len(names) or signature.target in names:
        raise Invalid(
            f"a signature needs inputs with different names, none of them its target (got {len(names)})",
            code="invalid-signature",
        )
    count = len(signature.classes)
    fits = {"binary": count == 2, "multiclass": count >= 2, "regression": count == 0}[signature.task]
    if not fits or len(set(signature.classes)) != count:
        raise Invalid(
            f"{count} classes do not fit the task {signature.task!r} "
            "(expected 2 different ones for binary, at least 2 for multiclass, none for regression)",
            code="wrong-classes",
        )


class TabularModel:
    """An estimator that answers for tables and records as its signature says.

    The estimator must have been fitted on what `encode` gives for the same signature.
    """

    def __init__(self, *, estimator: Any, signature: Signature) -> None:
        check_signature(signature)
        features = getattr(estimator, "n_features_in_", None)
        if features is not None and features != len(signature.inputs):
            raise Invalid(
                f"the estimator was fitted on {features} columns, the signature has {len(signature.inputs)}",
                code="invalid-signature",
            )
        self.estimator = estimator
        self.signature = signature
        self._places = self._class_places()

    def predict_proba(self, frame: pl.DataFrame | Table) -> Array:
        """Probabilities (rows, classes), in the order of the signature's classes."""
        return self.probabilities(encode(self.signature, frame))

    def predict(self, frame: pl.DataFrame | Table) -> NDArray[Any]:
        """Values (rows) for regression; for classification the name of the likeliest class of each row."""
        if self.signature.task == "regression":
            return self.values(encode(self.signature, frame))
        likeliest = self.predict_proba(frame).argmax(axis=1)
        names: NDArray[Any] = np.array(self.signature.classes)[likeliest]
        return names

    def answer(self, record: Mapping[str, Any]) -> Array:
        """For one record of scalars: its probabilities (classes), or its value (1)."""
        row = encode_record(self.signature, record)
        return self.values(row) if self.signature.task == "regression" else self.probabilities(row)[0]

    def probabilities(self, rows: Array) -> Array:
        """As `predict_proba`, for encoded rows."""
        if self.signature.task == "regression":
            raise Invalid("a regression model has no class probabilities", code="wrong-task")
        raw = np.asarray(self.estimator.predict_proba(rows), dtype=np.float64)
        if self._places is None:
            return raw
        # Classes the estimator never saw have probability zero.
        result = np.zeros((len(rows), len(self.signature.classes)))
        result[:, self._places] = raw
        return result

    def values(self, rows: Array) -> Array:
        """As `predict` for regression, for encoded rows."""
        if self.signature.task != "regression":
            raise Invalid("a classification model has no values, it has probabilities", code="wrong-task")
        return np.asarray(self.estimator.predict(rows), dtype=np.float64)

    def _class_places(self) -> list[int] | None:
        """Where each of the estimator's classes stands in the signature; None when they agree."""
        if self.signature.task == "regression":
            return None
        known = getattr(self.estimator, "classes_", None)
        if known is None or not hasattr(self.estimator, "predict_proba"):
            raise Invalid(
                f"{type(self.estimator).__name__} gives no class probabilities, or is not fitted", code="wrong-task"
            )
        names = [class_name(value) for value in np.asarray(known).tolist()]
        stranger = sorted(set(names) - set(self.signature.classes))
        if stranger or len(set(names)) != len(names):
            raise Invalid(
                f"the estimator knows classes that the signature does not: {stranger}", code="wrong-classes"
            )
        if tuple(names) == self.signature.classes:
            return None
        return [self.signature.classes.index(name) for name in names]
