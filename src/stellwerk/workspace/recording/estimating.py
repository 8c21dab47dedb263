"""What an estimator says of itself without working: its parameters, and the numbers that it kept while it learned."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from stellwerk.workspace.adapters.frameworks.estimators import CURVES, readable
from stellwerk.workspace.spelling import number

MOST_POINTS = 10_000
MOST_TEXT = 500
"""Characters of a parameter: one that holds a whole table says nothing to anybody."""


def params(estimator: Any) -> Iterator[tuple[str, Any]]:
    """Its parameters, those of nested estimators that are not what they usually are, and the best ones of a search."""
    if hasattr(estimator, "get_params"):
        given = estimator.get_params(deep=True)
        usual = _usual(given)
        for name, value in readable(given):
            if name not in usual and not hasattr(value, "shape") and len(str(value)) <= MOST_TEXT:
                yield name, value
    best = getattr(estimator, "best_params_", None)
    if isinstance(best, dict):
        yield from ((f"best_{name}", value) for name, value in readable(best))


def _usual(given: Mapping[str, Any]) -> set[str]:
    """Names of parameters of nested estimators that stand as their class has them."""
    usual = set()
    for name, value in given.items():
        if hasattr(value, "get_params") and not isinstance(value, type):
            kind: Any = type(value)
            for label, standard in _standard(kind).items():
                held = given.get(f"{name}__{label}", ...)
                if type(held) is type(standard) and not hasattr(held, "shape") and repr(held) == repr(standard):
                    usual.add(f"{name}__{label}")
    return usual


@functools.cache
def _standard(kind: Any) -> dict[str, Any]:
    try:
        parameters = inspect.signature(kind).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def numbers(estimator: Any) -> dict[str, list[float]]:
    """Curves of its iterations, and the best score of a search."""
    found: dict[str, list[float]] = {}
    for name in CURVES:
        values = getattr(estimator, name, None)
        if values is not None:
            figures = [number(value) for value in list(values)[:MOST_POINTS]]
            found[name.removesuffix("_")] = [figure for figure in figures if figure is not None]
    best = number(getattr(estimator, "best_score_", None))
    return found | ({"best_cv_score": [best]} if best is not None else {})
