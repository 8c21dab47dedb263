"""The steps that come with Stellwerk: contract, evaluate, gate. They run where the pipeline runs."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from stellwerk.core.errors import Invalid, Refused
from stellwerk.pipelines.model import Builtin

if TYPE_CHECKING:
    import polars as pl

    from stellwerk.data.model import Contract
    from stellwerk.evidence.model import GateSet
    from stellwerk.models.tabular import TabularModel

BUILTINS = (
    Builtin(name="contract", version=1),
    Builtin(name="evaluate", version=1),
    Builtin(name="gate", version=1),
)


def table(contracts: Callable[[str], Contract], seal: Callable[..., GateSet]) -> Mapping[str, Callable[..., Any]]:
    """The built-in steps, given how to find a contract and how to seal a gate set."""

    def contract(*, table: pl.DataFrame, name: str, **_pinned: Any) -> pl.DataFrame:
        """Pass on a table that fulfils the contract of a name; refuse any other, with rows and reasons."""
        from stellwerk.data import contract as rules

        report = rules.check(contracts(name), table)
        if not report.ok:
            raise Refused(
                f"the table breaks the contract {name!r} in {report.bad_rows:,} of {report.rows:,} rows:\n"
                + "\n".join(f"  {line}" for line in rules.describe(report)),
                code="contract-broken",
                hint="correct the rows, or confirm a changed contract",
            )
        return table

    def gate(*, table: pl.DataFrame, name: str, target: str) -> dict[str, Any]:
        """Seal a table as a gate set: features readable, labels encrypted."""
        from stellwerk.data.target import task_of

        if target not in table.columns:
            raise Invalid(f"the gate table has no column {target!r}", code="unknown-column")
        features, labels = table.drop(target), table.select(target)
        sealed = seal(
            name=name,
            features=_parquet(features),
            labels=_parquet(labels),
            rows=table.height,
            target=target,
            task=task_of(labels.get_column(target)),
        )
        return {"gate": sealed.name, "version": sealed.version, "rows": sealed.rows, "features": sealed.features}

    return {"contract": contract, "evaluate": evaluate, "gate": gate}


def evaluate(*, model: Any, table: pl.DataFrame) -> dict[str, Any]:
    """Measure models (one, or one per seed) on a selection table, beside a baseline, and choose the best by its loss.

    The chosen one's value is optimistic, because it was chosen here; only a gate set gives an unbiased one. Its
    place in the distribution of seeds is reported (`methods` 2.1, chosen-seed bias).
    """
    import numpy as np

    from stellwerk.evidence.metrics import METRICS, PROPER, constant_scores
    from stellwerk.models.fitting import class_indices

    models: list[TabularModel] = model if isinstance(model, list) else [model]
    signature = models[0].signature
    labels = class_indices(signature, table.get_column(signature.target))
    scores = [scores_of(one, table) for one in models]
    names = [metric.name for metric in METRICS.values() if signature.task in metric.tasks]
    if signature.task == "regression":
        names = [name for name in names if name == "mae"]
    measured = [
        {name: METRICS[name].bounds(labels, one, 0.05).estimate for name in names if _possible(name, labels)}
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
        "seeds": measured,
        "baseline": {loss: METRICS[loss].bounds(labels, baseline, 0.05).estimate},
        "luck": (float(np.mean(losses)) - losses[chosen]) / float(np.std(losses, ddof=1))
        if len(losses) > 2 and float(np.std(losses)) > 0
        else 0.0,
    }


def scores_of(model: TabularModel, frame: pl.DataFrame) -> Any:
    """Probabilities (n, k) of a classifier, values (n,) of a regression."""
    return model.predict(frame) if model.signature.task == "regression" else model.predict_proba(frame)


def _possible(name: str, labels: Any) -> bool:
    return name != "auroc" or len(set(labels.tolist())) == 2


def _parquet(frame: pl.DataFrame) -> bytes:
    from stellwerk.data.reading import frame_to_parquet

    return frame_to_parquet(frame)


def read_parquet(data: bytes) -> pl.DataFrame:
    """A table from Parquet bytes."""
    import polars as pl

    return pl.read_parquet(io.BytesIO(data))


def encode_bytes(data: bytes) -> str:
    """Bytes as text for a JSON argument."""
    return base64.b64encode(data).decode()
