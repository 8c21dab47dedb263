"""What is true at release, computed once from the cases that proved the model: columns, scores, loss and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.evidence.statistics.bounds import mean_bounds
from stellwerk.evidence.statistics.clusters import clustered_mean
from stellwerk.models.model import Signature
from stellwerk.monitoring import drift, risk
from stellwerk.monitoring.model import SCORE, Baseline, ColumnBaseline
from stellwerk.monitoring.predictions import FOREIGN, Floats, label_array, score_array
from stellwerk.releases.model import Goal

MIN_CASES = 30


def baseline(
    *,
    endpoint: str,
    model: Digest,
    now: datetime,
    signature: Signature,
    columns: Mapping[str, Any],
    scores: Sequence[Any],
    labels: Sequence[Any],
    goals: Sequence[Goal] = (),
    blocks: Sequence[Any] | None = None,
    groups: Any = None,
    scale: float | None = None,
    delta: float = 0.01,
    alpha: float = 0.05,
) -> Baseline:
    """Measure the reference: cases like those to come, kept apart from training, with their truth.

    Args:
        scores: As the model answers them; see `ports.Batch.scores`.
        labels: The truth in the words of the target column.
        blocks: The past period, such as a month, of each case: lets drift know what usually moves.
        groups: What cases share, such as their day: then bounds come from the spread between groups.
        scale: Absolute error that counts as loss 1, for regression.
        delta: δ_S, level of the upper bound of the mean loss.
        alpha: Level of the bounds of the metrics.

    Raises:
        Invalid: fewer than 30 cases, cases without a usable score or label, columns of other lengths.
    """
    task, classes, rows = signature.task, signature.classes, len(labels)
    lengths = {len(scores), rows, *(len(values) for values in columns.values())}
    if blocks is not None:
        lengths.add(len(blocks))
    if rows < MIN_CASES or len(lengths) != 1:
        raise Invalid(
            f"{rows} labels, and columns of {sorted(lengths)} rows (expected equally many, at least {MIN_CASES})",
            code="invalid-reference",
        )
    answers, truth = _usable(scores, labels, signature)
    span = scale or (risk.error_scale(answers, truth) if task == "regression" else 1.0)
    losses = risk.loss_values(task, answers, truth, span)
    if groups is None:
        bounds = mean_bounds(losses, alpha=delta, support=(0.0, 1.0))
    else:
        bounds = clustered_mean(losses, groups, alpha=delta)
    names = risk.metrics(task, goals)
    measures = [risk.measured(name, answers, truth, alpha=alpha, groups=groups) for name in names]
    return Baseline(
        endpoint=endpoint,
        model=model,
        made_at=now,
        task=task,
        classes=classes,
        rows=rows,
        columns=_columns(signature, columns, answers, blocks),
        loss="absolute-error" if task == "regression" else "brier",
        scale=span,
        risk_estimate=bounds.estimate,
        risk_upper=1.0 if bounds.upper is None else bounds.upper,
        risk_delta=delta,
        metric=names[0],
        measures=tuple(measure for measure in measures if measure is not None),
        expected=risk.expected(names[0], answers),
        expected_spread=_spread(names[0], answers, blocks),
    )


def watched_scores(classes: Sequence[str], scores: Floats) -> Any:
    """The model's answers as a column: the probability, the value, or the likeliest of many classes."""
    if scores.ndim == 1:
        return scores
    return scores[:, 1] if len(classes) == 2 else [classes[index] for index in scores.argmax(axis=1).tolist()]


def _columns(
    signature: Signature, columns: Mapping[str, Any], scores: Floats, blocks: Sequence[Any] | None
) -> tuple[ColumnBaseline, ...]:
    """Numbers and categories. Times are left out: they move on by nature."""
    found = [
        drift.describe(column.name, "number" if column.kind == "number" else "category", columns[column.name], blocks)
        for column in signature.inputs
        if column.kind != "time" and column.name in columns
    ]
    score = drift.describe(
        SCORE,
        "category" if signature.task == "multiclass" and len(signature.classes) > 2 else "number",
        watched_scores(signature.classes, scores),
        blocks,
    )
    return tuple(column for column in (*found, score) if column is not None)


def _usable(scores: Sequence[Any], labels: Sequence[Any], signature: Signature) -> tuple[Floats, Floats]:
    answers, usable = score_array([scores], signature.task, signature.classes, rows=len(labels))
    truth = label_array(labels, signature.task, signature.classes)
    good = usable & np.isfinite(truth) & ((truth != FOREIGN) | (signature.task == "regression"))
    if not good.all():
        raise Invalid(
            f"{int((~good).sum())} of {len(good)} reference cases have no usable score or label",
            code="invalid-reference",
            hint="leave them out, and say why in the dossier",
        )
    return answers, truth


def _spread(metric: str, scores: Floats, blocks: Sequence[Any] | None) -> float:
    """How much the label-free estimate differs between past blocks."""
    if blocks is None:
        return 0.0
    found = [risk.expected(metric, scores[rows]) for rows in drift.rows_of(blocks)]
    known = [value for value in found if value is not None]
    return float(np.std(known, ddof=1)) if len(known) >= drift.MIN_BLOCKS else 0.0
