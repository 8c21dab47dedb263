"""Indices inside tree models. scikit-learn follows them without looking, so a crafted file could read any memory.

Types are checked before loading, by `models.schema`; this runs after loading and before the first prediction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.tree._tree import Tree

from stellwerk.core.errors import Refused

_HIST = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
_FORESTS = (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor)
_SINGLE = (DecisionTreeClassifier, DecisionTreeRegressor)  # extremely randomised trees are subclasses


def check(estimator: Any) -> None:
    """Refuse an estimator, `unsafe-index`, in which any tree points outside its own nodes or the rows it will get."""
    for part in _parts(estimator):
        # Templates that were never fitted have no trees and cannot predict.
        if isinstance(part, _HIST) and hasattr(part, "_predictors"):
            _check_boosting(part)
        elif isinstance(part, _FORESTS) and hasattr(part, "estimators_"):
            width = _width(part)
            for tree in part.estimators_:
                _demand(isinstance(tree, _SINGLE), "a forest holds something other than trees")
                _check_tree(tree, width)
        elif isinstance(part, _SINGLE) and hasattr(part, "tree_"):
            _check_tree(part, _width(part))


def _parts(root: Any) -> Iterator[Any]:
    """Everything reachable from an estimator through attributes, containers and object arrays, each once."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if id(part) in seen or isinstance(part, (str, bytes, int, float, type(None))):
            continue
        seen.add(id(part))
        yield part
        if isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, (list, tuple, set)):
            waiting.extend(part)
        elif isinstance(part, np.ndarray):
            waiting.extend(part.ravel().tolist() if part.dtype == object else ())
        elif type(part).__module__.startswith("sklearn.") and hasattr(part, "__dict__"):
            waiting.extend(vars(part).values())


def _check_boosting(model: Any) -> None:
    width = _width(model)
    mapper = model._bin_mapper
    categorical = np.asarray(mapper.is_categorical_)
    _demand(categorical.ndim == 1 and categorical.size == width, "the bins belong to another number of columns")
    _demand(len(mapper.bin_thresholds_) == width, "the bins belong to another number of columns")
    preprocessor = model._preprocessor
    if preprocessor is not None:
        rows = preprocessor.transform(np.zeros((1, width)))
        _demand(getattr(rows, "shape", None) == (1, width), "the preprocessor gives another number of columns")
    for stage in model._predictors:
        for predictor in stage:
            _demand(type(predictor) is TreePredictor, "boosting holds something other than trees")
            _check_predictor(predictor, categorical.astype(bool))


def _check_predictor(predictor: Any, categorical: NDArray[np.bool_]) -> None:
    nodes = predictor.nodes
    _demand(
        isinstance(nodes, np.ndarray)
        and nodes.dtype == PREDICTOR_RECORD_DTYPE
        and nodes.ndim == 1
        and nodes.size > 0,
        "a tree's nodes are not an array of nodes",
    )
    inner = nodes[nodes["is_leaf"] == 0]
    own = np.flatnonzero(nodes["is_leaf"] == 0)
    _check_children(own, inner["left"].astype(np.int64), inner["right"].astype(np.int64), nodes.size)
    feature = inner["feature_idx"]
    _demand(bool(((feature >= 0) & (feature < categorical.size)).all()), "a node asks for a column that is not there")
    by_set = inner[inner["is_categorical"] != 0]
    sets = predictor.raw_left_cat_bitsets
    _demand(
        isinstance(sets, np.ndarray) and sets.ndim == 2 and sets.shape[1] == 8, "category sets have another shape"
    )
    _demand(bool((by_set["bitset_idx"] < sets.shape[0]).all()), "a node asks for a category set that is not there")
    _demand(bool(categorical[by_set["feature_idx"]].all()), "a node asks for categories of a column of numbers")


def _check_tree(owner: Any, width: int) -> None:
    tree = owner.tree_
    _demand(type(tree) is Tree and 0 < tree.node_count <= tree.capacity, "a tree counts more nodes than it has")
    _demand(tree.n_outputs == owner.n_outputs_, "a tree has another number of outputs than its estimator")
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    own = np.flatnonzero(left != -1)
    _check_children(own, left[own], right[own], tree.node_count)
    _demand(bool(((feature[own] >= 0) & (feature[own] < width)).all()), "a node asks for a column that is not there")


def _check_children(own: NDArray[Any], left: NDArray[Any], right: NDArray[Any], count: int) -> None:
    """Children come after their parents in both kinds of trees, so there are no endless walks either."""
    forward = (left > own) & (right > own) & (left < count) & (right < count)
    _demand(bool(forward.all()), "a node's children are outside the tree or before it")


def _width(model: Any) -> int:
    width = getattr(model, "n_features_in_", None)
    _demand(type(width) is int and width > 0, "a tree model does not say how many columns it takes")
    return int(width or 0)


def _demand(holds: bool, reason: str) -> None:
    if not holds:
        raise Refused(f"the model cannot be used safely: {reason}", code="unsafe-index")
