"""What is true at release: measured once, kept whole, refused where it would not be true."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.evidence.statistics.bounds import mean_bounds
from stellwerk.models.model import Column, Signature
from stellwerk.monitoring.baseline import baseline
from stellwerk.releases.model import Goal

MODEL = of_bytes(b"model")


def test_it_is_kept_as_it_was_made(world: Any) -> None:
    """The blob reads back as the same value, and the ledger names it."""
    made = world.baseline(goals=(Goal(metric="accuracy", floor=0.6),), blocks=[row // 500 for row in range(4000)])

    assert made == world.other().baseline("delay", MODEL)
    [entry] = world.entries("baseline.made")
    assert (4000, repr(made.risk_upper)) == (entry.body["rows"], entry.body["risk_upper"])
    with pytest.raises(NotFound):
        world.other("elsewhere").baseline("delay", MODEL)


def test_the_risk_is_the_mean_brier_score_with_its_upper_bound(world: Any, cases: Any) -> None:
    """U_S bounds the mean loss at level δ_S."""
    made = world.baseline(delta=0.02)
    reference = cases(4000, np.random.default_rng(7))
    loss = [(score - (label == "yes")) ** 2 for score, label in zip(reference.scores, reference.labels, strict=True)]

    expected = mean_bounds(loss, alpha=0.02, support=(0.0, 1.0))

    assert pytest.approx((expected.estimate, expected.upper)) == (made.risk_estimate, made.risk_upper)


def test_inputs_and_answers_are_watched_times_are_not(world: Any) -> None:
    """Times move on by nature; the model's own answers are a column like the others."""
    made = world.baseline()

    assert [("distance", "number"), ("carrier", "category"), ("(score)", "number")] == [
        (column.name, column.kind) for column in made.columns
    ]
    assert all(4000 == sum(column.counts) for column in made.columns)


def test_the_owners_metric_comes_first(world: Any) -> None:
    """It is shown over time, and the label-free estimate is of it."""
    made = world.baseline(goals=(Goal(metric="accuracy", floor=0.6), Goal(metric="latency_p99_ms", ceiling=50)))

    assert "accuracy" == made.metric
    assert ["accuracy"] == [measure.metric for measure in made.measures]
    assert made.expected == pytest.approx(made.measures[0].estimate, abs=0.02)


def test_a_calibrated_model_is_estimated_rightly_without_labels(world: Any) -> None:
    """The expected AUROC of the reference is close to the one its labels give."""
    made = world.baseline()

    assert made.expected == pytest.approx(made.measures[0].estimate, abs=0.02)


def test_numbers_have_a_scale(world: Any) -> None:
    """Regression: errors in units of twice the 99 % quantile, no label-free estimate."""
    rng = np.random.default_rng(3)
    truth = rng.normal(size=500)
    made = baseline(
        endpoint="price",
        model=MODEL,
        now=world.clock.now(),
        signature=Signature(inputs=(Column(name="x", kind="number"),), target="y", task="regression"),
        columns={"x": truth},
        scores=truth + 0.5,
        labels=truth.tolist(),
    )

    assert ("absolute-error", pytest.approx(1.0), pytest.approx(0.5)) == (made.loss, made.scale, made.risk_estimate)
    assert ("mae", None) == (made.metric, made.expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ["yes"] * 99 + [None]},
        {"labels": ["yes"] * 99 + ["maybe"]},
        {"scores": [0.5] * 99 + [1.5]},
        {"scores": [0.5] * 99 + [None]},
        {"scores": [0.5] * 99},
        {"columns": {"x": [1.0] * 99}},
        {"blocks": [1] * 99},
        {"columns": {"x": [1.0] * 20}, "scores": [0.5] * 20, "labels": ["yes"] * 20},
    ],
)
def test_a_reference_that_is_not_whole_is_refused(world: Any, changes: dict[str, Any]) -> None:
    """What is compared with later must not have gaps that nobody sees."""
    facts: dict[str, Any] = {"columns": {"x": [1.0] * 100}, "scores": [0.5] * 100, "labels": ["yes", "no"] * 50}
    with pytest.raises(Invalid) as caught:
        baseline(
            endpoint="delay",
            model=MODEL,
            now=world.clock.now(),
            signature=Signature(
                inputs=(Column(name="x", kind="number"),), target="y", task="binary", classes=("no", "yes")
            ),
            **{**facts, **changes},
        )

    assert "invalid-reference" == caught.value.code
