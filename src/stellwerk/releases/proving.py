"""`prove`: freeze the plan, open the gate set, measure, sign, and compute the verdict.

Every part can be killed and done again: the same plan opens the gate set once, signed evidence is found again, and
a verdict under a plan is given once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from numpy.typing import NDArray

from stellwerk.core import canonical, failpoints
from stellwerk.core.clock import Clock
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, Refused
from stellwerk.core.names import new_id
from stellwerk.evidence.metrics import constant_scores, metric
from stellwerk.evidence.model import CheckResult, Evidence, GateSet, Opening, Plan, PlannedGoal
from stellwerk.evidence.quality import SERVICE_METRICS, Judged, absolute, quality
from stellwerk.evidence.service import Gates, Notary, once
from stellwerk.evidence.statistics.bounds import quantile_bounds
from stellwerk.evidence.statistics.power import alpha_at_attempt
from stellwerk.ledger import documents
from stellwerk.ledger.ports import Book
from stellwerk.models.model import ModelVersion
from stellwerk.releases import policies as catalogue
from stellwerk.releases import rules
from stellwerk.releases.model import EndpointSpec, Goal, Reason, Verdict
from stellwerk.releases.ports import Answers, Examiner, Progress
from stellwerk.releases.shelves import VERDICTS
from stellwerk.store.ports import Blobs

failpoints.declare("verdict.given")

FRESH = timedelta(days=30)
"""How long what a plan saw in a gate set counts, from the moment at which it saw it."""

WORN = 0.001
"""Below this level a gate set has been looked at too often to prove anything."""


def plan_for(
    endpoint: EndpointSpec, model: ModelVersion, champion: Digest | None, gate: GateSet, reason: str
) -> Plan:
    """The plan that decides about a model: nothing in it depends on what the gate set holds."""
    policies = catalogue.find(endpoint.policy)
    return Plan(
        endpoint=endpoint.name,
        environment=endpoint.environment,
        model=model.bytes(),
        champion=champion,
        gate=gate.name,
        gate_version=gate.version,
        gate_features=gate.features,
        gate_commitment=gate.commitment,
        goals=tuple(map(_goal, endpoint.goals)),
        slice_by=endpoint.slices.by,
        slice_goals=tuple(map(_goal, endpoint.slices.goals)),
        slice_unproven=endpoint.slices.unproven,
        policy=endpoint.policy,
        required=tuple(sorted(catalogue.requirements(policies))),
        groups=endpoint.groups,
        reason=reason,
    )


class Prover:
    """Carries a plan through to its verdict."""

    def __init__(
        self, book: Book, blobs: Blobs, clock: Clock, gates: Gates, notary: Notary, examiner: Examiner, say: Progress
    ) -> None:
        self._book, self._blobs, self._clock = book, blobs, clock
        self._gates, self._notary, self._examiner, self._say = gates, notary, examiner, say

    def prove(self, plan: Plan) -> Verdict:
        """The verdict of a plan. A clear one is computed once; any other anew, since what was missing may have come.

        Raises:
            Invalid: the plan asks for a metric or a column that there is not; then nothing was opened.
            Refused: `gate-worn`.
        """
        gate = self._gates.get(plan.gate, plan.gate_version)
        digest = canonical.digest(documents.dump(plan))
        given = self._given(digest)
        if given is not None and given.outcome == "clear" and self._clock.now() < given.valid_until:
            return given
        self._check(plan, gate)
        self._say("scanning the model's files")
        scan = self._examiner.scan(plan.model)
        self._sign("file-scan", plan, None, scan, timedelta(days=30))
        if any(result.outcome == "fail" for result in scan):
            # A file that is not plain data is never loaded, so nothing else can be measured.
            return self._give(plan, self._gates.freeze(plan), 0)
        self._say("freezing the plan in the ledger")
        self._gates.freeze(plan)
        self._sign("provenance", plan, digest, self._examiner.provenance(plan.model), timedelta(days=180))
        contract = self._examiner.contract(plan.model, gate)
        self._sign("contract", plan, digest, contract, timedelta(days=30))
        if any(result.outcome == "fail" for result in contract):
            # Nothing could be measured, so no attempt is spent.
            return self._give(plan, digest, 0)
        if "leakage" in plan.required:
            self._sign("leakage", plan, digest, self._examiner.leakage(plan.model), timedelta(days=180))
        if "own-results" in plan.required:
            self._sign("own-results", plan, digest, self._examiner.own_results(plan.model), timedelta(days=180))
        if "steps" in plan.required:
            kinds = catalogue.steps(catalogue.find(plan.policy))
            self._sign("steps", plan, digest, self._examiner.steps(plan.model, kinds), timedelta(days=180))
        return self._opened(plan, gate, digest)

    def _opened(self, plan: Plan, gate: GateSet, digest: Digest) -> Verdict:
        """The verdict after an opening of the gate set, on what was measured with it."""
        self._say(f"opening gate set {gate.name}@{gate.version} ({gate.rows:,} sealed cases)")
        opening, plain = self._gates.open(gate, digest)
        level, age = self._level(plan, opening), self._age(opening)
        known = self._measured_before(plan, digest)
        if known is not None:
            # One opening, one measurement: asking again until chance agrees would be another attempt.
            return self._give(plan, digest, opening.attempt, _numbers(known.results))
        labels = self._examiner.labels(plan.model, gate, plain)
        results, measured = self._measure(plan, gate, labels, level)
        self._sign(
            "quality",
            plan,
            digest,
            results,
            FRESH - age,
            attempt=opening.attempt,
            alpha=level,
            champion=plan.champion,
            walls=self._examiner.walls(),
        )
        return self._give(plan, digest, opening.attempt, measured)

    def _measured_before(self, plan: Plan, digest: Digest) -> Evidence | None:
        now = self._clock.now()
        found = [
            item
            for item in self._notary.about(plan.model)
            if item.kind == "quality" and item.plan == digest and now < item.observed_at + item.max_age
        ]
        return found[-1] if found else None

    def _check(self, plan: Plan, gate: GateSet) -> None:
        """A slip of the pen must not cost an attempt."""
        for goal in (*plan.goals, *plan.slice_goals):
            if goal.metric not in SERVICE_METRICS:
                metric(goal.metric, gate.task)
        self._examiner.columns(gate.features, plan.slice_by)
        self._examiner.groups(gate.features, plan.groups)

    def _level(self, plan: Plan, opening: Opening) -> float:
        level = alpha_at_attempt(plan.alpha, opening.attempt)
        if level < WORN:
            raise Refused(
                f"gate set {opening.gate}@{opening.gate_version} was opened {opening.attempt} times; at this wear "
                f"the level is {level:.5f}, below {WORN}",
                code="gate-worn",
                hint="seal a fresh gate set with new cases",
            )
        return level

    def _age(self, opening: Opening) -> timedelta:
        """Since when these labels have been seen under this plan: measuring again learns nothing new (law 5)."""
        age = self._clock.now() - opening.opened_at
        if age >= FRESH:
            raise Refused(
                f"gate set {opening.gate}@{opening.gate_version} was opened under this very plan {age.days} days ago; "
                "what it showed then is no proof of today",
                code="gate-worn",
                hint="seal a fresh gate set with new cases",
            )
        return max(age, timedelta(0))

    def _measure(
        self, plan: Plan, gate: GateSet, labels: NDArray[Any], alpha: float
    ) -> tuple[tuple[CheckResult, ...], dict[str, tuple[float | None, float | None, float | None]]]:
        self._say("asking the model in the sandboxed worker")
        answers = self._examiner.answers(plan.model, gate.features)
        champion = None
        if plan.champion is not None:
            self._say("asking the champion the same questions")
            champion = self._examiner.answers(plan.champion, gate.features).scores
        if len(answers.scores) != len(labels):
            raise Invalid("the model answered another number of cases than it was asked", code="wrong-answer-count")
        classes = answers.scores.shape[1] if answers.scores.ndim == 2 else 0
        cases = Judged(
            task=gate.task,
            labels=labels,
            scores=answers.scores,
            champion=champion,
            baseline=constant_scores(gate.task, labels, len(labels), classes),
            slices=self._examiner.columns(gate.features, plan.slice_by),
            groups=self._examiner.groups(gate.features, plan.groups),
        )
        self._say(f"testing {len(plan.goals)} goals and the slices of {', '.join(plan.slice_by) or 'nothing'}")
        results = (*quality(plan, cases, alpha), *_latency(plan, answers, alpha))
        return once(results), _numbers(results)

    def _sign(
        self,
        kind: str,
        plan: Plan,
        digest: Digest | None,
        results: tuple[CheckResult, ...],
        max_age: timedelta,
        **facts: object,
    ) -> Evidence:
        known = [
            item
            for item in self._notary.about(plan.model)
            if item.kind == kind and item.plan == digest and item.results == results
        ]
        now = self._clock.now()
        if known and now < known[-1].observed_at + known[-1].max_age:
            return known[-1]
        return self._notary.sign(kind, plan.model, results, max_age=max_age, plan=digest, facts=facts)

    def _given(self, plan: Digest) -> Verdict | None:
        with self._book.read() as reader:
            found = VERDICTS.select(reader, plan=plan, order="-id", limit=1)
        return found[0] if found else None

    def _give(
        self,
        plan: Plan,
        digest: Digest,
        attempt: int,
        measured: dict[str, tuple[float | None, float | None, float | None]] | None = None,
    ) -> Verdict:
        now: datetime = self._clock.now()
        judged = rules.judge(plan, digest, catalogue.find(plan.policy), self._notary.about(plan.model), now)
        known = self._given(digest)
        if known is not None and now < known.valid_until and _outcomes(known.reasons) == _outcomes(judged.reasons):
            return known  # nothing has changed but the milliseconds
        verdict = Verdict(
            id=new_id(now),
            endpoint=plan.endpoint,
            model=plan.model,
            plan=digest,
            attempt=attempt,
            outcome=judged.outcome,
            reasons=judged.reasons,
            routed=judged.routed,
            proven=judged.proven,
            n_needed=judged.n_needed,
            evidence=tuple(item.statement for item in judged.counted if item.statement is not None),
            given_at=now,
            valid_until=judged.valid_until,
            metrics=measured or {},
        )
        failpoints.hit("verdict.given")
        with self._book.write() as tx:
            VERDICTS.insert(tx, verdict)
            tx.record(
                "verdict.given",
                f"endpoint:{plan.endpoint}",
                {
                    "verdict": verdict.id,
                    "outcome": verdict.outcome,
                    "model": plan.model,
                    "plan": digest,
                    "attempt": attempt,
                    "failed": [r.check for r in verdict.reasons if r.outcome == "fail"],
                    "unproven": [r.check for r in verdict.reasons if r.outcome == "unproven"],
                    "routed": [list(item) for item in verdict.routed],
                    "n_needed": verdict.n_needed,
                    "evidence": list(verdict.evidence),
                },
            )
        return verdict


def _outcomes(reasons: tuple[Reason, ...]) -> list[tuple[str, str]]:
    return [(reason.check, reason.outcome) for reason in reasons]


def _latency(plan: Plan, answers: Answers, alpha: float) -> list[CheckResult]:
    """The p99 of single-case latency in milliseconds, with a distribution-free upper bound."""
    goals = [goal for goal in plan.goals if goal.metric in SERVICE_METRICS]
    return [
        result
        for goal in goals
        for result in absolute(goal, None, quantile_bounds(answers.seconds * 1000, 0.99, alpha=alpha), plan.power)
    ]


def _numbers(results: Sequence[CheckResult]) -> dict[str, tuple[float | None, float | None, float | None]]:
    """Estimate and bounds of each goal."""
    return {r.metric: (r.estimate, r.lower, r.upper) for r in results if _of_goal(r) and r.metric}


def _of_goal(result: CheckResult) -> bool:
    """Whether a result measures one of the owner's goals, and not the duel with the baseline."""
    return result.kind in ("floor", "ceiling") and result.name != "floor:baseline"


def _goal(goal: Goal) -> PlannedGoal:
    return PlannedGoal(metric=goal.metric, floor=goal.floor, ceiling=goal.ceiling, margin=goal.margin)
