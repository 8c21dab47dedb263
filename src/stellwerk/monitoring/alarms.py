"""Which findings are alarming, how much, and what of that is new. Only a proven harm may ask for a stop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stellwerk.evidence.statistics.bounds import clopper_pearson_upper
from stellwerk.monitoring.model import SEVERITIES, Alarm, AlarmRecord, Assessment, Settings, Severity
from stellwerk.releases.model import Goal

ENOUGH_LABELS = 0.8
"""Coverage below this share of the expected one is alarming."""
_ALPHA = 0.01
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What of an assessment's alarms is news.

    Attributes:
        raised: Not open before, or open with a lower severity.
        cleared: Open before and no longer found.
    """

    raised: tuple[tuple[Alarm, AlarmRecord | None], ...]
    cleared: tuple[AlarmRecord, ...]


def alarms(assessment: Assessment, settings: Settings, broken: Mapping[str, str]) -> tuple[Alarm, ...]:
    """The alarms that hold, at most one of a kind."""
    found = (
        _quality(assessment, settings),
        _risk(assessment, settings),
        _drift(assessment),
        _contract(assessment, broken),
        _labels(assessment, settings),
    )
    return tuple(alarm for alarm in found if alarm is not None)


def changes(assessment: Assessment, open_before: Iterable[AlarmRecord]) -> Changes:
    """Compare with what is open for the release: an alarm is told once, and again only when it gets worse."""
    before = {record.kind: record for record in open_before}
    now = {alarm.kind: alarm for alarm in assessment.alarms}
    worse = [
        (alarm, before.get(alarm.kind))
        for alarm in now.values()
        if alarm.kind not in before or _rank(alarm.severity) > _rank(before[alarm.kind].severity)
    ]
    return Changes(raised=tuple(worse), cleared=tuple(record for kind, record in before.items() if kind not in now))


def breached(assessment: Assessment, goals: Iterable[Goal]) -> list[str]:
    """Absolute limits that the labels prove to be broken, as sentences."""
    result = []
    for goal in goals:
        for measure in assessment.measures:
            if measure.metric != goal.metric:
                continue
            if goal.floor is not None and measure.upper is not None and measure.upper < goal.floor:
                result.append(f"{goal.metric} is at most {measure.upper:.4g}, wanted at least {goal.floor:g}")
            if goal.ceiling is not None and measure.lower is not None and measure.lower > goal.ceiling:
                result.append(f"{goal.metric} is at least {measure.lower:.4g}, wanted at most {goal.ceiling:g}")
    return result


def _quality(assessment: Assessment, settings: Settings) -> Alarm | None:
    decline = assessment.decline
    if decline is None or not decline.proven:
        return None
    now = decline.now
    bound = now.upper if now.upper is not None and now.upper < decline.at_release else now.lower
    broken = breached(assessment, settings.goals)
    text = (
        f"{now.metric} is {now.estimate:.4f} since the release (at best {bound:.4f} over {now.n:,} labels, with "
        f"confidence {1 - settings.delta:.4g} over all looks): proven worse than the {decline.at_release:.4f} "
        f"promised at release, by more than the margin of {decline.margin:g}"
    )
    return Alarm(
        kind="quality",
        severity="stop" if broken else "caution",
        text="; ".join([text, *broken]),
        at=assessment.at,
        numbers={"estimate": now.estimate, "at_release": decline.at_release, "look": float(decline.look)},
    )


def _risk(assessment: Assessment, settings: Settings) -> Alarm | None:
    state = assessment.risk
    if state.alarm_label is None or state.alarm_at is None or state.estimate is None:
        return None
    broken = breached(assessment, settings.goals)
    text = (
        f"the mean loss exceeds the {state.limit:.4g} that the release allows, with confidence "
        f"{1 - state.delta:.4g}, since label {state.alarm_label:,} (prediction of {state.alarm_at:%Y-%m-%d %H:%M}); "
        f"it is {state.estimate:.4g} over {state.labels:,} labels"
    )
    numbers = {
        "labels": float(state.labels),
        "estimate": state.estimate,
        "lower": state.lower,
        "limit": state.limit,
        "delta": state.delta,
        "evidence": state.evidence,
        "alarm_label": float(state.alarm_label),
    }
    return Alarm(
        kind="risk",
        severity="stop" if broken else "caution",
        text="; ".join([text, *broken]),
        at=assessment.at,
        numbers=numbers,
    )


def _drift(assessment: Assessment) -> Alarm | None:
    moved = [finding for finding in assessment.drift if finding.material]
    if not moved:
        return None
    shown = ", ".join(f"{finding.column} (effect {finding.effect:.2g})" for finding in moved[:_SHOWN])
    text = f"{len(moved)} of {len(assessment.drift)} columns have drifted: {shown}"
    expected = assessment.label_free
    fell = expected is not None and expected.fell
    if expected is not None and fell:
        text += (
            f"; {expected.metric} is expected to be {expected.estimate:.4g}, after {expected.at_release:.4g} at "
            f"release (margin {expected.margin:.2g}), assuming {expected.assumes}"
        )
    return Alarm(
        kind="drift",
        severity="caution" if fell else "note",
        text=text,
        at=assessment.at,
        numbers={finding.column: finding.effect for finding in moved},
    )


def _contract(assessment: Assessment, broken: Mapping[str, str]) -> Alarm | None:
    parts = [f"{column} {why}" for column, why in sorted(broken.items())[:_SHOWN]]
    if len(broken) > _SHOWN:
        parts.append(f"{len(broken) - _SHOWN} further columns")
    if assessment.unusable_scores:
        parts.append(f"{assessment.unusable_scores:,} of {assessment.predictions:,} scores are not usable")
    if not parts:
        return None
    numbers = {"columns": float(len(broken)), "unusable_scores": float(assessment.unusable_scores)}
    return Alarm(kind="contract", severity="caution", text="; ".join(parts), at=assessment.at, numbers=numbers)


def _labels(assessment: Assessment, settings: Settings) -> Alarm | None:
    parts: list[tuple[Severity, str]] = []
    if assessment.foreign_labels:
        parts.append(
            (
                "caution",
                f"{assessment.foreign_labels:,} of {assessment.labelled:,} labels are none the model can give; "
                "they count as wrong",
            )
        )
    wanted = ENOUGH_LABELS * settings.expected_coverage
    if assessment.matured and wanted > 0:
        most = clopper_pearson_upper(assessment.labelled, assessment.matured, alpha=_ALPHA)
        if most < wanted:
            parts.append(
                (
                    "note",
                    f"{assessment.labelled:,} of {assessment.matured:,} mature predictions have a label, "
                    f"expected {settings.expected_coverage:.1%}: the release may not be renewable",
                )
            )
    if _stopped(assessment):
        parts.append(("note", "no label has arrived for the last window, though earlier ones have some"))
    if not parts:
        return None
    return Alarm(
        kind="labels",
        severity=max((severity for severity, _ in parts), key=_rank),
        text="; ".join(text for _, text in parts),
        at=assessment.at,
        numbers={
            "matured": float(assessment.matured),
            "labelled": float(assessment.labelled),
            "foreign": float(assessment.foreign_labels),
        },
    )


def _stopped(assessment: Assessment) -> bool:
    """Whether labels came once and come no longer, judged on windows with enough mature predictions."""
    known = [window for window in assessment.windows if window.matured >= 100]
    return len(known) > 1 and not known[-1].labelled and any(window.labelled for window in known)


def _rank(severity: Severity) -> int:
    return SEVERITIES.index(severity)
