"""XGBoost: metrics of each round. Of several workers only the one of rank zero logs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xgboost import collective
from xgboost.callback import TrainingCallback

from stellwerk.workspace.ports import Scribe


class XGBoostCallback(TrainingCallback):
    """Logs to a scribe. What it says begins with `before_training`."""

    def __init__(self, scribe: Scribe) -> None:
        super().__init__()
        self._scribe = scribe

    def before_training(self, model: Any) -> Any:
        if collective.get_rank() == 0:
            self._scribe.begin()
            if hasattr(model, "save_config"):  # the models of a cross-validation are several
                self._scribe.params(parameters(json.loads(model.save_config())["learner"]))
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, Sequence[Any]]]) -> bool:
        if collective.get_rank() == 0:
            self._scribe.log(dict(_latest(evals_log)), epoch)
        return False

    def after_training(self, model: Any) -> Any:
        if collective.get_rank() == 0:
            said = model.attributes() if hasattr(model, "attributes") else {}
            if "best_iteration" in said:
                best = int(said["best_iteration"])
                self._scribe.log({"best_iteration": best, "best_score": float(said["best_score"])}, best)
            self._scribe.end()
        return model


def parameters(learner: Mapping[str, Any]) -> dict[str, Any]:
    """Names and values of a learner's configuration, which has them in groups `…_param` at several depths."""
    found: dict[str, Any] = {}
    metrics = [metric["name"] for metric in learner.get("metrics", ())]
    if metrics:
        found["eval_metric"] = metrics
    for group in _groups(learner):
        for name, text in group.items():
            if text != "":
                found.setdefault(name, _value(text))
    return found


def _groups(node: Any) -> Iterator[Mapping[str, Any]]:
    for name, inner in node.items() if isinstance(node, Mapping) else ((str(i), one) for i, one in enumerate(node)):
        if isinstance(inner, Mapping) and name.endswith("_param"):
            yield inner
        elif isinstance(inner, (Mapping, list)):
            yield from _groups(inner)


def _value(text: Any) -> Any:
    """XGBoost writes numbers of 32 bits with nine digits: 0.100000001."""
    try:
        return text if isinstance(text, str) and text.lstrip("-").isdigit() else float(f"{float(text):.7g}")
    except (TypeError, ValueError):
        return text


def _latest(evals_log: Mapping[str, Mapping[str, Sequence[Any]]]) -> Iterator[tuple[str, float]]:
    for data, metrics in evals_log.items():
        for metric, values in metrics.items():
            if isinstance(values[-1], tuple):
                yield f"{data}/{metric}", values[-1][0]
                yield f"{data}/{metric}_std", values[-1][1]
            else:
                yield f"{data}/{metric}", values[-1]
