"""The risk tracker: silent while nothing is wrong, fast when something is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.evidence.statistics.betting import e_process
from stellwerk.evidence.statistics.bounds import mean_bounds
from stellwerk.monitoring import risk
from stellwerk.monitoring.model import RiskState
from stellwerk.monitoring.predictions import label_array, score_array

DAY = 86_400_000_000
DELTA = 0.01
WEEKS = tuple(7 * week * DAY for week in range(1, 13))


def losses(n: int, rng: np.random.Generator, *, slope: float = 1.0) -> np.ndarray:
    """Brier losses of a model whose log-odds are too bold by 1/slope; calibrated with slope 1."""
    p = rng.beta(1, 3, n)
    truth = rng.random(n) < 1 / (1 + ((1 - p) / p) ** slope)
    return (p - truth) ** 2


def tracked(values: np.ndarray, *, limit: float, restarts: Sequence[int] = WEEKS) -> RiskState:
    """100 labels a day."""
    at = np.arange(len(values)) * (DAY // 100)
    return risk.track(values, at, limit=limit, delta=DELTA, alpha=0.05, restarts=restarts)


def test_no_label_says_nothing() -> None:
    """Without labels there is neither alarm nor estimate, and the bounds are all that is possible."""
    state = tracked(np.empty(0), limit=0.2)

    assert (0, None, 0.0, 1.0, None) == (state.labels, state.estimate, state.lower, state.upper, state.alarm_label)


def test_without_restarts_it_is_the_e_process_of_the_evidence_room() -> None:
    """The alarm comes at the first label at which the weighted wealth reaches 1/δ; δ of later restarts is unspent."""
    values = losses(3000, np.random.default_rng(3), slope=0.3)
    first = 6 / np.pi**2
    wealth = first * np.exp(e_process(values, limit=0.16)) + 1 - first

    state = tracked(values, limit=0.16, restarts=())

    assert int(np.flatnonzero(wealth >= 1 / DELTA)[0]) + 1 == state.alarm_label
    assert pytest.approx(float(values.mean())) == state.estimate


def test_false_alarms_stay_within_their_budget() -> None:
    """With U_S measured on 2,000 cases and nothing changed, at most δ_S + δ_T of releases alarm in 90 days."""
    rng = np.random.default_rng(11)
    alarms = 0
    for _ in range(150):
        upper = mean_bounds(losses(2000, rng), alpha=0.01, support=(0.0, 1.0)).upper
        assert upper is not None
        alarms += tracked(losses(9000, rng), limit=upper).alarm_label is not None

    # 150 releases at the budget of 2 % would give more than 7 with probability 0.01.
    assert alarms <= 7


def test_at_the_very_limit_it_still_holds() -> None:
    """Even if the true loss is exactly the limit, δ_T is not exceeded."""
    limit = float(losses(2_000_000, np.random.default_rng(1)).mean())
    rng = np.random.default_rng(2)

    alarms = sum(tracked(losses(9000, rng), limit=limit).alarm_label is not None for _ in range(150))

    assert alarms <= 5


@pytest.mark.parametrize(("good", "most"), [(0, 450), (3000, 1100), (6000, 1300)])
def test_real_harm_is_found_soon(good: int, most: int) -> None:
    """Half the boldness wrong: the median delay in labels, from the first day on or after months of good ones."""
    delays = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        upper = mean_bounds(losses(2000, rng), alpha=0.01, support=(0.0, 1.0)).upper
        assert upper is not None
        values = np.concatenate([losses(good, rng), losses(6000, rng, slope=0.5)])
        found = tracked(values, limit=upper + 0.01).alarm_label
        assert found is not None
        assert found > good
        delays.append(found - good)

    print(f"median delay after {good:,} good labels: {np.median(delays):,.0f} labels")
    assert np.median(delays) <= most


def test_restarts_find_late_harm_sooner() -> None:
    """After a long good past, one bet that runs since the release needs several times as many labels."""
    rng = np.random.default_rng(5)
    values = np.concatenate([losses(8000, rng), losses(8000, rng, slope=0.5)])

    slow, fast = (tracked(values, limit=0.165, restarts=r).alarm_label for r in ((), WEEKS))

    assert slow is not None
    assert fast is not None
    assert 3 * (fast - 8000) < slow - 8000


def test_the_alarm_names_its_moment() -> None:
    """The time of the alarm is that of the prediction with that label, and stays when further labels come."""
    rng = np.random.default_rng(8)
    values = losses(4000, rng, slope=0.2)

    early, late = tracked(values[:2000], limit=0.17), tracked(np.append(values, np.zeros(4000)), limit=0.17)

    assert early.alarm_label is not None
    assert early.alarm_label == late.alarm_label
    assert early.alarm_at == late.alarm_at
    assert (
        (early.alarm_label - 1) * (DAY // 100) == int(early.alarm_at.timestamp() * 1e6) if early.alarm_at else False
    )


def test_a_limit_that_nothing_exceeds_never_alarms() -> None:
    """A loss is at most 1, so a limit of 1 or more cannot be broken."""
    assert tracked(np.ones(500), limit=1.0).alarm_label is None
    assert tracked(np.ones(500), limit=1.4).alarm_label is None


@given(st.integers(2, 5), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_losses_of_classes_lie_between_0_and_1(width: int, n: int, seed: int) -> None:
    """For any probabilities that sum to 1 within rounding; 0 only for certainty in the right class."""
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.full(width, 0.1), n)
    labels = rng.integers(0, width, n).astype(float)

    values = risk.loss_values("multiclass", scores, labels, 1.0)

    assert ((values >= 0.0) & (values <= 1.0)).all()
    right = scores[np.arange(n), labels.astype(int)]
    assert np.allclose(values, ((scores**2).sum(axis=1) - 2 * right + 1) / 2)


def test_losses_of_two_classes_are_the_brier_score() -> None:
    """(p - y)² per case."""
    scores, _ = score_array([[0.9, 0.2, 0.5]], "binary", ("no", "yes"), rows=3)

    values = risk.loss_values("binary", scores, np.array([1.0, 1.0, 0.0]), 1.0)

    assert pytest.approx([0.01, 0.64, 0.25]) == values.tolist()


def test_losses_of_numbers_are_cut_off() -> None:
    """An error of `scale` or more is as bad as can be."""
    values = risk.loss_values("regression", np.array([1.0, 2.0, 9.0]), np.array([1.0, 1.0, 1.0]), 4.0)

    assert [0.0, 0.25, 1.0] == values.tolist()


def test_the_scale_is_never_zero() -> None:
    """A model without any error on the reference still has losses."""
    assert risk.error_scale(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == pytest.approx(0.5)
    assert risk.error_scale(np.ones(3), np.ones(3)) == 1.0


def test_unusable_scores_are_found() -> None:
    """No number, no probability, or probabilities that do not sum to 1."""
    _, binary = score_array([[0.5, None, float("nan")], [1.5, -0.1, 1.0]], "binary", ("0", "1"), rows=6)
    _, many = score_array(
        [[(0.2, 0.3, 0.5), None, (0.2, None, 0.8), (0.5, 0.5, 0.5)]], "multiclass", ("a", "b", "c"), rows=4
    )

    assert [True, False, False, False, False, True] == binary.tolist()
    assert [True, False, False, False] == many.tolist()


def test_labels_find_their_class() -> None:
    """Unknown classes are marked, missing labels stay missing."""
    found = label_array(["yes", None, "no", "maybe"], "binary", ("no", "yes"))

    assert [1.0, None, 0.0, -1.0] == [None if np.isnan(value) else float(value) for value in found]


def test_metrics_are_the_owners_or_the_usual_one() -> None:
    """Goals that labels cannot measure, such as latency, are left out."""
    assert ["auroc"] == risk.metrics("binary", ())
    assert ["mae"] == risk.metrics("regression", ())
    assert not risk.measurable("latency_p99_ms", "binary")
    assert not risk.measurable("auroc", "regression")
