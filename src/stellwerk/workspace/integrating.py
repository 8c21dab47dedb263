"""What training frameworks are given so that they log: one function each. Only what is asked for is loaded.

Each logs to the run that it is given, else to the innermost run that a `with` statement has begun, else to one that it
begins itself. With several processes only the one of rank zero logs, and only it begins a run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from stellwerk.core.errors import Unavailable
from stellwerk.workspace.scribing import RunScribe
from stellwerk.workspace.telling import ActiveRun


def xgboost(run: ActiveRun | None = None, *, experiment: str = "default", name: str = "") -> Any:
    """A callback for XGBoost: `xgb.train(…, evals=[(dtrain, "train")], callbacks=[sw.integrations.xgboost()])`.

    Logs the training parameters, the metrics of each round for each data set, as `train/logloss`, and the best round. For
    `xgb.cv` mean and deviation; for `XGBClassifier` and its like give it to the estimator.
    """
    with _installed("xgboost"):
        from stellwerk.workspace.adapters.frameworks.xgboost import XGBoostCallback

    return XGBoostCallback(RunScribe(run, experiment=experiment, name=name))


def lightgbm(run: ActiveRun | None = None) -> Any:
    """A callback for LightGBM: `lgb.train(…, valid_sets=[valid], callbacks=[sw.integrations.lightgbm()])`.

    Logs the training parameters and the metrics of each round for each data set, as `valid_0/auc`. For `lgb.cv` mean and
    deviation. LightGBM does not say when training ends, so a run has to be there.
    """
    from stellwerk.workspace.adapters.frameworks.lightgbm import LightGBMCallback

    return LightGBMCallback(RunScribe(run, begins=False))


def keras(
    run: ActiveRun | None = None, *, experiment: str = "default", name: str = "", every: int | None = None
) -> Any:
    """A callback for Keras 3: `model.fit(…, callbacks=[sw.integrations.keras()])`.

    Logs optimizer, loss, and the metrics of each epoch.

    Args:
        every: Log the metrics of each so many batches too, as `batch/loss`, by the number of the batch over all epochs.
    """
    with _installed("keras"):
        from stellwerk.workspace.adapters.frameworks.keras import KerasCallback

    return KerasCallback(RunScribe(run, experiment=experiment, name=name), every=every)


def lightning(run: ActiveRun | None = None, *, experiment: str = "default", name: str = "") -> Any:
    """A logger for PyTorch Lightning: `Trainer(logger=sw.integrations.lightning())`.

    Logs the hyperparameters and whatever the module logs, by its steps. A run that it begins itself goes on after `fit`,
    for `test`, and ends with the process.
    """
    with _installed("lightning"):
        if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
            from stellwerk.workspace.adapters.frameworks.pytorch_lightning import StellwerkLogger as OtherLogger

            return OtherLogger(RunScribe(run, experiment=experiment, name=name))
        from stellwerk.workspace.adapters.frameworks.lightning import StellwerkLogger

    return StellwerkLogger(RunScribe(run, experiment=experiment, name=name))


def transformers(run: ActiveRun | None = None, *, experiment: str = "default", name: str = "") -> Any:
    """A callback for Hugging Face's Trainer: `Trainer(…, callbacks=[sw.integrations.transformers()])`.

    Logs the training arguments, the configuration of the model and whatever the trainer logs, by its global step. A run
    that it begins itself goes on after `train`, for `evaluate`, and ends with the process.
    """
    with _installed("transformers"):
        from stellwerk.workspace.adapters.frameworks.transformers import StellwerkCallback

    return StellwerkCallback(RunScribe(run, experiment=experiment, name=name))


def sklearn(
    estimator: Any,
    *,
    training: tuple[Any, Any] | None = None,
    test: tuple[Any, Any] | None = None,
    cv: Mapping[str, Any] | None = None,
    run: ActiveRun | None = None,
    experiment: str = "default",
    name: str = "",
) -> None:
    """Log an estimator with scikit-learn's interface: its class and parameters, and what it learned.

    A search logs its best parameters and each candidate's results; what an estimator keeps of its iterations
    (`loss_curve_`, `train_score_`) becomes a curve.

    Args:
        training: Inputs and answers it was fitted on; its `score` there is logged as `training_score`.
        test: Others; `test_score`.
        cv: What `cross_validate` returned; each fold is a step of `cv/test_score`, beside its mean and deviation.
    """
    from stellwerk.workspace.adapters.frameworks.estimators import log_estimator

    scribe = RunScribe(run, experiment=experiment, name=name)
    scribe.begin()
    try:
        log_estimator(scribe, estimator, data={"training": training, "test": test}, cv=cv or {})
    except BaseException:
        scribe.end("failed")
        raise
    scribe.end()


@contextmanager
def _installed(package: str) -> Iterator[None]:
    try:
        yield
    except ImportError as cause:
        raise Unavailable(
            f"{package} is not installed here, or not whole: {cause}",
            code="missing-package",
            hint=f"pip install {package}",
        ) from cause
