"""Laws 2, 3 and 5 as pure rules: what is missing, old, unsigned, empty or about something else never makes a clear."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.evidence.model import CheckResult, Evidence, Plan, PlannedGoal
from stellwerk.releases import policies as catalogue
from stellwerk.releases import rules
from stellwerk.releases.model import Policy, Requirement
from stellwerk.testing.releases import NOW, OTHER, OTHER_PLAN, PLAN_DIGEST, a_piece, a_plan, a_result

KINDS = ("quality", "file-scan", "contract", "provenance")
BASE = catalogue.find(("base@1",))
DAY = timedelta(days=1)


def whole() -> list[Evidence]:
    """Everything that `base@1` demands."""
    return [a_piece(kind) for kind in KINDS]


def judge(evidence: list[Evidence], plan: Plan | None = None, policies: Any = BASE) -> rules.Judgement:
    return rules.judge(plan or a_plan(), PLAN_DIGEST, policies, evidence, NOW)


def spoiled(which: str, **changes: Any) -> list[Evidence]:
    """All evidence, that of one kind changed."""
    return [replace(item, **changes) if item.kind == which else item for item in whole()]


def test_whole_evidence_is_clear() -> None:
    """The starting point of all that follows: nothing is missing, so the verdict is clear."""
    found = judge(whole())

    assert ("clear", (), None) == (found.outcome, found.routed, found.n_needed)
    assert set(KINDS) == {item.kind for item in found.counted}
    assert NOW + 29 * DAY == found.valid_until


HARMS: dict[str, dict[str, Any]] = {
    "expired by its own age": {"max_age": DAY},
    "expired by the policy's age": {"observed_at": NOW - 181 * DAY, "max_age": 999 * DAY},
    "from the future": {"observed_at": NOW + timedelta(microseconds=1)},
    "empty": {"results": ()},
    "unsigned": {"statement": None},
    "about another model": {"subject": OTHER},
    "of another plan": {"plan": OTHER_PLAN},
    "of another kind": {"kind": "something-else"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("harm", HARMS)
def test_evidence_that_does_not_count_is_never_clear(kind: str, harm: str) -> None:
    """Missing, old, empty, unsigned, foreign: each alone turns a clear verdict into unproven (laws 3 and 5)."""
    assert "unproven" == judge(spoiled(kind, **HARMS[harm])).outcome
    assert "unproven" == judge([item for item in whole() if item.kind != kind]).outcome


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("outcome", "expected"), [("fail", "stop"), ("unproven", "unproven")])
def test_any_result_that_did_not_pass_decides(kind: str, outcome: Any, expected: str) -> None:
    """One failed check among many stops; one unproven check leaves it unproven."""
    bad = a_result("ceiling:brier" if kind == "quality" else f"{kind}:x", outcome=outcome)
    found = judge([replace(item, results=(*item.results, bad)) if item.kind == kind else item for item in whole()])

    assert expected == found.outcome
    assert bad.name in [reason.check for reason in found.reasons if reason.outcome == outcome]


@pytest.mark.parametrize("kind", ["quality", "contract"])
def test_a_newer_piece_counts_and_an_older_one_cannot_hide_it(kind: str) -> None:
    """Of two pieces the newer is judged, in whichever order they come; at one instant, the one made later."""
    bad = a_piece(
        kind, (a_result("contract:x", outcome="fail"),), id=f"{kind}-2", observed_at=NOW - timedelta(hours=1)
    )
    same = replace(bad, observed_at=NOW - DAY)

    for evidence in ([*whole(), bad], [bad, *whole()], [*whole(), same], [same, *whole()]):
        assert "stop" == judge(evidence).outcome


def test_an_empty_policy_refuses() -> None:
    """No policy, or policies that demand nothing, is stop, whatever the evidence (law 3)."""
    nothing = Policy(name="none", version=1, requirements=(), lease_cap={"limited": 90})

    for policies in ((), (nothing,), (nothing, nothing)):
        found = judge(whole(), policies=policies)
        assert ("stop", ["policy"]) == (found.outcome, [reason.check for reason in found.reasons])


def test_a_plan_without_goals_refuses() -> None:
    """Where nothing is to be proven, nothing is."""
    assert "stop" == judge(whole(), a_plan(goals=())).outcome


def test_every_goal_must_have_its_result() -> None:
    """Quality evidence that says nothing of one declared number proves nothing of it, however good the rest is."""
    goals = (PlannedGoal(metric="auroc", floor=0.6), PlannedGoal(metric="brier", ceiling=0.2))
    only_floor = judge(whole(), a_plan(goals=goals))
    wrong_side = judge(spoiled("quality", results=(a_result("ceiling:auroc"),)))
    both = judge(spoiled("quality", results=(a_result(), a_result("ceiling:brier"))), a_plan(goals=goals))

    assert ("unproven", "unproven", "clear") == (only_floor.outcome, wrong_side.outcome, both.outcome)
    assert ["ceiling:brier"] == [r.check for r in only_floor.reasons if r.outcome == "unproven"]


def test_a_margin_must_have_its_guardrail_where_a_champion_runs() -> None:
    """A declared margin is a promise about the champion; without the comparison it is not kept."""
    goals = (PlannedGoal(metric="auroc", floor=0.6, margin=0.01),)
    duel = a_plan(goals=goals, champion=OTHER, reason="retrain")

    assert "clear" == judge(whole(), a_plan(goals=goals)).outcome
    assert "unproven" == judge(whole(), duel).outcome
    assert "clear" == judge(spoiled("quality", results=(a_result(), a_result("guardrail:auroc"))), duel).outcome


def slice_result(outcome: Any, value: str = "OO", **changes: Any) -> CheckResult:
    name = f"slice:carrier={value}:auroc"
    return a_result(name, outcome=outcome, slice=("carrier", value), **changes)


@pytest.mark.parametrize(
    ("outcome", "rule", "verdict", "routed"),
    [
        ("pass", "human", "clear", ()),
        ("pass", "refuse", "clear", ()),
        ("unproven", "human", "clear", (("carrier", "OO"),)),
        ("unproven", "refuse", "unproven", ()),
        ("fail", "human", "stop", ()),
        ("fail", "refuse", "stop", ()),
    ],
)
def test_unproven_slices_go_to_people_only_where_declared(outcome: Any, rule: Any, verdict: str, routed: Any) -> None:
    """`human` routes what is unproven and never what failed; `refuse` lets nothing pass without proof."""
    evidence = spoiled("quality", results=(a_result(), slice_result(outcome)))
    found = judge(evidence, a_plan(slice_by=("carrier",), slice_unproven=rule))

    assert (verdict, routed) == (found.outcome, found.routed)


def test_only_values_that_were_tested_are_proven() -> None:
    """What serving may answer by itself is named: passed in every metric, and nothing that nobody has seen."""
    results = (
        a_result(),
        slice_result("pass", "AA"),
        slice_result("unproven", "OO"),
        replace(slice_result("pass", "OO"), name="slice:carrier=OO:brier"),
    )
    found = judge(spoiled("quality", results=results), a_plan(slice_by=("carrier", "origin")))

    assert (("carrier", "OO"),) == found.routed
    assert {"carrier": ("AA",), "origin": ()} == found.proven
    assert {} == judge(whole()).proven


def test_an_unproven_slice_without_a_name_cannot_be_routed() -> None:
    """Whose cases nobody could send to people is simply unproven."""
    nameless = slice_result("unproven")
    evidence = spoiled("quality", results=(a_result(), replace(nameless, slice=None)))

    assert "unproven" == judge(evidence, a_plan(slice_by=("carrier",))).outcome


def test_a_slice_is_routed_once() -> None:
    """Two unproven metrics of one slice are one route."""
    results = (a_result(), slice_result("unproven"), replace(slice_result("unproven"), name="slice:carrier=OO:brier"))

    assert (("carrier", "OO"),) == judge(spoiled("quality", results=results), a_plan(slice_by=("carrier",))).routed


@pytest.mark.parametrize(
    ("reason", "outcomes", "expected"),
    [
        ("improvement", ("pass",), "clear"),
        ("improvement", ("fail", "pass"), "clear"),
        ("improvement", ("unproven", "fail"), "unproven"),
        ("improvement", ("fail", "fail"), "stop"),
        ("whatever", ("unproven",), "unproven"),
        ("", ("unproven",), "unproven"),
        ("retrain", ("unproven", "fail"), "clear"),
        ("security", ("fail",), "clear"),
        ("first", ("fail",), "clear"),
    ],
)
def test_one_proven_gain_is_enough_and_none_is_not(reason: str, outcomes: tuple[Any, ...], expected: str) -> None:
    """A challenger must be better in one metric, unless the reason needs no gain; an unknown reason needs one."""
    names = [f"success:{metric}" for metric in ("auroc", "brier", "log_loss")]
    gains = tuple(a_result(name, outcome=outcome) for name, outcome in zip(names, outcomes, strict=False))
    evidence = spoiled("quality", results=(a_result(), *gains))

    assert expected == judge(evidence, a_plan(reason=reason, champion=OTHER)).outcome


def test_successes_alone_prove_nothing() -> None:
    """Evidence whose only results are excused by the reason is as good as empty."""
    evidence = spoiled("contract", results=(a_result("success:auroc"),))

    assert "unproven" == judge(evidence).outcome


def test_a_verdict_lasts_as_long_as_its_shortest_evidence() -> None:
    """By the piece's own age or the policy's, whichever ends first."""
    old = spoiled("contract", observed_at=NOW - 29 * DAY)
    short = spoiled("provenance", max_age=timedelta(days=2))
    shortest = Policy(
        name="p",
        version=1,
        requirements=(Requirement(evidence="quality", max_age=3 * DAY),),
        lease_cap={"limited": 90},
    )

    assert NOW + 1 * DAY == judge(old).valid_until
    assert NOW + 1 * DAY == judge(short).valid_until
    assert NOW + 2 * DAY == judge(whole(), policies=(*BASE, shortest)).valid_until


@given(st.permutations(["base@1", "leakage@1"]))
def test_policies_add_up_in_any_order(names: list[str]) -> None:
    """Whoever demands more wins; the order of policies changes nothing but their digest."""
    policies = catalogue.find(tuple(names))

    assert {*KINDS, "leakage"} == set(catalogue.requirements(policies))
    assert "unproven" == judge(whole(), policies=policies).outcome
    assert "clear" == judge([*whole(), a_piece("leakage")], policies=policies).outcome


# Any evidence whatever, against a second opinion.

outcomes = st.sampled_from(["pass", "pass", "pass", "pass", "unproven", "fail"])
results = st.lists(
    st.one_of(
        outcomes.map(lambda outcome: a_result(outcome=outcome)),
        outcomes.map(lambda outcome: a_result("x", outcome=outcome)),
        st.tuples(outcomes, st.sampled_from(["OO", "AA"])).map(lambda pair: slice_result(*pair)),
        outcomes.map(lambda outcome: replace(slice_result(outcome), slice=None)),
        outcomes.map(lambda outcome: a_result("success:auroc", outcome=outcome)),
    ),
    max_size=4,
).map(tuple)
pieces = st.builds(
    a_piece,
    st.sampled_from([*KINDS, "leakage"]),
    results,
    id=st.integers(0, 99).map(str),
    subject=st.sampled_from([a_plan().model] * 5 + [OTHER]),
    plan=st.sampled_from([PLAN_DIGEST] * 5 + [OTHER_PLAN, None]),
    observed_at=st.integers(-40, 1).map(lambda days: NOW + days * DAY),
    max_age=st.integers(1, 60).map(lambda days: days * DAY),
    statement=st.sampled_from([PLAN_DIGEST] * 5 + [None]),
)
judged_plans = st.builds(
    a_plan,
    reason=st.sampled_from(["first", "improvement"]),
    slice_unproven=st.sampled_from(["human", "refuse"]),
    slice_by=st.just(("carrier",)),
)


def counts(item: Evidence) -> bool:
    """A second opinion on whether a piece counts at all."""
    limit = catalogue.requirements(BASE).get(item.kind, timedelta(0))
    mine = item.plan == PLAN_DIGEST or (item.plan is None and item.kind != "quality")
    young = timedelta(0) <= NOW - item.observed_at < min(limit, item.max_age)
    return item.subject == a_plan().model and mine and young and item.statement is not None


def good(item: Evidence, plan: Plan) -> bool:
    """A second opinion on whether a piece proves what it is for."""
    firm = [r for r in item.results if r.kind != "success"]
    routed = [r for r in firm if r.slice and r.outcome == "unproven" and plan.slice_unproven == "human"]
    gains = [r.outcome for r in item.results if r.kind == "success"]
    better = plan.reason == "first" or not gains or "pass" in gains
    asked = item.kind != "quality" or any(r.name == "floor:auroc" for r in firm)
    return bool(firm) and better and asked and all(r.outcome == "pass" or r in routed for r in firm)


@given(st.lists(pieces, max_size=6), st.sets(st.sampled_from(KINDS)), judged_plans)
def test_clear_means_that_everything_demanded_is_proven(some: list[Evidence], kept: set[str], plan: Plan) -> None:
    """For any heap of evidence: clear exactly if of each demanded kind the newest piece that counts is good."""
    heap = [*some, *(item for item in whole() if item.kind in kept)]
    newest: dict[str, Evidence] = {}
    for item in sorted(heap, key=lambda item: (item.observed_at, item.id)):
        if counts(item):
            newest[item.kind] = item
    found = judge(heap, plan)

    assert (set(KINDS) <= set(newest) and all(good(newest[kind], plan) for kind in KINDS)) == (
        found.outcome == "clear"
    )
    assert found.outcome != "clear" or NOW < found.valid_until
    if plan.slice_unproven == "refuse":
        assert () == found.routed
    for item in found.counted:
        assert counts(item)


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ({"clean": "pass", "test": "pass"}, "clear"),
        ({"clean": "pass"}, "unproven"),
        ({"clean": "pass", "test": "unproven"}, "unproven"),
        ({"clean": "unproven", "test": "fail"}, "stop"),
        ({"train": "pass"}, "unproven"),
    ],
)
def test_every_demanded_kind_of_steps_is_answered(answers: dict[str, Any], outcome: str) -> None:
    """Evidence about other kinds, or about some of them, does not do (law 3)."""
    policies = catalogue.find(("base@1", "steps@1(clean, test)"))
    results = tuple(
        CheckResult(name=f"step:{kind}", kind="requirement", outcome=one, text="so") for kind, one in answers.items()
    )

    found = judge([*whole(), a_piece("steps", results=results)], policies=policies)

    assert outcome == found.outcome
    assert "unproven" == judge(whole(), policies=policies).outcome
