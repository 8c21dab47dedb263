"""The statistics obey their laws for every input. Error rates and speed: `test_statistics_rates`."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter

from stellwerk.evidence.statistics import (
    auc,
    betting,
    bounds,
    drift,
    paired,
    resampling,
    sequential,
)
from stellwerk.evidence.statistics.samples import Bounds

ALPHAS = st.floats(0.001, 0.4)
SCORES = st.integers(-8, 8).map(lambda value: value / 4)
UNIT = st.integers(0, 20).map(lambda value: value / 20)
COUNTS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), min_size=2, max_size=12).filter(
    lambda rows: any(a for a, _ in rows) and any(b for _, b in rows)
)


@st.composite
def scored(draw: st.DrawFn, models: int = 1) -> tuple[NDArray[np.int64], list[NDArray[np.float64]]]:
    """Labels with at least two cases of each class, and tied scores of some models."""
    n = draw(st.integers(4, 30))
    positives = draw(st.integers(2, n - 2))
    labels = np.array(draw(st.permutations([1] * positives + [0] * (n - positives))))
    return labels, [np.array(draw(st.lists(SCORES, min_size=n, max_size=n))) for _ in range(models)]


def _ordered(found: Bounds) -> None:
    assert found.lower is None or found.lower <= found.estimate + 1e-9
    assert found.upper is None or found.upper >= found.estimate - 1e-9


def _low(found: Bounds) -> float:
    assert found.lower is not None
    return found.lower


def _high(found: Bounds) -> float:
    assert found.upper is not None
    return found.upper


def _wider(strict: Bounds, loose: Bounds) -> None:
    for first, second in ((strict.lower, loose.lower), (loose.upper, strict.upper)):
        if first is not None and second is not None:
            assert first <= second + 1e-9


# Bounds


@settings(deadline=None)
@given(st.integers(1, 300), st.data(), ALPHAS, ALPHAS)
def test_rates_lie_between_their_bounds(n: int, data: st.DataObject, one: float, other: float) -> None:
    """A smaller alpha never narrows; k successes mirror n - k failures."""
    k = data.draw(st.integers(0, n))
    strict = bounds.clopper_pearson(k, n, alpha=min(one, other))
    mirrored = bounds.clopper_pearson(n - k, n, alpha=min(one, other))

    _ordered(strict)
    _wider(strict, bounds.clopper_pearson(k, n, alpha=max(one, other)))
    assert pytest.approx(1 - _low(strict), abs=1e-9) == mirrored.upper


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.data(), ALPHAS)
def test_newcombe_is_antisymmetric(n1: int, n2: int, data: st.DataObject, alpha: float) -> None:
    """Swapping the groups swaps and negates the bounds, which stay within [-1, 1]."""
    k1, k2 = data.draw(st.integers(0, n1)), data.draw(st.integers(0, n2))
    found = bounds.newcombe_difference(k1, n1, k2, n2, alpha=alpha)
    swapped = bounds.newcombe_difference(k2, n2, k1, n1, alpha=alpha)

    _ordered(found)
    assert pytest.approx((-_high(swapped), -_low(swapped))) == (found.lower, found.upper)
    assert -1 - 1e-9 <= _low(found) <= _high(found) <= 1 + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.lists(SCORES, min_size=2, max_size=30), ALPHAS)
def test_means_lie_between_their_bounds(values: list[float], alpha: float) -> None:
    """Whatever the sample, bootstrap-t and BCa bounds hold the estimate and stay within the support."""
    for found in (
        bounds.mean_bounds(values, alpha=alpha, support=(-2, 2), resamples=199),
        paired.paired_mean_difference(values, [0.0] * len(values), alpha=alpha, support=(-2, 2), resamples=199),
    ):
        _ordered(found)
        assert -2 <= _low(found) < _high(found) <= 2


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.floats(0.01, 0.99), ALPHAS, ALPHAS)
def test_quantile_bounds_are_order_statistics(values: list[float], q: float, one: float, other: float) -> None:
    """Bounds are values of the sample around the estimate, wider for a smaller alpha."""
    strict = bounds.quantile_bounds(values, q, alpha=min(one, other))
    loose = bounds.quantile_bounds(values, q, alpha=max(one, other))

    _ordered(strict)
    _wider(strict, loose)
    assert {strict.estimate, strict.lower, strict.upper} <= {*values, None}
    assert loose.upper is not None or strict.upper is None


@settings(deadline=None)
@given(st.integers(1, 500), st.data(), st.floats(0.01, 0.9))
def test_hoeffding_bentkus_rises_with_the_risk(n: int, data: st.DataObject, limit: float) -> None:
    """More losses are less proof that the risk keeps its limit."""
    k = data.draw(st.integers(0, n - 1))

    assert bounds.hoeffding_bentkus(k / n, n, limit) <= bounds.hoeffding_bentkus((k + 1) / n, n, limit) + 1e-12
    assert 0 <= bounds.hoeffding_bentkus(k / n, n, limit) <= 1


# AUC


@settings(deadline=None)
@given(scored(), ALPHAS, ALPHAS)
def test_auc_bounds_hold_the_estimate_and_never_claim_certainty(
    cases: tuple[NDArray[np.int64], list[NDArray[np.float64]]], one: float, other: float
) -> None:
    """0 <= LCB <= AUC <= UCB <= 1, LCB < 1, UCB > 0, and a smaller alpha never narrows."""
    labels, (score,) = cases
    strict = auc.auc_bounds(labels, score, alpha=min(one, other))

    _ordered(strict)
    assert 0 <= _low(strict) < 1
    assert 0 < _high(strict) <= 1
    _wider(strict, auc.auc_bounds(labels, score, alpha=max(one, other)))


@settings(deadline=None)
@given(scored())
def test_auc_depends_on_order_only(cases: tuple[NDArray[np.int64], list[NDArray[np.float64]]]) -> None:
    """A rising transform changes nothing, a falling one gives 1 - AUC; the order of cases does not matter."""
    labels, (score,) = cases
    estimate, se = auc.delong(labels, score)
    mixed = np.random.default_rng(0).permutation(len(labels))

    assert pytest.approx((estimate, se)) == auc.delong(labels, np.exp(score))
    assert pytest.approx((1 - estimate, se)) == auc.delong(labels, -score)
    assert pytest.approx((1 - estimate, se)) == auc.delong(1 - labels, score)
    assert pytest.approx((estimate, se)) == auc.delong(labels[mixed], score[mixed])


@settings(deadline=None)
@given(scored(models=2), ALPHAS)
def test_paired_auc_is_antisymmetric(
    cases: tuple[NDArray[np.int64], list[NDArray[np.float64]]], alpha: float
) -> None:
    """Swapping the models negates the difference, z and the bounds, and keeps p."""
    labels, (a, b) = cases
    there, back = auc.paired_delong(labels, a, b), auc.paired_delong(labels, b, a)
    limits, mirrored = there.bounds(alpha), back.bounds(alpha)

    _ordered(limits)
    assert pytest.approx((-back.difference, back.se, -back.z, back.p_two_sided), abs=1e-9) == (
        there.difference,
        there.se,
        there.z,
        there.p_two_sided,
    )
    assert pytest.approx(-_high(mirrored), abs=1e-9) == limits.lower
    assert pytest.approx(auc.delong(labels, a)[0] - auc.delong(labels, b)[0], abs=1e-12) == there.difference


# Pairs


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 100), ALPHAS)
def test_tango_bounds_are_antisymmetric(b: int, c: int, same: int, alpha: float) -> None:
    """Swapping the models negates the bounds, which are never of zero width."""
    assume(b + c + same > 0)
    n = b + c + same
    found, swapped = paired.tango_bounds(b, c, n, alpha=alpha), paired.tango_bounds(c, b, n, alpha=alpha)

    _ordered(found)
    assert pytest.approx((-_high(swapped), -_low(swapped)), abs=1e-7) == (found.lower, found.upper)
    assert _low(found) < _high(found)


@settings(deadline=None)
@given(st.integers(0, 80), st.integers(0, 80))
def test_mcnemar_is_symmetric_and_mid_p_is_below_exact(b: int, c: int) -> None:
    """Who is called challenger does not matter."""
    found = paired.mcnemar(b, c)

    assert paired.mcnemar(c, b) == found
    assert 0 <= found.mid_p <= found.exact <= 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(UNIT, UNIT), min_size=3, max_size=40), ALPHAS)
def test_shared_indices_keep_pairs_together(pairs: list[tuple[float, float]], alpha: float) -> None:
    """The BCa bounds of a paired difference are those of the differences."""
    a, b = np.array(pairs).T
    together = resampling.bca(lambda x, y: float((x - y).mean()), [a, b], alpha=alpha, resamples=199)
    apart = resampling.bca_mean(a - b, alpha=alpha, resamples=199)

    _ordered(together)
    assert (together.lower is None) == (apart.lower is None)
    if together.lower is not None and apart.lower is not None:
        assert pytest.approx((apart.lower, apart.upper), abs=1e-9) == (together.lower, together.upper)


def test_the_order_of_groups_does_not_matter_and_grouping_widens() -> None:
    """Copies of cases are no new evidence when grouped."""
    x = np.random.default_rng(3).normal(size=50)
    copied, groups = np.repeat(x, 20), np.repeat(np.arange(50), 20)
    grouped = resampling.cluster_mean(copied, groups, alpha=0.05)
    single = resampling.bca_mean(x, alpha=0.05)

    assert 50 == grouped.n
    assert pytest.approx((single.lower, single.upper)) == (grouped.lower, grouped.upper)


# Sequences


@settings(max_examples=60, deadline=None)
@given(st.lists(UNIT, min_size=1, max_size=80), st.integers(0, 80), ALPHAS)
def test_sequences_nest_and_can_be_interrupted(values: list[float], cut: int, alpha: float) -> None:
    """Bounds only tighten with time; stopping, storing as JSON and going on gives the same state."""
    running = sequential.empirical_bernstein(values, alpha=alpha)
    whole = sequential.EmpiricalBernstein.begin(alpha=alpha).update(values)
    first = sequential.EmpiricalBernstein.begin(alpha=alpha).update(values[:cut])
    stored = json.loads(json.dumps(asdict(first)))
    resumed = TypeAdapter(sequential.EmpiricalBernstein).validate_python(stored).update(values[cut:])

    assert (np.diff(running.lower) >= 0).all()
    assert (np.diff(running.upper) <= 0).all()
    assert pytest.approx((whole.lower, whole.upper)) == (running.lower[-1], running.upper[-1])
    assert pytest.approx(asdict(whole)) == asdict(resumed)


@settings(max_examples=60, deadline=None)
@given(st.lists(UNIT, min_size=1, max_size=80), ALPHAS)
def test_sequences_mirror(values: list[float], alpha: float) -> None:
    """The upper bound of X is 1 less the lower bound of 1 - X, for Bernstein and for betting."""
    mirrored = 1 - np.array(values)
    there, back = (sequential.empirical_bernstein(x, alpha=alpha) for x in (values, mirrored))

    assert pytest.approx(1 - back.lower) == there.upper
    assert pytest.approx(1 - betting.betting_lower(mirrored, alpha=alpha)) == betting.betting_upper(
        values, alpha=alpha
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(UNIT, max_size=80), st.integers(0, 80), st.floats(0.05, 0.95))
def test_bets_can_be_interrupted(values: list[float], cut: int, limit: float) -> None:
    """E-processes and both e-detectors give the same state in one go and in two."""
    begun = (
        betting.EProcess.begin(limit=limit),
        betting.EDetector.begin(limit=limit, alpha=0.1, kind="sr"),
        betting.EDetector.begin(limit=limit, alpha=0.1, kind="cusum"),
    )
    for state in begun:
        stored = json.loads(json.dumps(asdict(state.update(values[:cut]))))
        resumed = TypeAdapter(type(state)).validate_python(stored)

        # asdict of either holds nested tuples, which approx does not compare.
        assert _flat(state.update(values)) == pytest.approx(_flat(resumed.update(values[cut:])))


def _flat(state: object) -> list[float]:
    numbers: list[float] = []
    for value in asdict(state).values():  # type: ignore[call-overload]
        if isinstance(value, (list, tuple)):
            numbers += value
        elif isinstance(value, (int, float)):
            numbers.append(value)
    return numbers


@settings(deadline=None)
@given(st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_cusum_never_exceeds_sr(factors: list[float]) -> None:
    """e-SR sums over all starts, e-CUSUM takes the best one."""
    assert (betting.detect(factors, kind="cusum") <= betting.detect(factors, kind="sr") + 1e-9).all()


# Drift


@settings(deadline=None)
@given(COUNTS)
def test_binned_distances_are_distances(rows: list[tuple[int, int]]) -> None:
    """PSI, Jensen–Shannon and L∞ are at least 0, symmetric where promised, and blind to the order of bins."""
    p, q = np.array(rows).T
    order = np.random.default_rng(1).permutation(len(p))

    for distance in (drift.psi, drift.jensen_shannon, drift.largest_difference):
        assert distance(p, q) >= 0
        assert pytest.approx(distance(q, p)) == distance(p, q)
        assert pytest.approx(distance(p[order], q[order])) == distance(p, q)
        assert pytest.approx(0, abs=1e-7) == distance(p, p)
    assert drift.jensen_shannon(p, q) <= math.sqrt(math.log(2)) + 1e-12


@settings(deadline=None)
@given(st.lists(st.one_of(st.floats(-5, 5), st.just(math.nan)), min_size=1, max_size=200), st.integers(2, 12))
def test_every_value_is_counted_once(values: list[float], bins: int) -> None:
    """Bins and the missing ones add up, and no more bins than asked for are made."""
    assume(not all(math.isnan(value) for value in values))
    edges = drift.quantile_edges(values, bins=bins)
    found = drift.numeric_counts(values, edges)

    assert len(values) == found.sum()
    assert sum(math.isnan(value) for value in values) == found[-1]
    assert len(edges) <= max(2, bins - 1)
    assert sorted(edges) == list(edges)


def test_a_constant_column_that_moves_is_seen_on_either_side() -> None:
    """Values below and above a constant reference fall into other bins than it."""
    edges = drift.quantile_edges([7.0] * 50)

    assert [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]] == [
        drift.numeric_counts([value], edges).tolist() for value in (6.9, 7.0, 7.1)
    ]


def test_categories_unknown_or_missing_are_counted_as_others() -> None:
    """Text, None and new categories."""
    assert [2, 1, 2] == drift.category_counts(np.array(["a", "b", None, "a", "z"], dtype=object), ["a", "b"]).tolist()


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), ALPHAS)
def test_e_bh_with_reciprocal_p_rejects_no_more_than_bh(p_values: list[float], alpha: float) -> None:
    """1/p is the largest e-value that p could stand for."""
    p = np.array(p_values)
    with np.errstate(divide="ignore", over="ignore"):
        e = 1 / p

    rejected = drift.e_benjamini_hochberg(e, alpha=alpha)

    assert not (rejected & ~drift.benjamini_hochberg(p, alpha=alpha * (1 + 1e-9))).any()


@settings(deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=60), ALPHAS)
def test_a_block_limit_states_its_true_level(null: list[float], alpha: float) -> None:
    """The share of blocks above the limit is at most the level, which exceeds alpha only for want of blocks."""
    limit, level = drift.block_limit(null, alpha=alpha)

    assert limit in null
    assert sum(value > limit for value in null) <= level * (len(null) + 1) + 1e-9
    assert level <= max(alpha, 1 / (len(null) + 1)) + 1e-9
