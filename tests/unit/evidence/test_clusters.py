"""Bounds for grouped cases: equal to the plain ones where groups are single cases, honest where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid
from stellwerk.evidence.statistics.auc import delong, paired_delong
from stellwerk.evidence.statistics.clusters import clustered_auc, clustered_auc_difference, clustered_mean


def scored(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.4
    return y, y + rng.normal(0, 1.2, n)


def test_single_cases_as_groups_give_delongs_error() -> None:
    """With one case per group the clustered AUC is DeLong's, up to n/(n-1)."""
    y, score = scored(1)
    area, se = delong(y, score)

    found = clustered_auc(y, score, np.arange(len(y)), alpha=0.05)

    assert area == pytest.approx(found.estimate)
    assert se == pytest.approx(found.se, rel=0.01)


def test_single_cases_as_groups_give_delongs_paired_error() -> None:
    """The same for the difference of two models on the same cases."""
    y, a = scored(2)
    b = a + np.random.default_rng(3).normal(0, 1, len(y))
    plain = paired_delong(y, a, b)

    found = clustered_auc_difference(y, a, b, np.arange(len(y)), alpha=0.05)

    assert plain.difference == pytest.approx(found.estimate)
    assert plain.se == pytest.approx(found.se, rel=0.01)


def test_the_mean_of_groups_is_covered() -> None:
    """Cases of a group share a shock: plain bounds miss the true mean far too often, clustered ones do not."""
    rng = np.random.default_rng(4)
    missed = 0
    for _ in range(400):
        shock = np.repeat(rng.uniform(0.2, 0.6, 40), 50)
        values = np.clip(shock + rng.normal(0, 0.05, len(shock)), 0, 1)
        found = clustered_mean(values, np.repeat(np.arange(40), 50), alpha=0.05)
        missed += found.lower is not None and found.lower > 0.4

    assert 0.02 <= missed / 400 <= 0.085


def test_the_auc_of_groups_is_covered() -> None:
    """The same for the AUC, whose level varies from day to day."""
    rng = np.random.default_rng(5)
    truth, found = [], []
    for _ in range(200):
        day = np.repeat(np.arange(30), 40)
        tilt = rng.normal(0, 0.8, 30)[day]
        y = rng.random(len(day)) < 1 / (1 + np.exp(-tilt))
        score = y + tilt * 0.5 + rng.normal(0, 1.5, len(day))
        bounds = clustered_auc(y, score, day, alpha=0.05)
        truth.append(bounds.estimate)
        found.append(bounds)
    mean = float(np.mean(truth))
    missed = np.mean([bounds.lower is not None and bounds.lower > mean for bounds in found])

    assert 0.01 <= missed <= 0.10


@given(st.integers(0, 10_000), st.integers(2, 20))
def test_bounds_hold_the_estimate_and_ignore_order(seed: int, groups: int) -> None:
    """Whatever the groups, the estimate lies within, and the order of cases means nothing."""
    rng = np.random.default_rng(seed)
    values, codes = rng.random(60), rng.integers(0, groups, 60)
    order = rng.permutation(60)

    found = clustered_mean(values, codes, alpha=0.05)
    again = clustered_mean(values[order], codes[order], alpha=0.05)

    assert found.estimate == pytest.approx(again.estimate)
    if found.lower is not None and found.upper is not None:
        assert found.lower <= found.estimate <= found.upper
        assert found.lower == pytest.approx(again.lower)


def test_one_group_proves_nothing() -> None:
    """A single group has no spread between groups, so there is no bound."""
    found = clustered_mean([0.1, 0.9, 0.4], ["a", "a", "a"], alpha=0.05)

    assert (None, None) == (found.lower, found.upper)


def test_one_class_is_refused() -> None:
    """Without both classes there is no AUC."""
    with pytest.raises(Invalid) as refusal:
        clustered_auc([1, 1, 1], [0.1, 0.2, 0.3], [1, 2, 3], alpha=0.05)

    assert "one-class" == refusal.value.code
