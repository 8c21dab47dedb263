"""Renewal: only labels prove fitness (law 5), and whatever is missing is unproven (law 3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.ledger.shelf import evolve
from stellwerk.monitoring import risk
from stellwerk.monitoring.model import Alarm, Measure, RenewalDecision, RenewalFacts
from stellwerk.monitoring.renewal import decide_renewal
from stellwerk.releases.model import Goal

NOW = datetime(2026, 2, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def measure(metric: str, lower: float | None, estimate: float, upper: float | None, n: int = 2000) -> Measure:
    return Measure(
        metric=metric, estimate=estimate, lower=lower, upper=upper, se=0.01, n=n, alpha=0.05, method="student-t"
    )


def alarm(kind: Any, severity: Any) -> Alarm:
    return Alarm(kind=kind, severity=severity, text="something is wrong", at=NOW)


FIT = RenewalFacts(
    labels=2000,
    labels_required=800,
    coverage=0.95,
    expected_coverage=1.0,
    goals=(Goal(metric="auroc", floor=0.70), Goal(metric="latency_p99_ms", ceiling=50)),
    measures=(measure("auroc", 0.78, 0.80, 0.82),),
    at_release=(measure("auroc", 0.78, 0.80, 0.82),),
    proof=measure("loss", 0.14, 0.15, 0.155),
    risk_at_release=0.15,
    tolerance=0.01,
    risk_limit=None,
    alarms=(),
    contracts_green=True,
    owner="anna",
    plan_current=True,
    policy_current=True,
    lease=30 * DAY,
    cap=90 * DAY,
    label_delay=DAY,
    traffic_per_day=1000,
    audit_share=1.0,
)


def outcomes(decision: RenewalDecision) -> dict[str, str]:
    return {reason.check: reason.outcome for reason in decision.reasons if reason.outcome != "pass"}


def test_a_fit_model_is_renewed() -> None:
    """Every check passes, and with most of the headroom left the lease grows by half."""
    decision = decide_renewal(FIT)

    assert decision.renew
    assert {} == outcomes(decision)
    assert 45 * DAY == decision.length
    assert None is decision.labels_missing
    assert "2,000 labels of this lease count, 800 are needed" == decision.reasons[0].text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"labels": 0, "proof": None, "measures": ()}, "labels"),
        ({"labels": 799}, "labels"),
        ({"labels": 29, "labels_required": 1}, "labels"),
        ({"coverage": 0.79}, "coverage"),
        ({"coverage": None}, "coverage"),
        ({"measures": ()}, "floor:auroc"),
        ({"measures": (measure("auroc", 0.69, 0.80, 0.82),)}, "floor:auroc"),
        ({"measures": (measure("auroc", None, 0.80, None),)}, "floor:auroc"),
        ({"goals": ()}, "limits"),
        ({"goals": (Goal(metric="latency_p99_ms", ceiling=50),)}, "limits"),
        ({"goals": (Goal(metric="auroc", margin=0.01),)}, "limits"),
        ({"proof": measure("loss", 0.14, 0.15, 0.161)}, "risk"),
        ({"proof": None}, "risk"),
        ({"risk_limit": 0.152}, "ceiling:loss"),
        ({"traffic_per_day": 0.0}, "lease"),
        ({"audit_share": 0.0}, "lease"),
        ({"traffic_per_day": 1.0}, "lease"),
        ({"at_release": ()}, "lease"),
    ],
)
def test_what_is_missing_is_unproven(changes: dict[str, Any], expected: str) -> None:
    """Each gap alone keeps the lease from going on, and is named."""
    decision = decide_renewal(evolve(FIT, **changes))

    assert not decision.renew
    assert decision.length is None
    assert "unproven" == outcomes(decision)[expected]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"measures": (measure("auroc", 0.60, 0.65, 0.69),)}, "floor:auroc"),
        ({"proof": measure("loss", 0.17, 0.18, 0.19)}, "risk"),
        ({"goals": (Goal(metric="brier", ceiling=0.1),), "measures": (measure("brier", 0.14, 0.15, 0.16),)},
         "ceiling:brier"),
        ({"alarms": (alarm("risk", "caution"),)}, "alarms"),
        ({"alarms": (alarm("drift", "stop"),)}, "alarms"),
        ({"alarms": (alarm("contract", "caution"),)}, "contracts"),
        ({"contracts_green": False}, "contracts"),
        ({"owner": ""}, "owner"),
        ({"plan_current": False}, "plan"),
        ({"policy_current": False}, "policy"),
    ],
)  # fmt: skip
def test_what_is_broken_fails(changes: dict[str, Any], expected: str) -> None:
    """A proven harm or a broken condition is a failure, not a gap."""
    decision = decide_renewal(evolve(FIT, **changes))

    assert not decision.renew
    assert "fail" == outcomes(decision)[expected]


def test_the_missing_labels_are_counted() -> None:
    """Too few are told as a number; too wide a bound as the number that would probably settle it."""
    few = decide_renewal(evolve(FIT, labels=300))
    wide = decide_renewal(evolve(FIT, proof=measure("loss", 0.13, 0.15, 0.17)))

    assert 500 == few.labels_missing
    # ((1.645 + 0.842)·0.01·√2000 / 0.01)² = 12,366 in all.
    assert 12_366 - 2000 == wide.labels_missing


def test_more_labels_do_not_help_a_model_on_the_wrong_side() -> None:
    """No number is promised where the estimate itself is beyond the limit."""
    decision = decide_renewal(evolve(FIT, measures=(measure("auroc", 0.66, 0.69, 0.72),)))

    assert "unproven" == outcomes(decision)["floor:auroc"]
    assert decision.labels_missing is None


@pytest.mark.parametrize(
    ("lower", "alarms", "days"),
    [
        (0.76, (), 45),
        (0.76, (alarm("drift", "note"),), 45),
        (0.76, (alarm("drift", "caution"),), 30),
        (0.72, (), 30),
        (0.705, (), 15),
        (0.70, (), 15),
    ],
)
def test_the_length_follows_the_headroom(lower: float, alarms: tuple[Alarm, ...], days: int) -> None:
    """Half the distance to the floor left: longer; a tenth: as long; less: half; a warning never lengthens."""
    decision = decide_renewal(evolve(FIT, measures=(measure("auroc", lower, 0.80, 0.82),), alarms=alarms))

    assert decision.renew
    assert days * DAY == decision.length


def test_the_length_stays_between_its_limits() -> None:
    """Never longer than owner and policy allow, never shorter than the next proof takes."""
    short = evolve(FIT, measures=(measure("auroc", 0.70, 0.80, 0.82),), labels_required=2000, traffic_per_day=100)

    assert 40 * DAY == decide_renewal(evolve(FIT, cap=40 * DAY)).length
    assert 21 * DAY == decide_renewal(short).length
    assert not decide_renewal(evolve(short, cap=20 * DAY)).renew


def test_the_audit_share_follows_from_the_labels_needed() -> None:
    """800 labels, 5,000 cases a day, 14 days of delay, 30 days of lease: 1 % (methods 2.2)."""
    facts = evolve(FIT, traffic_per_day=5000, label_delay=14 * DAY)

    assert pytest.approx(0.01) == decide_renewal(facts).audit_share
    assert None is decide_renewal(evolve(facts, label_delay=30 * DAY)).audit_share


RATES = st.floats(0.0, 1.0)


@st.composite
def measures(draw: Any, metric: str) -> Measure:
    low, mid, high = sorted((draw(RATES), draw(RATES), draw(RATES)))
    n = draw(st.integers(0, 5000))
    known = draw(st.booleans())
    return evolve(
        measure(metric, low if known else None, mid, high if known else None, n), se=draw(st.floats(0, 0.2))
    )


FACTS = st.builds(
    RenewalFacts,
    labels=st.integers(0, 5000),
    labels_required=st.integers(0, 5000),
    coverage=st.none() | RATES,
    expected_coverage=RATES,
    goals=st.lists(
        st.builds(
            Goal,
            metric=st.sampled_from(["auroc", "latency_p99_ms"]),
            floor=st.none() | RATES,
            ceiling=st.none() | RATES,
        ),
        max_size=2,
    ).map(tuple),
    measures=st.lists(measures("auroc"), max_size=1).map(tuple),
    at_release=st.lists(measures("auroc"), max_size=1).map(tuple),
    proof=st.none() | measures("loss"),
    risk_at_release=RATES,
    tolerance=st.floats(0.0, 0.2),
    risk_limit=st.none() | RATES,
    alarms=st.lists(
        st.builds(
            alarm,
            st.sampled_from(["risk", "drift", "contract", "labels"]),
            st.sampled_from(["note", "caution", "stop"]),
        ),
        max_size=2,
    ).map(tuple),
    contracts_green=st.booleans(),
    owner=st.sampled_from(["", "anna"]),
    plan_current=st.booleans(),
    policy_current=st.booleans(),
    lease=st.integers(1, 200).map(lambda days: days * DAY),
    cap=st.integers(1, 200).map(lambda days: days * DAY),
    label_delay=st.integers(0, 60).map(lambda days: days * DAY),
    traffic_per_day=st.floats(0.0, 1e6),
    audit_share=RATES,
)  # fmt: skip


@settings(max_examples=300)
@given(FACTS)
def test_nothing_is_renewed_without_labels(facts: RenewalFacts) -> None:
    """Law 5, for whatever else may be true: without labels, without bounds, or below what the plan needs, no."""
    for starved in (
        evolve(facts, labels=0),
        evolve(facts, proof=None),
        evolve(facts, labels=min(facts.labels, max(0, facts.labels_required - 1))),
        evolve(facts, proof=measure("loss", None, 0.0, None)),
    ):
        assert not decide_renewal(starved).renew


@settings(max_examples=300)
@given(FACTS)
def test_a_renewal_has_every_reason(facts: RenewalFacts) -> None:
    """Renewed exactly if all reasons pass; then it has a length within its limits, and else none."""
    decision = decide_renewal(facts)

    assert all(reason.outcome == "pass" for reason in decision.reasons) == decision.renew
    assert decision.renew == (decision.length is not None)
    assert {"labels", "risk", "alarms", "contracts", "owner", "plan", "policy", "lease"} <= {
        reason.check for reason in decision.reasons
    }
    if decision.length is not None:
        assert timedelta(0) < decision.length <= facts.cap
    assert all(reason.text for reason in decision.reasons)


# Facts that are renewed often enough for the next laws to mean something.
HEALTHY = st.builds(
    lambda floor, lower, upper, limit: evolve(
        FIT,
        goals=(Goal(metric="auroc", floor=floor),),
        measures=(measure("auroc", lower, max(lower, 0.8), 0.99),),
        proof=measure("loss", 0.0, min(upper, 0.1), upper),
        risk_limit=limit,
    ),
    st.floats(0.6, 0.75),
    st.floats(0.6, 0.9),
    st.floats(0.1, 0.2),
    st.none() | st.floats(0.12, 0.3),
)


@settings(max_examples=300)
@given(HEALTHY, RATES, RATES)
def test_worse_bounds_never_turn_a_refusal_into_a_renewal(facts: RenewalFacts, down: float, up: float) -> None:
    """With equally many labels, a lower metric or a higher loss helps nobody, not even to a longer lease."""
    [auroc] = facts.measures
    assert facts.proof is not None
    worse = evolve(
        facts,
        measures=(
            evolve(auroc, lower=(auroc.lower or 0) - down, estimate=auroc.estimate - down),
        ),
        proof=evolve(facts.proof, upper=(facts.proof.upper or 0) + up, estimate=facts.proof.estimate + up),
    )  # fmt: skip

    before, after = decide_renewal(facts), decide_renewal(worse)

    assert before.renew or not after.renew
    assert (after.length or timedelta(0)) <= (before.length or timedelta(0))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.25), st.floats(0.0, 0.5))
def test_worse_labels_never_turn_a_refusal_into_a_renewal(seed: int, wrong: float, flipped: float) -> None:
    """From the labels on: right predictions whose truth turns out otherwise never make a renewal."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.05, 0.95, 400)
    scores = np.column_stack([1 - p, p])
    sure = scores.argmax(axis=1).astype(float)
    labels = np.where(rng.random(400) < wrong, 1 - sure, sure)
    worse = np.where((rng.random(400) < flipped) & (labels == sure), 1 - sure, labels)

    before, after = (_from(scores, truth) for truth in (labels, worse))

    assert before.renew or not after.renew


def _from(scores: np.ndarray, labels: np.ndarray) -> RenewalDecision:
    accuracy = risk.measured("accuracy", scores, labels, alpha=0.05)
    assert accuracy is not None
    return decide_renewal(
        evolve(
            FIT,
            labels=len(labels),
            labels_required=400,
            goals=(Goal(metric="accuracy", floor=0.8),),
            measures=(accuracy,),
            at_release=(measure("accuracy", 0.85, 0.9, 0.95),),
            proof=risk.mean_loss(risk.loss_values("binary", scores, labels, 1.0), alpha=0.05),
            risk_at_release=0.17,
        )
    )


def test_the_law_above_has_both_sides() -> None:
    """With few wrong labels it is renewed, with many it is not: the property test is not about refusals only."""
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, 400)
    scores = np.column_stack([1 - p, p])
    sure = scores.argmax(axis=1).astype(float)

    assert _from(scores, sure).renew
    assert not _from(scores, np.where(rng.random(400) < 0.3, 1 - sure, sure)).renew
