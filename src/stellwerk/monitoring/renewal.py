"""Whether a lease goes on: only labels of this lease prove fitness (law 5). Pure; what is decided is done elsewhere.

The rule is `methods` 2.2 "Renewal". Everything that is missing is unproven, and unproven never renews (law 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from stellwerk.evidence.metrics import METRICS
from stellwerk.evidence.statistics import ageing
from stellwerk.evidence.statistics.power import n_needed
from stellwerk.monitoring.alarms import ENOUGH_LABELS
from stellwerk.monitoring.model import Assessment, Baseline, Measure, RenewalDecision, RenewalFacts, Settings
from stellwerk.releases.model import Goal, Reason

MIN_LABELS = 30
POWER = 0.8
_FEWEST_A_DAY = 1e-6
DAY = timedelta(days=1)


def renewal_facts(
    assessment: Assessment,
    baseline: Baseline,
    settings: Settings,
    *,
    labels_required: int,
    contracts_green: bool,
    owner: str,
    plan_current: bool,
    policy_current: bool,
    lease: timedelta,
    cap: timedelta,
    traffic_per_day: float,
    audit_share: float,
    risk_limit: float | None = None,
) -> RenewalFacts:
    """The facts of an assessment, with those that other rooms know."""
    return RenewalFacts(
        labels=assessment.proof.n if assessment.proof is not None else 0,
        labels_required=labels_required,
        coverage=assessment.coverage,
        expected_coverage=settings.expected_coverage,
        goals=settings.goals,
        measures=assessment.measures,
        at_release=baseline.measures,
        proof=assessment.proof,
        risk_at_release=baseline.risk_estimate,
        tolerance=settings.tolerance,
        risk_limit=risk_limit,
        alarms=assessment.alarms,
        contracts_green=contracts_green,
        owner=owner,
        plan_current=plan_current,
        policy_current=policy_current,
        lease=lease,
        cap=cap,
        label_delay=settings.label_delay,
        traffic_per_day=traffic_per_day,
        audit_share=audit_share,
    )


def decide_renewal(facts: RenewalFacts) -> RenewalDecision:
    """Renew only if every check passes; each one says why in a sentence with its numbers."""
    reasons = [*_labels(facts), *_absolute(facts), *_relative(facts), *_state(facts), _lease(facts)]
    renew = all(reason.outcome == "pass" for reason in reasons)
    missing = [reason.n_needed for reason in reasons if reason.n_needed]
    return RenewalDecision(
        renew=renew,
        length=_length(facts) if renew else None,
        reasons=tuple(reasons),
        labels_missing=max(missing) if missing and not renew else None,
        audit_share=_audit(facts, facts.lease),
    )


def _labels(facts: RenewalFacts) -> Iterator[Reason]:
    needed = max(facts.labels_required, MIN_LABELS)
    missing = needed - facts.labels
    yield Reason(
        check="labels",
        outcome="unproven" if missing > 0 else "pass",
        text=f"{facts.labels:,} labels of this lease count, {needed:,} are needed"
        + (f": {missing:,} are missing" if missing > 0 else ""),
        n_needed=missing if missing > 0 else None,
    )
    wanted = ENOUGH_LABELS * facts.expected_coverage
    if wanted > 0:
        share = facts.coverage or 0.0
        yield Reason(
            check="coverage",
            outcome="pass" if share >= wanted else "unproven",
            text=f"{share:.1%} of the mature predictions have a label, at least {wanted:.1%} are needed, "
            "because those without one may be the bad ones",
        )


def _absolute(facts: RenewalFacts) -> Iterator[Reason]:
    """The owner's floors and ceilings, on labels of this lease. Nothing declared is nothing proven."""
    found = False
    by_name = {measure.metric: measure for measure in facts.measures}
    for goal in facts.goals:
        measure = by_name.get(goal.metric)
        if goal.floor is not None and goal.metric in METRICS:
            found = True
            yield _bound(f"floor:{goal.metric}", goal.metric, measure, goal.floor, side="floor")
        if goal.ceiling is not None and goal.metric in METRICS:
            found = True
            yield _bound(f"ceiling:{goal.metric}", goal.metric, measure, goal.ceiling, side="ceiling")
    if facts.risk_limit is not None:
        found = True
        yield _bound("ceiling:loss", "the mean loss", facts.proof, facts.risk_limit, side="ceiling")
    if not found:
        yield Reason(
            check="limits",
            outcome="unproven",
            text="no floor or ceiling is declared that labels can measure, so nothing can be proven",
        )


def _relative(facts: RenewalFacts) -> Iterator[Reason]:
    limit = facts.risk_at_release + facts.tolerance
    yield _bound("risk", "the mean loss", facts.proof, limit, side="ceiling")


def _state(facts: RenewalFacts) -> Iterator[Reason]:
    harmful = [alarm for alarm in facts.alarms if alarm.severity == "stop" or alarm.kind == "risk"]
    broken = [alarm for alarm in facts.alarms if alarm.kind == "contract"]
    yield Reason(
        check="alarms",
        outcome="fail" if harmful else "pass",
        text="open: " + "; ".join(alarm.text for alarm in harmful) if harmful else "no harm is proven",
    )
    green = facts.contracts_green and not broken
    yield Reason(
        check="contracts",
        outcome="pass" if green else "fail",
        text="all contracts hold"
        if green
        else "a contract is broken" + "".join(f": {alarm.text}" for alarm in broken[:1]),
    )
    yield Reason(
        check="owner",
        outcome="pass" if facts.owner else "fail",
        text=f"{facts.owner} answers for it" if facts.owner else "nobody answers for it",
    )
    for check, current in (("plan", facts.plan_current), ("policy", facts.policy_current)):
        yield Reason(
            check=check,
            outcome="pass" if current else "fail",
            text=f"the {check} is the current one" if current else f"the {check} has changed since the release",
        )


def _lease(facts: RenewalFacts) -> Reason:
    length, shortest = _length(facts), _shortest(facts)
    if length is not None:
        return Reason(check="lease", outcome="pass", text=f"the next lease lasts {length / DAY:.1f} days")
    if shortest is None:
        text = "no prediction will get a label, so the next lease could not be renewed"
    elif shortest > facts.cap / DAY:
        text = (
            f"the next proof takes {shortest:.1f} days, a lease may last {facts.cap / DAY:.1f}: "
            "label more, allow a longer lease or a wider margin"
        )
    else:
        text = "there is no headroom to the limits, so no length of the next lease is proven"
    return Reason(check="lease", outcome="unproven", text=text)


def _bound(check: str, title: str, measure: Measure | None, limit: float, *, side: str) -> Reason:
    """Pass, fail or unproven of one limit, by the bound on its far side."""
    word = "at least" if side == "floor" else "at most"
    if measure is None or measure.n < 1:
        return Reason(check=check, outcome="unproven", text=f"{title} was not measured, wanted {word} {limit:.4g}")
    good, bad = (measure.lower, measure.upper) if side == "floor" else (measure.upper, measure.lower)
    sign = 1.0 if side == "floor" else -1.0
    text = (
        f"{title} is {measure.estimate:.4g} (between {_number(measure.lower)} and {_number(measure.upper)}, "
        f"{measure.n:,} labels), wanted {word} {limit:.4g}"
    )
    if good is not None and sign * (good - limit) >= 0:
        return Reason(check=check, outcome="pass", text=text)
    if bad is not None and sign * (bad - limit) < 0:
        return Reason(check=check, outcome="fail", text=text)
    return Reason(check=check, outcome="unproven", text=text, n_needed=_missing(measure, limit, side))


def _missing(measure: Measure, limit: float, side: str) -> int | None:
    """Further labels that would probably prove it; None where more labels are not what is missing."""
    if measure.se is None:
        return None
    whole = n_needed(
        measure.estimate,
        measure.se,
        measure.n,
        limit,
        measure.alpha,
        POWER,
        side="floor" if side == "floor" else "ceiling",
    )
    return None if whole is None else max(1, whole - measure.n)


def _length(facts: RenewalFacts) -> timedelta | None:
    """L' by the smallest headroom to any limit; None where none is proven or no lease is long enough."""
    shortest = _shortest(facts)
    margins = list(_headrooms(facts))
    if shortest is None or not margins or None in margins:
        return None
    smallest = min(margin for margin in margins if margin is not None)
    warned = any(alarm.severity != "note" for alarm in facts.alarms)
    days = ageing.renewed_length(
        facts.lease / DAY, headroom=smallest, warned=warned, shortest=shortest, cap=facts.cap / DAY
    )
    return None if days is None else timedelta(days=days)


def _headrooms(facts: RenewalFacts) -> Iterator[float | None]:
    """What is left of the distance that each absolute limit had at release; None where it is unknown."""
    now = {measure.metric: measure for measure in facts.measures}
    before = {measure.metric: measure for measure in facts.at_release}
    for goal in facts.goals:
        if goal.metric in METRICS:
            yield from _of_goal(goal, before.get(goal.metric), now.get(goal.metric))
    if facts.risk_limit is not None:
        upper = facts.proof.upper if facts.proof is not None else None
        yield _headroom(facts.risk_limit, upper, facts.risk_at_release)


def _of_goal(goal: Goal, before: Measure | None, now: Measure | None) -> Iterator[float | None]:
    lower, upper = (None, None) if now is None else (now.lower, now.upper)
    at_release = None if before is None else before.estimate
    if goal.floor is not None:
        # A metric that should be large becomes a risk by its sign.
        yield _headroom(-goal.floor, _negative(lower), _negative(at_release))
    if goal.ceiling is not None:
        yield _headroom(goal.ceiling, upper, at_release)


def _headroom(limit: float, upper: float | None, at_release: float | None) -> float | None:
    if upper is None or at_release is None:
        return None
    if not limit > at_release:
        # It was at its limit when it was released: nothing of a distance is left.
        return 0.0 if upper <= limit else -1.0
    return ageing.headroom(limit=limit, upper=upper, at_release=at_release)


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _shortest(facts: RenewalFacts) -> float | None:
    """The days that the next proof takes; None where hardly any prediction will get a label."""
    if not 0.0 < facts.audit_share <= 1.0 or not facts.traffic_per_day * facts.audit_share > _FEWEST_A_DAY:
        return None
    return ageing.shortest_lease(
        required=max(facts.labels_required, MIN_LABELS),
        cases_per_day=facts.traffic_per_day,
        share=facts.audit_share,
        delay=facts.label_delay / DAY,
    )


def _audit(facts: RenewalFacts, lease: timedelta) -> float | None:
    """The share of predictions to label so that a lease of this length can be renewed; None if none is enough."""
    if not facts.traffic_per_day > 0:
        return None
    return ageing.audit_share(
        required=max(facts.labels_required, MIN_LABELS),
        cases_per_day=facts.traffic_per_day,
        lease=lease / DAY,
        delay=facts.label_delay / DAY,
    ).share


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
