"""From proof to production and back: prove, release, assess, renew, as use cases across rooms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from stellwerk.core import canonical
from stellwerk.core.errors import Conflict, Invalid, NotFound, Refused
from stellwerk.evidence.model import Evidence, GateSet, Plan
from stellwerk.evidence.shelves import EVIDENCE
from stellwerk.ledger import documents
from stellwerk.monitoring.model import Assessment, Outcome, RenewalDecision, Settings
from stellwerk.releases import policies, rules, signals
from stellwerk.releases.model import EndpointSpec, Release, Verdict
from stellwerk.workspace.rooms import Rooms

if TYPE_CHECKING:
    from stellwerk.monitoring.model import Baseline

MIN_LABELS = 200
ALPHA, POWER = 0.05, 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What came of asking for a renewal."""

    endpoint: str
    decision: RenewalDecision
    release: Release
    assessment: Assessment


def prove(rooms: Rooms, endpoint: str, model: str, reason: str) -> Verdict:
    """Prove a model (the newest of the endpoint's name by default) against the champion, if one runs."""
    from stellwerk.releases.proving import plan_for

    if reason and reason not in rules.REASONS:
        raise Invalid(
            f"{reason!r} is no reason for a release (known: {', '.join(rules.REASONS)})", code="unknown-reason"
        )
    declared = rooms.interlocking.endpoint(endpoint)
    candidate = rooms.registry.find(model or endpoint)
    digest = candidate.bytes()
    active = rooms.interlocking.active(endpoint)
    champion = active.model if active is not None and active.model != digest else None
    gate = rooms.gates.get(endpoint)
    plan = plan_for(declared, candidate, champion, gate, reason or ("improvement" if champion else "first"))
    verdict = rooms.prover.prove(plan)
    rooms.checkpoint()
    return verdict


def release(rooms: Rooms, endpoint: str) -> Release:
    """Release what the newest verdict permits, after its production baseline was measured."""
    verdict = rooms.interlocking.latest_verdict(endpoint)
    if verdict is None:
        raise NotFound(
            f"nothing was proven for {endpoint!r} yet", code="no-verdict", hint=f"`stellwerk prove {endpoint}`"
        )
    obstacle = rules.permits(verdict, rooms.clock.now())
    if obstacle:
        raise Refused(
            f"no release for endpoint {endpoint!r}: {obstacle}",
            code="not-clear",
            hint="`stellwerk next` says what to do",
        )
    if any(rules.spent(known, verdict) for known in rooms.interlocking.history(endpoint)):
        raise Conflict(
            f"the newest verdict of {endpoint!r} was used for a release already",
            code="verdict-used",
            hint="train a new model, or seal fresh gate cases, and prove again",
        )
    plan = documents.load(Plan, canonical.loads(rooms.blobs.get(verdict.plan)))
    declared = rooms.interlocking.endpoint(endpoint)
    if not _as_declared(plan, declared):
        raise Refused(
            f"no release for endpoint {endpoint!r}: its declaration has changed since the proof",
            code="not-clear",
            hint=f"`stellwerk prove {endpoint}` proves what is declared now",
        )
    baseline = _baseline(rooms, declared, plan)
    quality = _quality(rooms, verdict)
    granted = rooms.interlocking.grant(
        verdict,
        rooms.registry.by_digest(verdict.model),
        labels_to_renew=labels_to_renew(quality),
        risk_limit=baseline.risk_upper + settings(declared).tolerance,
    )
    rooms.checkpoint()
    return granted


def _baseline(rooms: Rooms, declared: EndpointSpec, plan: Plan) -> Baseline:
    """What the model says to the gate cases is what production is compared with."""
    from stellwerk.models.tabular import class_name

    rooms.say("measuring the baseline that production will be compared with")
    gate: GateSet = rooms.gates.get(plan.gate, plan.gate_version)
    _, plain = rooms.gates.open(gate, canonical.digest(documents.dump(plan)))
    model = rooms.registry.by_digest(plan.model)
    frame = rooms.examiner.frame(gate.features)
    scores = rooms.examiner.answers(plan.model, gate.features).scores
    truth = rooms.examiner.truth(gate, plain)
    labels = truth if gate.task == "regression" else [class_name(value) for value in truth]
    _, made = rooms.monitoring.make_baseline(
        declared.name,
        plan.model,
        signature=model.interface(),
        columns={column.name: frame.get_column(column.name).to_list() for column in model.interface().inputs},
        scores=(scores[:, 1] if gate.task == "binary" else scores).tolist(),
        labels=labels,
        goals=declared.goals,
        blocks=rooms.examiner.blocks(gate.features),
        groups=rooms.examiner.groups(gate.features, declared.groups),
    )
    return made


def _quality(rooms: Rooms, verdict: Verdict) -> Evidence:
    with rooms.book.read() as reader:
        found = EVIDENCE.select(reader, subject=verdict.model, kind="quality", plan=verdict.plan)
    if not found:
        raise NotFound("the verdict has no quality evidence", code="not-found")
    return found[-1]


def labels_to_renew(quality: Evidence) -> int:
    """Labels from which a renewal could probably prove the same goals (`methods` 2.1, sample size)."""
    from scipy.stats import norm

    z = float(norm.isf(ALPHA)) + float(norm.isf(1 - POWER))
    needed = [MIN_LABELS]
    level = float(quality.facts.get("alpha", ALPHA))
    for result in quality.results:
        if result.kind not in ("floor", "ceiling") or result.estimate is None or result.limit is None:
            continue
        bound = result.lower if result.kind == "floor" else result.upper
        gap = abs(result.estimate - result.limit)
        # Time is measured by the worker, not by labels.
        if bound is None or gap == 0 or result.name == "floor:baseline" or result.metric in rules.UNCOMPARED:
            continue
        deviation = abs(result.estimate - bound) / float(norm.isf(level)) * math.sqrt(result.n)
        needed.append(math.ceil((z * deviation / gap) ** 2))
    return max(needed)


def settings(endpoint: EndpointSpec, attempt: int = 1) -> Settings:
    """How an endpoint is watched, from what its owner declared.

    Args:
        attempt: How often a renewal of this release was asked for, this time included; each time proves at a
            stricter level, as with gate sets.
    """
    from stellwerk.evidence.statistics.power import alpha_at_attempt

    return Settings(
        label_delay=endpoint.label_delay,
        goals=tuple(goal for goal in endpoint.goals if goal.metric != "latency_p99_ms"),
        alpha=alpha_at_attempt(ALPHA, attempt),
        groups=endpoint.groups,
        window=timedelta(days=14),
        recent=timedelta(days=14),
        lookback=timedelta(days=45),
    )


def assess(rooms: Rooms, endpoint: str, attempt: int = 1) -> Assessment:
    """Seal the log, run the trackers, and let the signal follow: caution on a warning, stop on proven harm."""
    release = _running(rooms, endpoint)
    rooms.predictions.seal(endpoint)
    declared = rooms.interlocking.endpoint(endpoint)
    found = rooms.monitoring.assess(
        endpoint,
        release=release.id,
        baseline=rooms.monitoring.baseline(endpoint, release.model),
        since=release.granted_at,
        settings=settings(declared, attempt),
    )
    running = rooms.interlocking.active(endpoint)
    if running is None or running.id != release.id:
        return found  # what was found is not about the release that runs by now
    worst = {alarm.severity: alarm.text for alarm in reversed(found.alarms)}
    if "stop" in worst:
        rooms.interlocking.stop(endpoint, worst["stop"], harmful=True, release=release.id)
    elif "caution" in worst:
        rooms.interlocking.caution(endpoint, worst["caution"], release=release.id)
    return found


def renew(rooms: Rooms, endpoint: str) -> Renewal:
    """Renew the lease if labels of this lease prove fitness; else record why not and let it run out (law 5)."""
    from stellwerk.monitoring.renewal import decide_renewal, renewal_facts

    release = _running(rooms, endpoint)
    if not signals.holds(release, rooms.clock.now()):
        raise Refused(
            f"the lease of {endpoint!r} has ended; an ended lease is not renewed",
            code="lease-ended",
            hint="`stellwerk prove` and `stellwerk release`",
        )
    asked = rooms.book.entries(kinds=["release.renewed", "release.not-renewed"], subject=f"release:{release.id}")
    found = assess(rooms, endpoint, attempt=len(asked) + 1)
    if rooms.interlocking.release_of(release.id).status != "active":
        raise Refused(
            f"the release of {endpoint!r} was stopped, because production proves harm",
            code="lease-ended",
            hint="`stellwerk assess` tells what was found; prove a better model",
        )
    release = _running(rooms, endpoint)
    began = max([release.granted_at, *(entry.at for entry in asked if entry.kind == "release.renewed")])
    declared = rooms.interlocking.endpoint(endpoint)
    verdict = rooms.interlocking.verdict(release.verdict)
    plan = documents.load(Plan, canonical.loads(rooms.blobs.get(verdict.plan)))
    catalogue = policies.find(declared.policy)
    facts = renewal_facts(
        found,
        rooms.monitoring.baseline(endpoint, release.model),
        settings(declared, len(asked) + 1),
        labels_required=labels_to_renew(_quality(rooms, verdict)),
        contracts_green=not any(alarm.kind == "contract" for alarm in found.alarms),
        owner=declared.owner,
        plan_current=_same_goals(plan, declared),
        policy_current=plan.policy == declared.policy,
        lease=release.expires_at - began,
        cap=rules.longest(declared, catalogue),
        traffic_per_day=float(declared.traffic_per_day),
        audit_share=release.audit_share,
        risk_limit=release.risk_limit,
    )
    decision = decide_renewal(facts)
    if decision.renew and decision.length is not None:
        release = rooms.interlocking.renew(
            endpoint,
            decision.length,
            "labels prove fitness",
            {"assessment": found.id, "labels": facts.labels},
            release=release.id,
        )
    else:
        rooms.interlocking.not_renewed(
            endpoint,
            [reason.text for reason in decision.reasons if reason.outcome != "pass"],
            release=release.id,
        )
    rooms.checkpoint()
    return Renewal(endpoint=endpoint, decision=decision, release=release, assessment=found)


def check_labels(rooms: Rooms, endpoint: str, outcomes: Sequence[Outcome]) -> None:
    """Refuse labels that no model of the endpoint could have answered: a slip would count as the model's error.

    Raises:
        NotFound: the endpoint is not declared.
        Invalid: `unknown-class`.
    """
    from stellwerk.models.tabular import class_name

    rooms.interlocking.endpoint(endpoint)
    history = rooms.interlocking.history(endpoint)
    if not history:
        return
    signature = rooms.registry.by_digest(history[-1].model).interface()
    unknown = sorted({class_name(item.label) for item in outcomes} - set(signature.classes))
    if signature.classes and unknown:
        raise Invalid(
            f"labels {', '.join(unknown[:5])} are no classes of the model ({', '.join(signature.classes[:10])}); "
            "nothing was recorded",
            code="unknown-class",
            hint="say the truth in the words of the model's answers",
        )


def _same_goals(plan: Plan, declared: EndpointSpec) -> bool:
    return _numbers(plan.goals) == _numbers(declared.goals)


def _as_declared(plan: Plan, declared: EndpointSpec) -> bool:
    """Whether a plan asked for what the owner declares now; nothing is released by the rules of another day."""
    asked = (plan.environment, plan.policy, plan.groups, plan.slice_by, plan.slice_unproven)
    slices = declared.slices
    wanted = (declared.environment, declared.policy, declared.groups, slices.by, slices.unproven)
    return _same_goals(plan, declared) and _numbers(plan.slice_goals) == _numbers(slices.goals) and asked == wanted


def _numbers(goals: Sequence[Any]) -> list[tuple[Any, ...]]:
    return [(goal.metric, goal.floor, goal.ceiling, goal.margin) for goal in goals]


def _running(rooms: Rooms, endpoint: str) -> Release:
    release = rooms.interlocking.active(endpoint)
    if release is None:
        raise NotFound(
            f"endpoint {endpoint!r} has no active release", code="no-release", hint=f"`stellwerk prove {endpoint}`"
        )
    return release
