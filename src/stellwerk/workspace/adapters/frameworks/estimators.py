"""Whatever has scikit-learn's interface: parameters, scores, searches, and the curves that estimators keep.

Nothing is imported and nothing is replaced: an estimator says of itself what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stellwerk.workspace.ports import Scribe

CURVES = ("loss_curve_", "validation_scores_", "train_score_", "validation_score_", "oob_scores_")
"""What estimators keep of their iterations: neural networks, and boosting of both kinds."""


def log_estimator(
    scribe: Scribe, estimator: Any, *, data: Mapping[str, tuple[Any, Any] | None], cv: Mapping[str, Any]
) -> None:
    """Say everything about an estimator.

    Args:
        data: Inputs and answers to score it on, by what they are called.
        cv: What `cross_validate` returned.
    """
    kind = type(estimator)
    scribe.tags({"estimator_name": kind.__name__, "estimator_class": f"{kind.__module__}.{kind.__qualname__}"})
    if hasattr(estimator, "get_params"):
        scribe.params(dict(readable(estimator.get_params(deep=True))))
    for name, both in data.items():
        if both is not None:
            scribe.log({f"{name}_score": estimator.score(*both)}, 0)
    for curve in CURVES:
        values = getattr(estimator, curve, None)
        for step, value in enumerate(() if values is None else values):
            scribe.log({curve.removesuffix("_"): value}, step)
    if hasattr(estimator, "cv_results_"):
        _search(scribe, estimator)
    _folds(scribe, cv)


def readable(params: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Parameters as text that is the same in every process; those of nested estimators have entries of their own."""
    for name, value in params.items():
        if hasattr(value, "get_params"):
            yield name, _called(value)
        elif isinstance(value, (list, tuple)) and any(isinstance(one, tuple) for one in value):
            yield name, [_called(part) for one in value for part in one if hasattr(part, "get_params")]
        elif callable(value):
            yield name, _called(value)
        else:
            yield name, value


def _called(thing: Any) -> str:
    return str(getattr(thing, "__qualname__", None) or type(thing).__qualname__)


def _search(scribe: Scribe, search: Any) -> None:
    """Best parameters, and each candidate as a step."""
    results = search.cv_results_
    scribe.params({f"best_{name}": value for name, value in readable(getattr(search, "best_params_", {}))})
    scribe.params(
        {"candidates": [{name: _plain(value) for name, value in readable(one)} for one in results["params"]]}
    )
    for name, values in results.items():
        if name != "params" and not name.startswith("param_"):
            _curve(scribe, f"search/{name}", values)
    if hasattr(search, "best_score_"):
        scribe.log({"best_cv_score": search.best_score_}, 0)


def _folds(scribe: Scribe, cv: Mapping[str, Any]) -> None:
    for name, values in cv.items():
        if name in ("estimator", "indices"):
            continue
        numbers = _curve(scribe, f"cv/{name}", values)
        if numbers:
            mean = sum(numbers) / len(numbers)
            spread = (sum((one - mean) ** 2 for one in numbers) / len(numbers)) ** 0.5
            scribe.log({f"cv/{name}_mean": mean, f"cv/{name}_std": spread}, 0)


def _curve(scribe: Scribe, name: str, values: Iterable[Any]) -> list[float]:
    numbers = [float(value) for value in values]
    for step, number in enumerate(numbers):
        scribe.log({name: number}, step)
    return numbers


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    value = value.item() if hasattr(value, "item") else value
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
