"""The built-in step `evaluate`: models measured on a selection table, and the best of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from stellwerk.models.tabular import TabularModel


def evaluate(*, model: Any, table: pl.DataFrame, baseline: Any = None) -> dict[str, Any]:
    """Measure models (one, or one per seed) on a selection table, beside a baseline, and choose the best by its loss.

    The chosen one's value is optimistic, because it was chosen here; only a gate set gives an unbiased one. Its
    place in the distribution of seeds is reported (`methods` 2.1, chosen-seed bias).
    """
    import numpy as np

    from stellwerk.evidence.metrics import METRICS, PROPER, constant_scores
    from stellwerk.models.fitting import class_indices

    models: list[TabularModel] = [*(model if isinstance(model, list) else [model])]
    seeds = len(models)
    models += [] if baseline is None else [*(baseline if isinstance(baseline, list) else [baseline])]
    signature = models[0].signature
    labels = class_indices(signature, table.get_column(signature.target))
    scores = [scores_of(one, table) for one in models]
    names = [metric.name for metric in METRICS.values() if signature.task in metric.tasks]
    if signature.task == "regression":
        names = [name for name in names if name == "mae"]
    measured = [
        {name: METRICS[name].bounds(labels, one, 0.05, None).estimate for name in names if _possible(name, labels)}
        for one in scores
    ]
    loss = PROPER[signature.task]
    losses = [item[loss] for item in measured]
    chosen = int(np.argmin(losses))
    baseline = constant_scores(signature.task, labels, len(labels), len(signature.classes))
    return {
        "task": signature.task,
        "rows": table.height,
        "chosen": chosen,
        "metrics": measured[chosen],
        "seeds": measured[:seeds],
        "simpler": measured[seeds:],
        "baseline": {loss: METRICS[loss].bounds(labels, baseline, 0.05, None).estimate},
        "luck": _luck(losses[:seeds], chosen),
    }


def _luck(losses: list[float], chosen: int) -> float:
    """How many standard deviations of the seeds the chosen one is better than their mean."""
    import numpy as np

    spread = float(np.std(losses, ddof=1)) if len(losses) > 2 else 0.0
    return (float(np.mean(losses)) - losses[chosen]) / spread if spread > 0 and chosen < len(losses) else 0.0


def scores_of(model: TabularModel, frame: pl.DataFrame) -> Any:
    """Probabilities (n, k) of a classifier, values (n,) of a regression."""
    return model.predict(frame) if model.signature.task == "regression" else model.predict_proba(frame)


def _possible(name: str, labels: Any) -> bool:
    return name != "auroc" or len(set(labels.tolist())) == 2
