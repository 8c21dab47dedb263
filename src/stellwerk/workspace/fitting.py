"""`sw.fit`: the one line that turns an estimator and a table into a model that can be released."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from stellwerk.models.model import Task
    from stellwerk.models.tabular import TabularModel


def fit(
    estimator: Any, table: pl.DataFrame, *, target: str, exclude: Iterable[str] = (), task: Task | None = None
) -> TabularModel:
    """Fit an estimator with scikit-learn's interface on a table; its pre-processing travels with the model.

    Args:
        estimator: Anything with `fit`, and `predict_proba` or `predict`.
        table: Rows of inputs and target.
        target: Column to predict; text, booleans or few whole numbers make a classification.
        exclude: Columns that are no inputs, such as ids and times of the event.
        task: binary, multiclass or regression; found from the target by default.

    Raises:
        Invalid: the target is missing, has nulls or only one class; no column is usable.
    """
    from stellwerk.data.target import target_of, task_of
    from stellwerk.models.fitting import fit as fit_model

    answers = target_of(table, target)
    return fit_model(estimator, table, target=target, task=task or task_of(answers), exclude=exclude)
