"""Small fitted estimators on fixed data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stellwerk.models.model import Column, Signature
from stellwerk.models.tabular import TabularModel, class_name


@pytest.fixture(scope="session")
def rows() -> NDArray[np.float64]:
    """Four numbers, a category code in column 4, and some unknown values."""
    random = np.random.default_rng(7)
    table = random.normal(size=(300, 5))
    table[:, 4] = random.integers(0, 6, 300)
    table[::17, 1] = np.nan
    return table


@pytest.fixture(scope="session")
def model_of() -> Any:
    """Wrap a fitted estimator of five columns as a tabular model."""

    def wrap(estimator: Any) -> TabularModel:
        classes = tuple(class_name(value) for value in getattr(estimator, "classes_", ()))
        task = "regression" if not classes else "binary" if len(classes) == 2 else "multiclass"
        inputs = tuple(Column(name=f"c{i}", kind="number") for i in range(5))
        return TabularModel(
            estimator=estimator,
            signature=Signature(inputs=inputs, target="y", task=task, classes=classes),  # type: ignore[arg-type]
        )

    return wrap
