"""From evidence to verdict, and from verdict to lease. Pure: nothing is read or written here.

`unproven` is never treated as proven, whatever is missing (law 3); expired evidence does not count (law 5).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.core.names import name as checked_name
from stellwerk.evidence.model import CheckResult, Evidence, Plan
from stellwerk.releases import policies as catalogue
from stellwerk.releases.model import EndpointSpec, Goal, Outcome, Policy, Reason, Release, Verdict

RANGES = {
    "auroc": (0.0, 1.0),
    "accuracy": (0.0, 1.0),
    "brier": (0.0, 1.0),
    "log_loss": (0.0, math.inf),
    "mae": (0.0, math.inf),
    "rmse": (0.0, math.inf),
    "r2": (-math.inf, 1.0),
    "latency_p99_ms": (0.0, math.inf),
}
"""Where the values of a metric lie: a limit outside would be met always or never."""
SMALLER_IS_BETTER = ("brier", "log_loss", "mae", "rmse", "latency_p99_ms")
REASONS = ("first", "improvement", "retrain", "security", "cost")
"""Why somebody wants a release."""
EXEMPT_FROM_SUCCESS = ("first", "retrain", "security", "cost")
"""Reasons for a release that need no proof of being better, only of not being worse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The outcome of judging evidence, before it gets an id and a date."""

    outcome: Outcome
    reasons: tuple[Reason, ...]
    routed: tuple[tuple[str, str], ...]
    proven: dict[str, tuple[str, ...]]
    n_needed: int | None
    counted: tuple[Evidence, ...]
    valid_until: datetime


def judge(
    plan: Plan, digest: Digest, policies: tuple[Policy, ...], evidence: Sequence[Evidence], now: datetime
) -> Judgement:
    """Judge evidence about one model under a plan (and its digest) and its policies."""
    demanded = catalogue.requirements(policies)
    if not demanded:
        return _stop("policy", "the policy demands no evidence, and an empty policy refuses", now)
    if "quality" not in demanded:
        return _stop("policy", "no policy demands quality evidence, so nobody would judge the goals", now)
    if not plan.goals:
        return _stop("plan", "the plan has no goals, so nothing could be proven", now)
    reasons: list[Reason] = []
    routed: list[tuple[str, str]] = []
    counted: list[Evidence] = []
    valid_until = now + max(demanded.values())
    asked = {"quality": _checks(plan), "steps": [f"step:{kind}" for kind in catalogue.steps(policies)]}
    for kind, max_age in sorted(demanded.items()):
        found = _newest(kind, plan.model, digest, evidence, now, max_age)
        if found is None:
            reasons.append(_unproven(kind, f"no valid {kind} evidence about this model"))
            continue
        counted.append(found)
        valid_until = min(valid_until, found.observed_at + min(found.max_age, max_age))
        said, left = _decide(plan, found, asked.get(kind, []))
        reasons += said
        routed += left
    outcomes = {reason.outcome for reason in reasons}
    outcome: Outcome = "stop" if "fail" in outcomes else "unproven" if outcomes != {"pass"} else "clear"
    needed = [reason.n_needed for reason in reasons if reason.n_needed is not None]
    return Judgement(
        outcome=outcome,
        reasons=tuple(reasons),
        routed=tuple(dict.fromkeys(routed)),
        proven=_proven(plan, counted, set(routed)),
        n_needed=max(needed) if needed and outcome == "unproven" else None,
        counted=tuple(counted),
        valid_until=valid_until,
    )


def _proven(plan: Plan, counted: Sequence[Evidence], routed: set[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """For each declared slice column the values that were tested and passed."""
    found: dict[str, dict[str, None]] = {column: {} for column in plan.slice_by}
    for evidence in counted:
        for result in evidence.results:
            if result.kind == "slice" and result.slice is not None and result.slice not in routed:
                column, value = result.slice
                found.setdefault(column, {})[value] = None
    return {column: tuple(values) for column, values in found.items()}


def _newest(
    kind: str, model: Digest, plan: Digest, evidence: Sequence[Evidence], now: datetime, max_age: timedelta
) -> Evidence | None:
    valid = [
        item
        for item in evidence
        if item.kind == kind
        and item.subject == model
        # What was measured on a gate set counts only for the plan that opened it; a file scan is the same for all.
        and (item.plan == plan or (item.plan is None and kind != "quality"))
        and item.statement is not None
        and item.observed_at <= now < item.observed_at + min(item.max_age, max_age)
    ]
    # Ids ascend too, also where simulated time stands still.
    return max(valid, key=lambda item: (item.observed_at, item.id), default=None)


def _decide(plan: Plan, found: Evidence, asked: Sequence[str]) -> tuple[list[Reason], list[tuple[str, str]]]:
    """What one piece of evidence says, and which slices without proof go to people instead.

    Every check that was asked for must be answered, so that none is left out unseen.
    """
    reasons: list[Reason] = []
    routed: list[tuple[str, str]] = []
    firm = [result for result in found.results if result.kind != "success"]
    for result in firm:
        unproven = result.kind == "slice" and result.outcome == "unproven"
        if unproven and result.slice is not None and plan.slice_unproven == "human":
            routed.append(result.slice)
        else:
            reasons.append(_reason(result))
    if not firm:
        reasons.append(_unproven(found.kind, f"the {found.kind} evidence holds no result that decides"))
    known = {result.name for result in firm}
    reasons += [
        _unproven(check, f"the evidence does not say whether {check} holds") for check in asked if check not in known
    ]
    successes = [result for result in found.results if result.kind == "success"]
    if successes and plan.reason not in EXEMPT_FROM_SUCCESS:
        reasons.append(_any_success(successes))
    return reasons, routed


def _checks(plan: Plan) -> list[str]:
    """The checks that answer the plan's numbers."""
    compared = plan.champion is not None
    return [
        f"{kind}:{goal.metric}"
        for goal in plan.goals
        for kind, asked in (
            ("floor", goal.floor is not None),
            ("ceiling", goal.ceiling is not None),
            ("guardrail", goal.margin is not None and compared),
        )
        if asked
    ]


def _unproven(check: str, text: str) -> Reason:
    return Reason(check=check, outcome="unproven", text=text)


def _reason(result: CheckResult) -> Reason:
    return Reason(check=result.name, outcome=result.outcome, text=result.text, n_needed=result.n_needed)


def _any_success(successes: Sequence[CheckResult]) -> Reason:
    """At least one metric must be proven better; only if all are proven worse is it a failure."""
    won = [result for result in successes if result.outcome == "pass"]
    if won:
        return _reason(won[0])
    lost = all(result.outcome == "fail" for result in successes)
    needed = [result.n_needed for result in successes if result.n_needed is not None]
    return Reason(
        check="success",
        outcome="fail" if lost else "unproven",
        text="no metric is proven better than the champion's: " + "; ".join(result.text for result in successes),
        n_needed=min(needed) if needed else None,
    )


def _stop(check: str, text: str, now: datetime) -> Judgement:
    return Judgement(
        outcome="stop",
        reasons=(Reason(check=check, outcome="fail", text=text),),
        routed=(),
        proven={},
        n_needed=None,
        counted=(),
        valid_until=now,
    )


UNCOMPARED = ("latency_p99_ms",)
"""Metrics of the service, which are not compared with the champion's: a margin of theirs would never be judged."""


def unsound(endpoint: EndpointSpec) -> str:
    """What is wrong with a declaration; empty when it can be judged, leased and watched.

    A number that nothing would ever judge is refused here, so that nobody believes it is kept (law 3).
    """
    return next(_problems(endpoint), "")


def _problems(endpoint: EndpointSpec) -> Iterator[str]:
    audit = endpoint.steering.audit
    if audit != "auto" and not 0 < audit <= 1:
        yield f"steering.audit is {audit!r} (expected 'auto' or a share above 0 up to 1)"
    try:
        checked_name(endpoint.name, what="endpoint")
    except Invalid as problem:
        yield str(problem)
    if endpoint.label_delay >= endpoint.lease.maximum:
        yield "label_delay is not below lease.max, so no label could ever renew"
    if not endpoint.goals:
        yield "goal is empty, so nothing could be proven"
    for goal in endpoint.goals:
        yield from _problems_of_goal("goal", goal)
        if goal.margin is not None and goal.metric in UNCOMPARED:
            yield f"goal.{goal.metric} has a margin, but is not compared with the champion's"
    if bool(endpoint.slices.by) != bool(endpoint.slices.goals):
        yield "slices needs both `by` and at least one metric"
    for goal in endpoint.slices.goals:
        yield from _problems_of_goal("slices", goal)
        if goal.margin is not None or goal.metric in UNCOMPARED:
            yield f"slices.{goal.metric} has what is not judged by slice (expected a floor or a ceiling of answers)"
    if endpoint.lease.maximum <= timedelta(0):
        yield "lease.max must be above 0"
    if endpoint.label_delay < timedelta(0):
        yield "label_delay must not be negative"
    if endpoint.traffic_per_day < 1:
        yield f"traffic_per_day is {endpoint.traffic_per_day} (expected at least 1)"
    yield from catalogue.unsound(endpoint.policy)


def _problems_of_goal(where: str, goal: Goal) -> Iterator[str]:
    given = [number for number in (goal.floor, goal.ceiling, goal.margin) if number is not None]
    low, high = RANGES.get(goal.metric, (-math.inf, math.inf))
    limits = [number for number in (goal.floor, goal.ceiling) if number is not None]
    if not all(low <= number <= high for number in limits):
        yield f"{where}.{goal.metric} is outside {low:g} to {high:g}, where the metric lies"
    if goal.floor is not None and goal.metric in SMALLER_IS_BETTER:
        yield f"{where}.{goal.metric} has a floor, but smaller is better: give a ceiling"
    if not all(math.isfinite(number) for number in given):
        yield f"{where}.{goal.metric} must have finite numbers"
    if goal.floor is None and goal.ceiling is None:
        yield f"{where}.{goal.metric} has neither floor nor ceiling"
    if goal.margin is not None and goal.margin <= 0:
        yield f"{where}.{goal.metric} margin must be above 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """How long a release lasts, and why."""

    length: timedelta
    audit_share: float
    method: str


def lease(endpoint: EndpointSpec, policies: tuple[Policy, ...], labels_to_renew: int) -> Lease:
    """The initial lease (`methods` 2.2): the shortest of what owner and policy allow, with the audit share it needs.

    Args:
        labels_to_renew: Labels the renewal proof will need, from the plan's power calculation.
    """
    cap = lease_cap(endpoint, policies)
    length = longest(endpoint, policies)
    method = f"declared {endpoint.lease.maximum.days} d, policy cap {cap.days} d for {endpoint.risk} risk"
    usable = (length - endpoint.label_delay) / timedelta(days=1)
    if endpoint.steering.audit != "auto":
        return Lease(length=length, audit_share=endpoint.steering.audit, method=method)
    share = labels_to_renew / (endpoint.traffic_per_day * usable) if usable > 0 else 1.0
    share = min(1.0, max(share, MIN_AUDIT_SHARE))
    return Lease(
        length=length,
        audit_share=share,
        method=f"{method}; audit {share:.2%} = {labels_to_renew:,} labels needed to renew / "
        f"{endpoint.traffic_per_day:,} cases a day for {usable:.0f} d",
    )


def lease_cap(endpoint: EndpointSpec, policies: tuple[Policy, ...]) -> timedelta:
    """The longest lease that the policies allow for an endpoint's risk."""
    return timedelta(days=min(policy.lease_cap[endpoint.risk] for policy in policies))


def longest(endpoint: EndpointSpec, policies: tuple[Policy, ...]) -> timedelta:
    """The longest lease, first or renewed, that owner and policies allow."""
    return min(endpoint.lease.maximum, lease_cap(endpoint, policies))


MIN_AUDIT_SHARE = 0.001


def due_for_renewal(granted: datetime, expires: datetime, now: datetime) -> bool:
    """Whether the last fifth of a lease has begun: then renewal or retraining starts by itself."""
    return now >= expires - (expires - granted) / 5


def permits(verdict: Verdict, now: datetime) -> str:
    """Why a verdict does not permit a release; empty when it does (law 2)."""
    if verdict.outcome != "clear":
        return f"the verdict is {verdict.outcome}, not clear"
    if now >= verdict.valid_until:
        return "the evidence behind the verdict has expired"
    return ""


def spent(known: Release, verdict: Verdict) -> bool:
    """Whether a release has used up a verdict: all do, but one that a person stopped without proof of harm."""
    return known.verdict == verdict.id and (known.status != "stopped" or known.harmful)
