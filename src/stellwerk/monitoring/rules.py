"""One assessment of a release: which predictions count, what their labels, inputs and scores say, what is alarming.

Pure. The parts are in `risk` and `drift`, renewing in `renewal`, reading and writing in `service`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np

from stellwerk.core.errors import Invalid
from stellwerk.evidence.metrics import METRICS
from stellwerk.evidence.statistics.power import alpha_at_attempt
from stellwerk.monitoring import drift, risk
from stellwerk.monitoring.alarms import alarms
from stellwerk.monitoring.baseline import watched_scores
from stellwerk.monitoring.model import (
    SCORE,
    Assessment,
    Baseline,
    Decline,
    DriftFinding,
    LabelFree,
    RiskState,
    Settings,
    Window,
)
from stellwerk.monitoring.outcomes import microseconds
from stellwerk.monitoring.predictions import FOREIGN, Booleans, Floats, Integers, Predictions


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Mature, labelled predictions, ordered by time; arrays are aligned.

    Attributes:
        losses: Within [0, 1]; 1 where score or label are unusable.
        sound: Whether both are usable, so that metrics can be computed.
        rows: Their row among all predictions.
        groups: What they share; None where cases are independent.
    """

    at: Integers
    scores: Floats
    labels: Floats
    losses: Floats
    sound: Booleans
    rows: Integers
    groups: Integers | None

    def within(self, chosen: Booleans) -> Integers | None:
        """The groups of some of them."""
        return None if self.groups is None else self.groups[chosen]


def assess(
    predictions: Predictions,
    baseline: Baseline,
    settings: Settings,
    *,
    id: str,  # noqa: A002
    release: str,
    since: datetime,
    now: datetime,
    look: int = 1,
) -> Assessment:
    """Everything that can be said about a release at one moment. Nothing in here renews.

    Args:
        look: How often this release has been looked at, this time included.
    """
    before = microseconds(now - settings.label_delay)
    judged = judge(predictions, baseline, before=before, grouped=settings.groups is not None)
    matured = int(((predictions.at <= before) & ~predictions.withheld).sum())
    oldest = since if settings.lookback is None else max(since, now - settings.lookback)
    proof = judged.at >= microseconds(oldest)
    sound = judged.sound & proof
    names = risk.metrics(baseline.task, settings.goals)
    measures = [
        risk.measured(
            name,
            judged.scores[sound],
            judged.labels[sound],
            alpha=settings.alpha,
            groups=judged.within(sound),
        )
        for name in names
    ]
    found, broken, notes = drifted(predictions, baseline, settings)
    assessment = Assessment(
        id=id,
        endpoint=baseline.endpoint,
        release=release,
        model=baseline.model,
        at=now,
        since=since,
        predictions=len(predictions),
        matured=matured,
        labelled=len(judged.at),
        coverage=len(judged.at) / matured if matured else None,
        delay=_delay(predictions, judged),
        withheld=int(predictions.withheld.sum()),
        foreign_labels=int((~np.isfinite(judged.labels) | _foreign(judged.labels, baseline)).sum()),
        unusable_scores=int((~predictions.usable).sum()),
        risk=tracked(judged, baseline, settings, since=since, now=now, matured=matured),
        proof=risk.mean_loss(judged.losses[proof], alpha=settings.alpha, groups=judged.within(proof)),
        measures=tuple(measure for measure in measures if measure is not None),
        windows=windows(predictions, judged, baseline, settings, metric=names[0], since=since, now=now),
        drift=found,
        label_free=expectation(predictions, baseline, settings),
        alarms=(),
        decline=declined(judged, baseline, settings, metric=names[0], look=look),
        notes=(*notes, *_unmeasured(baseline, settings)),
    )
    return replace(assessment, alarms=alarms(assessment, settings, broken))


def judge(predictions: Predictions, baseline: Baseline, *, before: int, grouped: bool = False) -> Judged:
    """The predictions whose truth counts: labelled, decided automatically, and given at `before` or earlier."""
    rows = np.flatnonzero(predictions.labelled & ~predictions.withheld & (predictions.at <= before))
    labels, scores = predictions.labels[rows], predictions.scores[rows]
    sound = predictions.usable[rows] & np.isfinite(labels) & ~_foreign(labels, baseline)
    # What cannot be right counts as wrong, so that a broken label or score is never a good one.
    losses = np.ones(len(rows))
    losses[sound] = risk.loss_values(baseline.task, scores[sound], labels[sound], baseline.scale)
    return Judged(
        at=predictions.at[rows],
        scores=scores,
        labels=labels,
        losses=losses,
        sound=sound,
        rows=rows,
        groups=predictions.groups[rows] if grouped else None,
    )


def tracked(
    judged: Judged, baseline: Baseline, settings: Settings, *, since: datetime, now: datetime, matured: int
) -> RiskState:
    """The risk tracker over all labels since the release."""
    beginnings = []
    start = since + settings.restart
    while start < now:
        beginnings.append(microseconds(start))
        start += settings.restart
    state = risk.track(
        judged.losses,
        judged.at,
        limit=baseline.risk_upper + settings.tolerance,
        delta=settings.delta,
        alpha=settings.alpha,
        restarts=beginnings,
        blocks=judged.groups,
    )
    worst = (float(judged.losses.sum()) + matured - len(judged.at)) / matured if matured else None
    return replace(state, pessimistic=worst)


def declined(judged: Judged, baseline: Baseline, settings: Settings, *, metric: str, look: int) -> Decline | None:
    """Judge "the metric is what it was at release, but for the margin" over all labels since the release."""
    before = next((measure for measure in baseline.measures if measure.metric == metric), None)
    now = risk.measured(
        metric,
        judged.scores[judged.sound],
        judged.labels[judged.sound],
        alpha=alpha_at_attempt(settings.delta, look),
        groups=judged.within(judged.sound),
    )
    if before is None or now is None:
        return None
    margin = next((goal.margin for goal in settings.goals if goal.metric == metric and goal.margin), 0.0)
    if METRICS[metric].larger_is_better:
        promised = before.estimate if before.lower is None else before.lower
        proven = now.upper is not None and now.upper < promised - margin
    else:
        promised = before.estimate if before.upper is None else before.upper
        proven = now.lower is not None and now.lower > promised + margin
    return Decline(now=now, at_release=promised, margin=margin, look=look, proven=proven)


def windows(
    predictions: Predictions,
    judged: Judged,
    baseline: Baseline,
    settings: Settings,
    *,
    metric: str,
    since: datetime,
    now: datetime,
) -> tuple[Window, ...]:
    """The release in slices of time, each judged by its own labels."""
    result = []
    edges = boundaries(since, now, settings.window)
    mature = microseconds(now - settings.label_delay)
    for start, end in pairwise(edges):
        low, high = (microseconds(edge) for edge in (start, end))
        given = slice(*np.searchsorted(predictions.at, [low, high], side="left"))
        mine = slice(*np.searchsorted(judged.at, [low, high], side="left"))
        sound = judged.sound[mine]
        scores, labels = judged.scores[mine][sound], judged.labels[mine][sound]
        usable = predictions.usable[given]
        mature_here = (predictions.at[given] <= mature) & ~predictions.withheld[given]
        result.append(
            Window(
                start=start,
                end=end,
                predictions=len(usable),
                matured=int(mature_here.sum()),
                labelled=len(sound),
                measure=risk.measured(
                    metric,
                    scores,
                    labels,
                    alpha=settings.alpha,
                    groups=None if judged.groups is None else judged.groups[mine][sound],
                ),
                mean_loss=float(judged.losses[mine].mean()) if len(sound) else None,
                positive_rate=float((labels == 1.0).mean()) if len(labels) and baseline.task == "binary" else None,
                mean_score=_mean_score(predictions.scores[given][usable], baseline),
            )
        )
    return tuple(result)


def boundaries(since: datetime, now: datetime, width: timedelta | None) -> list[datetime]:
    """Where windows begin and end: `width` apart from the release on, or at the beginnings of months in UTC."""
    edges, edge = [since.astimezone(UTC)], since.astimezone(UTC)
    while edge < now:
        if width is None:
            first = edge.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            edge = (first + timedelta(days=32)).replace(day=1)
        else:
            edge += width
        edges.append(min(edge, now.astimezone(UTC)))
    return edges


def drifted(
    predictions: Predictions, baseline: Baseline, settings: Settings
) -> tuple[tuple[DriftFinding, ...], dict[str, str], tuple[str, ...]]:
    """Findings per column, columns that cannot be compared and why, and what was not judged."""
    recent = slice(predictions.recent_from, None)
    usable = predictions.usable[recent]
    count = len(usable)
    if count < drift.MIN_ROWS:
        return (), {}, (f"drift was not judged: {count} recent predictions, {drift.MIN_ROWS} are needed",)
    columns = dict(predictions.recent)
    notes = () if columns else ("drift of inputs was not judged: the log holds no inputs",)
    broken: dict[str, str] = {}
    compared = []
    for column in baseline.columns:
        if column.name == SCORE:
            values = watched_scores(baseline.classes, predictions.scores[recent][usable])
        elif column.name in columns:
            values = columns[column.name]
        else:
            broken.update({column.name: "is not in the log"} if columns else {})
            continue
        try:
            compared.append(drift.compare(column, values))
        except Invalid:
            broken[column.name] = "holds something that is no number"
    return (
        drift.findings(
            [found for found in compared if found is not None],
            alpha=settings.drift_alpha,
            effect_floor=settings.effect_floor,
        ),
        broken,
        notes,
    )


def expectation(predictions: Predictions, baseline: Baseline, settings: Settings) -> LabelFree | None:
    """What the recent scores alone let expect."""
    recent = slice(predictions.recent_from, None)
    margins = [goal.margin for goal in settings.goals if goal.metric == baseline.metric and goal.margin is not None]
    scores = predictions.scores[recent][predictions.usable[recent]]
    return risk.label_free(baseline, scores, margin=margins[0] if margins else settings.estimate_margin)


def _foreign(labels: Floats, baseline: Baseline) -> Booleans:
    if baseline.task == "regression":
        return np.zeros(len(labels), dtype=np.bool_)
    result: Booleans = labels == FOREIGN
    return result


def _delay(predictions: Predictions, judged: Judged) -> float | None:
    if not len(judged.rows):
        return None
    waited = predictions.observed[judged.rows] - judged.at
    return max(0.0, float(np.quantile(waited, 0.9)) / 1e6)


def _mean_score(scores: Floats, baseline: Baseline) -> float | None:
    if not len(scores) or baseline.task == "multiclass":
        return None
    return float((scores[:, 1] if scores.ndim == 2 else scores).mean())


def _unmeasured(baseline: Baseline, settings: Settings) -> tuple[str, ...]:
    names = [goal.metric for goal in settings.goals if not risk.measurable(goal.metric, baseline.task)]
    return (f"labels cannot measure {', '.join(names)}",) if names else ()
