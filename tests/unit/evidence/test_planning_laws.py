"""Sample sizes, ageing, calibration and agreement obey their laws for every input."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from stellwerk.evidence.statistics import ageing, agreement, auc, bounds, calibration, paired, power

ALPHAS = st.floats(0.001, 0.4)
UNIT = st.integers(0, 20).map(lambda value: value / 20)


@settings(deadline=None)
@given(st.floats(0.001, 0.5), st.integers(1, 2000))
def test_all_attempts_together_spend_no_more_than_alpha(alpha: float, attempts: int) -> None:
    """However often a gate set is opened, and each attempt is stricter."""
    levels = [power.alpha_at_attempt(alpha, k) for k in range(1, attempts + 1)]

    assert sum(levels) <= alpha
    assert sorted(levels, reverse=True) == levels


@settings(max_examples=40, deadline=None)
@given(st.floats(0.02, 0.3), st.floats(0.0, 0.8), st.floats(0.01, 0.2), st.floats(0.5, 0.95))
def test_the_smallest_sample_has_the_power_and_one_less_has_not(
    ceiling: float, share: float, alpha: float, wanted: float
) -> None:
    """Sample sizes for a ceiling; a floor mirrors it."""
    rate = ceiling * share
    n = power.ceiling_n(ceiling=ceiling, rate=rate, alpha=alpha, power=wanted)

    assert n is not None
    assert power.ceiling_power(n, rate=rate, ceiling=ceiling, alpha=alpha) >= wanted
    if n > 1:
        assert power.ceiling_power(n - 1, rate=rate, ceiling=ceiling, alpha=alpha) < wanted
    assert n == pytest.approx(power.floor_n(floor=1 - ceiling, rate=1 - rate, alpha=alpha, power=wanted), abs=1)


def test_power_is_that_of_the_bound_itself() -> None:
    """The formula agrees with adding up every outcome whose Clopper–Pearson bound keeps the ceiling."""
    expected = sum(
        float(stats.binom.pmf(k, 120, 0.03))
        for k in range(121)
        if bounds.clopper_pearson_upper(k, 120, alpha=0.05) <= 0.08
    )

    assert pytest.approx(expected) == power.ceiling_power(120, rate=0.03, ceiling=0.08, alpha=0.05)


@settings(deadline=None)
@given(st.floats(-1, 1), st.floats(0, 0.5), st.integers(1, 10**6), st.floats(-1, 1))
def test_no_sample_size_helps_on_the_wrong_side(estimate: float, se: float, n: int, bound: float) -> None:
    """A floor at or above the estimate is not a question of more cases; a ceiling mirrors it."""
    assume(estimate <= bound or estimate - bound > 0.002)
    needed = power.n_needed(estimate, se, n, bound, 0.05, 0.8)

    assert (needed is None) == (estimate <= bound)
    assert needed == power.n_needed(-estimate, se, n, -bound, 0.05, 0.8, side="ceiling")


def test_the_needed_sample_would_have_been_enough() -> None:
    """At n_needed, the estimate clears the bound by z of alpha plus z of the power."""
    n = power.n_needed(0.64, 0.02, 500, 0.62, 0.05, 0.8)

    assert n is not None
    assert pytest.approx(1.6449 + 0.8416, abs=0.01) == (0.64 - 0.62) / (0.02 * math.sqrt(500 / n))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 15), st.booleans()), min_size=1, max_size=40), st.floats(0.01, 0.3), ALPHAS)
def test_survival_falls_and_its_bound_is_below(rows: list[tuple[int, bool]], alpha: float, other: float) -> None:
    """Kaplan–Meier falls with age, the bound is lower and falls too; a proven age exceeds no observed one."""
    ages, breached = zip(*rows, strict=True)
    found = ageing.kaplan_meier(ages, breached, alpha=alpha)
    proven = found.proven_age(0.2)

    assert sorted(found.survival, reverse=True) == list(found.survival)
    assert sorted(found.lower, reverse=True) == list(found.lower)
    assert all(low <= estimate for low, estimate in zip(found.lower, found.survival, strict=True))
    assert proven is None or (proven in found.ages and found.at(proven)[1] >= 0.8)
    assert 0.0 == found.at(max(ages) + 1)[1]
    assert max(ages) >= found.heuristic_age()


@settings(deadline=None)
@given(st.floats(1, 365), st.floats(-0.5, 1.5), st.booleans(), st.floats(0, 30), st.floats(1, 365))
def test_a_renewed_lease_stays_within_its_limits(
    length: float, room: float, warned: bool, shortest: float, cap: float
) -> None:
    """No proof of fitness, no renewal; a warning never lengthens."""
    found = ageing.renewed_length(length, headroom=room, warned=warned, shortest=shortest, cap=cap)

    if room < 0 or cap < shortest:
        assert found is None
    else:
        assert found is not None
        assert shortest <= found <= cap
        assert found <= max(shortest, length * (1.0 if warned or room < 0.5 else 1.5))


def test_a_lease_is_as_long_as_its_shortest_limit() -> None:
    """The limit is named; below the shortest useful lease, or with an open critical finding, there is none."""
    free = ageing.lease_length(cap=90, age=40, data=None, dependencies=None, shortest=14.2)
    short = ageing.lease_length(cap=90, age=10, data=None, dependencies=None, shortest=14.2)
    open_finding = ageing.lease_length(cap=90, age=None, data=None, dependencies=0, shortest=0)

    assert (40, "age") == (free.days, free.limited_by)
    assert (None, "age", 10) == (short.days, short.limited_by, short.allowed)
    assert (None, "dependencies") == (open_finding.days, open_finding.limited_by)
    assert pytest.approx(0.5) == ageing.headroom(limit=0.1, upper=0.075, at_release=0.05)


@settings(deadline=None)
@given(st.integers(1, 5000), st.floats(1, 1e5), st.floats(0, 90), st.floats(0, 60))
def test_an_audit_share_yields_the_labels_in_time(required: int, traffic: float, lease: float, delay: float) -> None:
    """The share closes the gap exactly; without one, even all cases are too few."""
    found = ageing.audit_share(required=required, cases_per_day=traffic, lease=lease, delay=delay)

    if found.share is None:
        assert lease < found.shortest_lease or lease <= delay
    else:
        assert pytest.approx(lease, rel=1e-6) == ageing.shortest_lease(
            required=required, cases_per_day=traffic, share=found.share, delay=delay
        )


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), UNIT), min_size=1, max_size=60))
def test_scores_of_probabilities(rows: list[tuple[bool, float]]) -> None:
    """Brier and log loss are at least 0, the expected confusion sums to 1, calibration error ignores the order."""
    y, p = zip(*rows, strict=True)
    confusion = calibration.expected_confusion(p)
    error, reversed_error = (calibration.calibration_error(y[::s], p[::s]) for s in (1, -1))

    assert 0 <= calibration.brier(y, p) <= 1
    assert 0 <= calibration.log_loss(y, p) <= 34.6
    assert pytest.approx(1) == confusion.tp + confusion.fp + confusion.tn + confusion.fn
    assert pytest.approx(calibration.expected_accuracy(p)) == np.mean([max(v, 1 - v) for v in p])
    assert pytest.approx(asdict(error)) == asdict(reversed_error)


def test_recalibration_finds_what_was_distorted() -> None:
    """Halved logits have slope 2; calibrated ones are plausible, distorted ones not."""
    rng = np.random.default_rng(4)
    logits = rng.normal(size=20_000)
    y, p = rng.random(20_000) < 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(-logits))
    weak = calibration.recalibrate(y, 1 / (1 + np.exp(-logits / 2)))

    assert pytest.approx(2, abs=4 * weak.slope_se) == weak.slope
    assert not weak.plausible(alpha=0.05)
    assert calibration.recalibrate(y, p).plausible(alpha=0.01)
    assert calibration.calibration_error(y, p).debiased < 0.01
    assert pytest.approx(auc.auc(y, p), abs=0.01) == calibration.expected_auc(p)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60), ALPHAS)
def test_kappa_is_symmetric_and_bounded(rows: list[tuple[int, int]], alpha: float) -> None:
    """The raters' roles do not matter, and no sample proves perfect agreement."""
    a, b = np.array(rows).T
    assume(len({*a, *b}) > 1)
    found = agreement.cohen_kappa(a, b, alpha=alpha)

    assert found.lower is not None
    assert found.upper is not None
    assert -1 <= found.lower <= found.estimate <= found.upper <= 1
    assert found.lower < 1
    assert pytest.approx(found.estimate) == agreement.cohen_kappa(b, a, alpha=alpha).estimate


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_flips_are_part_of_churn(rows: list[tuple[bool, bool, bool]]) -> None:
    """A negative flip is a changed prediction; flips less wins is the difference in accuracy."""
    y, new, old = np.array(rows).T
    flips = agreement.negative_flip_rate(y, new, old, alpha=0.05)
    b, c = paired.discordant(y, new, old)

    assert flips.estimate <= agreement.churn(new, old, alpha=0.05).estimate
    assert pytest.approx((new == y).mean() - (old == y).mean()) == (b - c) / len(y)
    assert pytest.approx(c / len(y)) == flips.estimate


def test_waiting_becomes_certain_under_overload() -> None:
    """Erlang C rises with the load, is the load itself for one reviewer, and 1 from full load on."""
    loads = [agreement.erlang_c(servers=4, load=load) for load in (0.0, 1.0, 3.0, 3.99, 4.0, 9.0)]

    assert sorted(loads) == loads
    assert (0.0, 1.0) == (loads[0], loads[-1])
    assert pytest.approx(0.7) == agreement.erlang_c(servers=1, load=0.7)
    assert 0.5 < agreement.erlang_c(servers=500, load=499) < 1
