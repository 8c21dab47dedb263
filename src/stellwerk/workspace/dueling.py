"""Two models on the same production cases: the log's inputs, the labels that came later, and a paired bound."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.evidence.metrics import METRICS
from stellwerk.evidence.model import CheckResult
from stellwerk.evidence.statistics.samples import Bounds
from stellwerk.governance.comparing import Duel, Side
from stellwerk.models.fitting import class_indices
from stellwerk.models.model import ModelVersion
from stellwerk.serving.model import SealedBatch
from stellwerk.workspace.rooms import Rooms

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

ALPHA = 0.05
MIN_CASES = 50


def duel(rooms: Rooms, endpoint: str, first: str, second: str, since: datetime, until: datetime) -> Duel:
    """Ask both models the questions that production was asked between two moments, and compare with the truth."""
    one, two = rooms.registry.find(first), rooms.registry.find(second)
    signature, _ = one.interface(), two.interface()
    declared = rooms.interlocking.endpoint(endpoint)
    frame, days, unlabelled = cases(rooms, endpoint, since, until, signature.target)
    if frame.height < MIN_CASES:
        raise Invalid(
            f"{frame.height} labelled predictions between the two moments (expected at least {MIN_CASES})",
            code="too-few-cases",
            hint="wait for labels, or widen the time",
        )
    buffer = io.BytesIO()
    frame.drop(signature.target).write_parquet(buffer, compression="zstd")
    asked = rooms.blobs.put(buffer.getvalue())
    labels = class_indices(signature, frame.get_column(signature.target))
    scores = [rooms.examiner.answers(model.bytes(), asked).scores for model in (one, two)]
    name = next((g.metric for g in declared.goals if g.metric in METRICS), "accuracy")
    metric = METRICS[name]
    groups = _groups(frame, days, declared.groups)
    singles = [metric.bounds(labels, item, ALPHA, groups) for item in scores]
    gain = metric.difference(labels, scores[0], scores[1], ALPHA, groups)
    evidence = _sign(rooms, endpoint, one, two, name, gain)
    return Duel(
        endpoint=endpoint,
        metric=name,
        since=since,
        until=until,
        cases=frame.height,
        unlabelled=unlabelled,
        first=_side(one, singles[0]),
        second=_side(two, singles[1]),
        difference=gain.estimate,
        lower=gain.lower,
        upper=gain.upper,
        verdict=verdict(gain),
        evidence=evidence,
    )


def cases(
    rooms: Rooms, endpoint: str, since: datetime, until: datetime, target: str
) -> tuple[pl.DataFrame, NDArray[Any], int]:
    """Logged inputs with their labels, the day of each, and how many predictions have no label."""
    import polars as pl

    truth = rooms.monitoring.outcomes(endpoint)
    parts, labels, days, unlabelled = [], [], [], 0
    for batch in rooms.predictions.batches(endpoint, since, until):
        erased = batch.sealed if isinstance(batch, SealedBatch) else {}
        rows = [row for row in range(batch.count) if row not in erased]
        known = [(row, truth[name][0]) for row in rows if (name := f"{batch.id}-{row}") in truth]
        unlabelled += batch.count - len(known)
        if known:
            table = pl.DataFrame({name: list(values) for name, values in batch.columns.items()}, strict=False)
            parts.append(table[[row for row, _ in known]])
            labels += [label for _, label in known]
            days += [f"{batch.at:%F}"] * len(known)
    if not parts:
        raise NotFound("no labelled predictions between the two moments", code="too-few-cases")
    frame = pl.concat(parts, how="vertical_relaxed")
    return frame.with_columns(pl.Series(target, labels)), np.array(days), unlabelled


def _groups(frame: pl.DataFrame, days: NDArray[Any], columns: tuple[str, ...] | None) -> NDArray[Any] | None:
    if columns is None:
        return None
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise Invalid(f"the log has no column {', '.join(missing)} to group by", code="unknown-column")
    parts = [days.tolist(), *(map(str, frame.get_column(name)) for name in columns)]
    return np.array(["\x1f".join(key) for key in zip(*parts, strict=True)])


def verdict(gain: Bounds) -> str:
    """What the bounds of a difference say."""
    if gain.lower is not None and gain.lower > 0:
        return "better"
    return "worse" if gain.upper is not None and gain.upper < 0 else "not distinguishable"


def _side(model: ModelVersion, bounds: Bounds) -> Side:
    return Side(
        model=f"{model.name}@{model.version}", estimate=bounds.estimate, lower=bounds.lower, upper=bounds.upper
    )


def _sign(
    rooms: Rooms, endpoint: str, one: ModelVersion, two: ModelVersion, metric: str, gain: Bounds
) -> Digest | None:
    result = CheckResult(
        name=f"duel:{metric}",
        kind="success",
        outcome="pass" if verdict(gain) == "better" else "fail" if verdict(gain) == "worse" else "unproven",
        text=f"{metric} of {one.name}@{one.version} minus {two.name}@{two.version} on the same production cases "
        f"of {endpoint}: {gain.estimate:+.4f}",
        metric=metric,
        estimate=gain.estimate,
        lower=gain.lower,
        upper=gain.upper,
        limit=0.0,
        n=gain.n,
        method=gain.method,
    )
    facts: dict[str, Any] = {"champion": two.digest, "endpoint": endpoint, "cases": int(np.int64(gain.n))}
    return rooms.notary.sign("duel", one.bytes(), (result,), max_age=timedelta(days=30), facts=facts).statement
