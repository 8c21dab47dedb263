"""Grouped predictions: one bad day is one event, and a decline is told at a level that all looks share."""

from __future__ import annotations

import numpy as np

from stellwerk.evidence.statistics.power import alpha_at_attempt
from stellwerk.monitoring import risk

DAY = 86_400_000_000


def tracked(losses: np.ndarray, days: np.ndarray, *, grouped: bool) -> risk.RiskState:
    return risk.track(
        losses, days * DAY, limit=0.2, delta=0.01, alpha=0.05, restarts=[], blocks=days if grouped else None
    )


def test_one_bad_day_is_no_alarm_when_a_day_is_one_event() -> None:
    """Nine hundred bad answers of one storm alarm at once if they counted as independent, and not as one group."""
    losses = np.concatenate([np.full(900, 0.3), np.full(900 * 9, 0.15)])
    days = np.repeat(np.arange(10), 900)

    assert tracked(losses, days, grouped=False).alarm_label is not None
    assert tracked(losses, days, grouped=True).alarm_label is None


def test_a_lasting_harm_alarms_all_the_same() -> None:
    """Many groups in a row over the limit are proof."""
    rng = np.random.default_rng(0)
    days = np.repeat(np.arange(120), 20)
    losses = np.clip(np.repeat(rng.normal(0.35, 0.05, 120), 20), 0, 1)

    found = tracked(losses, days, grouped=True)

    assert found.alarm_label is not None
    assert 0 == found.alarm_label % 20
    assert found.lower > found.limit or found.evidence >= 100


def test_groups_may_interleave() -> None:
    """A group whose predictions are scattered is still one bet, at its last prediction."""
    losses = np.array([0.9, 0.1, 0.9, 0.1])

    means, ends, counted = risk._block_means(losses, np.arange(4), np.array([7, 3, 7, 3]))

    assert [0.9, 0.1] == means.tolist()
    assert [2, 3] == ends.tolist()
    assert [2, 4] == counted.tolist()


def test_levels_of_all_looks_sum_to_delta() -> None:
    """However often one looks, the chance of a false alarm stays below δ."""
    assert sum(alpha_at_attempt(0.01, look) for look in range(1, 5000)) <= 0.01
