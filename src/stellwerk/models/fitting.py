"""Fitting any estimator with scikit-learn's interface on a table, so that its pre-processing travels with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from stellwerk.core.errors import Invalid
from stellwerk.models.encoding import Array, encode
from stellwerk.models.model import Signature, Task
from stellwerk.models.tabular import TabularModel, class_name, infer_signature

if TYPE_CHECKING:
    import polars as pl


def fit(estimator: Any, table: pl.DataFrame, *, target: str, task: Task, exclude: Iterable[str] = ()) -> TabularModel:
    """Fit an estimator on a table and give it the signature of what it was fitted on.

    Categories become numbers by the vocabulary in the signature; estimators that have a `categorical_features`
    parameter (histogram gradient boosting) are told which columns these are.

    Args:
        estimator: Anything with `fit`, and `predict_proba` or `predict`.
        table: Rows of inputs and target.
        target: Column to predict.
        task: What kind of answer it is.
        exclude: Columns that are no inputs, such as ids and times of the event.

    Raises:
        Invalid: the target is missing; no column is usable.
    """
    if target not in table.columns:
        raise Invalid(f"the table has no column {target!r}", code="unknown-column")
    signature, _ = infer_signature(table, target, task, exclude)
    told = estimator.get_params() if hasattr(estimator, "get_params") else {}
    if "categorical_features" in told:
        estimator.set_params(categorical_features=[column.kind == "category" for column in signature.inputs])
    estimator.fit(encode(signature, table), labels(signature, table.get_column(target)))
    return TabularModel(estimator=estimator, signature=signature)


def labels(signature: Signature, column: pl.Series) -> Array:
    """Targets as an estimator gets them: numbers for regression, class names otherwise."""
    if signature.task == "regression":
        return np.asarray(column.cast(float).to_numpy(), dtype=np.float64)
    return np.array([class_name(value) for value in column.to_list()])


def class_indices(signature: Signature, column: pl.Series) -> Array:
    """Targets as metrics get them: numbers for regression, places in `signature.classes` otherwise.

    Raises:
        Invalid: `unknown-class`: a label that the model cannot answer.
    """
    if signature.task == "regression":
        return labels(signature, column)
    places = {name: index for index, name in enumerate(signature.classes)}
    names = [class_name(value) for value in column.to_list()]
    unknown = sorted({name for name in names if name not in places})
    if unknown:
        raise Invalid(
            f"labels {', '.join(unknown[:5])} are no classes of the model ({', '.join(signature.classes[:10])})",
            code="unknown-class",
        )
    return np.array([places[name] for name in names], dtype=np.int64)
