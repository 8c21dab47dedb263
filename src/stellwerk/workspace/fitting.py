"""`sw.fit`: the one line that turns an estimator and a table into a model that can be released."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from stellwerk.core.errors import Invalid

if TYPE_CHECKING:
    import polars as pl

    from stellwerk.models.tabular import TabularModel


def fit(estimator: Any, table: pl.DataFrame, *, target: str, exclude: Iterable[str] = ()) -> TabularModel:
    """Fit an estimator with scikit-learn's interface on a table; its pre-processing travels with the model.

    Args:
        estimator: Anything with `fit`, and `predict_proba` or `predict`.
        table: Rows of inputs and target.
        target: Column to predict; text, booleans or few whole numbers make a classification.
        exclude: Columns that are no inputs, such as ids and times of the event.

    Raises:
        Invalid: the target is missing, has nulls or only one class; no column is usable.
    """
    from stellwerk.data.target import task_of
    from stellwerk.models.fitting import fit as fit_model

    if target not in table.columns:
        raise Invalid(f"the table has no column {target!r}", code="unknown-column")
    return fit_model(estimator, table, target=target, task=task_of(table.get_column(target)), exclude=exclude)
