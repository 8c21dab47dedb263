"""Estimators of the families that AutoML searches, with the pre-processing that belongs to each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def estimator(task: str, params: Mapping[str, Any]) -> Any:
    """An estimator that is not fitted yet. Parameters that are missing have the defaults of the family."""
    family = params["family"]
    if family == "linear":
        return _linear(task, params)
    if family in ("forest", "extra"):
        return _trees(task, params)
    if family == "boosting":
        return _boosting(task, params)
    return _lightgbm(task, params) if family == "lightgbm" else _xgboost(task, params)


def _linear(task: str, params: Mapping[str, Any]) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer, RobustScaler, StandardScaler

    scalers = {
        "standard": StandardScaler,
        "robust": RobustScaler,
        "quantile": lambda: QuantileTransformer(n_quantiles=50, output_distribution="normal", random_state=0),
    }
    strength = float(params.get("strength", 1.0))
    line = Ridge(alpha=1 / strength) if task == "regression" else LogisticRegression(C=strength, max_iter=2000)
    scaler = scalers[params.get("scale", "standard")]()
    return make_pipeline(SimpleImputer(keep_empty_features=True), scaler, line)


def _trees(task: str, params: Mapping[str, Any]) -> Any:
    from sklearn import ensemble
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    name = {"forest": "RandomForest", "extra": "ExtraTrees"}[params["family"]]
    kind = getattr(ensemble, name + ("Regressor" if task == "regression" else "Classifier"))
    trees = kind(
        n_estimators=int(params.get("trees", 100)),
        min_samples_leaf=int(params.get("leaf", 5)),
        max_features=float(params.get("share", 1.0)),
        random_state=0,
    )
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), trees)


def _boosting(task: str, params: Mapping[str, Any]) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    return kind(
        max_iter=int(params.get("rounds", 100)),
        learning_rate=float(params.get("rate", 0.1)),
        max_leaf_nodes=int(params.get("leaves", 31)),
        min_samples_leaf=int(params.get("leaf", 20)),
        l2_regularization=float(params.get("penalty", 0.0)),
        early_stopping=False,
        random_state=0,
    )


def _lightgbm(task: str, params: Mapping[str, Any]) -> Any:
    import lightgbm

    kind = lightgbm.LGBMRegressor if task == "regression" else lightgbm.LGBMClassifier
    return kind(
        n_estimators=int(params.get("rounds", 100)),
        learning_rate=float(params.get("rate", 0.1)),
        num_leaves=int(params.get("leaves", 31)),
        min_child_samples=int(params.get("leaf", 20)),
        reg_lambda=float(params.get("penalty", 0.0)),
        random_state=0,
        n_jobs=1,
        verbose=-1,
    )


def _xgboost(task: str, params: Mapping[str, Any]) -> Any:
    import xgboost

    settings = {
        "n_estimators": int(params.get("rounds", 100)),
        "learning_rate": float(params.get("rate", 0.1)),
        "max_leaves": int(params.get("leaves", 31)),
        "max_depth": 0,
        "grow_policy": "lossguide",
        "min_child_weight": float(params.get("leaf", 1)),
        "reg_lambda": float(params.get("penalty", 1.0)),
        "random_state": 0,
        "n_jobs": 1,
    }
    if task == "regression":
        return xgboost.XGBRegressor(**settings)
    return _NamedClasses(xgboost.XGBClassifier(**settings))


class _NamedClasses:
    """A classifier that takes the names of classes, for one that only counts them."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def fit(self, rows: Any, names: Any) -> _NamedClasses:
        import numpy as np

        self.classes_, places = np.unique(names, return_inverse=True)
        self.inner.fit(rows, places)
        return self

    def predict_proba(self, rows: Any) -> Any:
        return self.inner.predict_proba(rows)
