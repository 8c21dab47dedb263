"""The board: every endpoint with its signal, lease, quality and next step; what ran lately and what happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from stellwerk.governance.model import (
    Board,
    DriftLine,
    EndpointCard,
    EventLine,
    Point,
    ReleaseLine,
    RiskLine,
    RunLine,
    Series,
)
from stellwerk.governance.steps import next_step
from stellwerk.governance.telling import tell
from stellwerk.ledger.ports import Book, Reader
from stellwerk.models.shelves import VERSIONS
from stellwerk.monitoring.model import AlarmRecord, Assessment, Measure
from stellwerk.monitoring.shelves import ALARMS, ASSESSMENTS
from stellwerk.releases.model import EndpointSpec, Release, SignalState, Verdict
from stellwerk.releases.shelves import ENDPOINTS, RELEASES, VERDICTS
from stellwerk.reviews.shelves import CASES
from stellwerk.tracking.model import Run
from stellwerk.tracking.shelves import RUNS
from stellwerk.tracking.tables import lasted

EVENTS = 25
QUIET = ("run.started", "evidence.signed", "access.granted")
"""Kinds that would drown the others in the list of events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the board shows besides the book."""

    now: datetime
    simulated: bool
    entries: int
    signal: Callable[[str], SignalState]
    predictions: Callable[[str], int]


def board(book: Book, around: Surroundings) -> Board:
    """The whole board at one moment."""
    with book.read() as reader:
        endpoints = ENDPOINTS.select(reader)
        cards = tuple(card(reader, endpoint, around) for endpoint in endpoints)
        runs = RUNS.select(reader, order="-id", limit=400)
    loud = [entry for entry in book.entries(start=max(0, around.entries - 400)) if entry.kind not in QUIET]
    return Board(
        workspace=book.workspace,
        actor=book.actor,
        now=around.now,
        simulated=around.simulated,
        endpoints=cards,
        runs=tuple(run_line(run) for run in runs if run.parent is None)[:12],
        events=tuple(tell(entry) for entry in reversed(loud[-EVENTS:])),
        entries=around.entries,
    )


def card(reader: Reader, endpoint: EndpointSpec, around: Surroundings) -> EndpointCard:
    """One endpoint as the board shows it."""
    name = endpoint.name
    history = RELEASES.select(reader, endpoint=name, order="granted_at")
    active = next((release for release in reversed(history) if release.status == "active"), None)
    verdicts = {verdict.id: verdict for verdict in VERDICTS.select(reader, endpoint=name, order="given_at")}
    assessments = ASSESSMENTS.select(reader, endpoint=name)
    latest = next((item for item in reversed(assessments) if active and item.release == active.id), None)
    state = around.signal(name)
    alarms = ALARMS.select(reader, endpoint=name, status="open")
    left = (active.expires_at - around.now) / timedelta(days=1) if active else None
    span = (active.expires_at - active.granted_at) / timedelta(days=1) if active else 1.0
    step, command = next_step(endpoint, active, state, list(verdicts.values())[-1:], latest, around.now, history)
    return EndpointCard(
        name=name,
        purpose=endpoint.purpose,
        owner=endpoint.owner,
        deputy=endpoint.deputy,
        risk_class=endpoint.risk,
        environment=endpoint.environment,
        signal=state.signal,
        why=state.why,
        fallback=endpoint.fallback,
        release=release_line(reader, active, verdicts) if active else None,
        history=tuple(release_line(reader, release, verdicts) for release in reversed(history)),
        lease_left_days=left,
        lease_used=None if left is None else min(1.0, max(0.0, 1 - left / span)),
        quality=_quality(endpoint, history, verdicts, assessments),
        risk=_risk(latest),
        drift=_drift(latest),
        predictions=around.predictions(name),
        label_coverage=latest.coverage if latest else None,
        audit_share=active.audit_share if active else None,
        routed=tuple(f"{column} = {value}" for column, value in (active.routed if active else ())),
        open_cases=CASES.count(reader, endpoint=name, status="open"),
        alarms=tuple(_alarm(alarm) for alarm in alarms if active and alarm.release == active.id),
        next_step=step,
        next_command=command,
    )


def release_line(reader: Reader, release: Release, verdicts: dict[str, Verdict]) -> ReleaseLine:
    """A release in a list."""
    verdict = verdicts[release.verdict]
    models = VERSIONS.select(reader, digest=release.model)
    named = next((one for one in models if one.name == release.model_name), models[0] if models else None)
    return ReleaseLine(
        id=release.id,
        model=f"{release.model_name}@{release.model_version}",
        digest=release.model,
        status=release.status,
        granted_at=release.granted_at,
        granted_by=release.granted_by,
        expires_at=release.expires_at,
        ended_at=release.ended_at,
        ended_why=release.ended_why,
        verdict=verdict.outcome,
        attempt=verdict.attempt,
        run=models[0].run_id if models else "",
        model_name=named.name if named else "",
    )


def run_line(run: Run) -> RunLine:
    """A run in a list."""
    return RunLine(
        id=run.id,
        name=run.name,
        kind=run.kind,
        status=run.status,
        started_at=run.started_at,
        seconds=lasted(run) or 0.0,
        cached=run.cached,
        metrics=tuple(sorted(run.metrics.items())),
    )


def _quality(
    endpoint: EndpointSpec, history: list[Release], verdicts: dict[str, Verdict], assessments: list[Assessment]
) -> Series | None:
    """The first goal that labels can measure, per window; of several looks at a window the latest counts."""
    measured = {m.metric for item in assessments for window in item.windows if (m := window.measure)}
    goal = next((goal for goal in endpoint.goals if goal.metric in measured), None)
    if goal is None:
        goal = next(
            (goal for goal in endpoint.goals if any(goal.metric in v.metrics for v in verdicts.values())), None
        )
    if goal is None:
        return None
    points = {}
    for item in assessments:
        for window in item.windows:
            if window.measure is not None and window.measure.metric == goal.metric:
                points[(item.release, window.start)] = Point(
                    start=window.start,
                    end=window.end,
                    release=item.release,
                    labelled=window.labelled,
                    predictions=window.predictions,
                    **_numbers(window.measure),
                )
    marks = [
        (release.id, release.granted_at, *_interval(verdicts[release.verdict].metrics[goal.metric]))
        for release in history
        if goal.metric in verdicts[release.verdict].metrics
    ]
    ordered = tuple(points[key] for key in sorted(points, key=lambda key: (key[1], key[0])))
    return Series(metric=goal.metric, floor=goal.floor, points=ordered, at_release=tuple(marks))


def _interval(found: tuple[float | None, float | None, float | None]) -> tuple[float, float, float]:
    """Estimate and bounds; a bound that does not exist is drawn at the estimate, and one without estimate at 0."""
    estimate = found[0] or 0.0
    return estimate, estimate if found[1] is None else found[1], estimate if found[2] is None else found[2]


def _numbers(measure: Measure) -> dict[str, float]:
    low = measure.estimate if measure.lower is None else measure.lower
    high = measure.estimate if measure.upper is None else measure.upper
    return {"estimate": measure.estimate, "lower": low, "upper": high}


def _risk(latest: Assessment | None) -> RiskLine | None:
    if latest is None or latest.risk.estimate is None:
        return None
    risk = latest.risk
    return RiskLine(
        loss=latest.proof.metric if latest.proof else "mean loss",
        labels=risk.labels,
        estimate=latest.risk.estimate,
        lower=risk.lower,
        upper=risk.upper,
        limit=risk.limit,
        alarm=risk.alarm_label is not None,
    )


def _drift(latest: Assessment | None) -> tuple[DriftLine, ...]:
    if latest is None:
        return ()
    strongest = sorted(latest.drift, key=lambda item: (-item.material, -item.statistic / max(item.limit, 1e-9)))
    return tuple(
        DriftLine(
            column=item.column, statistic=item.statistic, limit=item.limit, effect=item.effect, material=item.material
        )
        for item in strongest[:8]
    )


def _alarm(alarm: AlarmRecord) -> EventLine:
    severity = alarm.severity
    return EventLine(
        sequence=-1,
        at=alarm.raised_at,
        actor="monitoring",
        kind="alarm.raised",
        subject=f"endpoint {alarm.endpoint}",
        text=alarm.text,
        tone="bad" if severity == "stop" else "warn" if severity == "caution" else "neutral",
    )
