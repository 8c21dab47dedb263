"""Three-valued checks on cases whose truth is known: what is true passes, what is false fails, the rest is unproven."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Invalid
from stellwerk.evidence.metrics import METRICS, constant_scores, metric
from stellwerk.evidence.model import CheckResult, Plan, PlannedGoal
from stellwerk.evidence.quality import MIN_SLICE, Judged, absolute, quality
from stellwerk.evidence.service import once
from stellwerk.evidence.statistics.samples import Bounds
from stellwerk.ledger import documents

ALPHA = 0.05
DIGEST = of_bytes(b"x")


def plan(*goals: PlannedGoal, by: tuple[str, ...] = (), slices: tuple[PlannedGoal, ...] = ()) -> Plan:
    return Plan(
        endpoint="e", environment="production", model=DIGEST, champion=None, gate="e", gate_version=1,
        gate_features=DIGEST, gate_commitment=DIGEST, goals=goals, slice_by=by, slice_goals=slices,
        slice_unproven="human", policy=("base@1",), required=("quality",), groups=None, reason="first",
    )  # fmt: skip


def binary(n: int, strength: float = 2.0, seed: int = 1) -> Judged:
    """Cases of a calibrated model: its scores are the very probabilities that the labels were drawn with."""
    rng = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-strength * rng.normal(size=n)))
    labels = (rng.random(n) < p).astype(np.int64)
    return Judged(
        task="binary",
        labels=labels,
        scores=np.column_stack([1 - p, p]),
        champion=None,
        baseline=constant_scores("binary", labels, n, 2),
        slices={},
    )


def weaker(cases: Judged, noise: float, seed: int = 2) -> Any:
    """Scores of a model that sees the same through noise."""
    rng = np.random.default_rng(seed)
    logits = np.log(cases.scores[:, 1] / cases.scores[:, 0]) + noise * rng.normal(size=len(cases.labels))
    p = 1 / (1 + np.exp(-logits / (1 + noise)))
    return np.column_stack([1 - p, p])


def checks(asked: Plan, cases: Judged, alpha: float = ALPHA) -> dict[str, CheckResult]:
    found = once(quality(asked, cases, alpha))
    return {result.name: result for result in found}


def goal(name: str, **limits: float) -> PlannedGoal:
    return PlannedGoal(metric=name, **limits)


# The true AUROC of `binary` with strength 2 is about 0.86, its Brier score about 0.152.


@pytest.mark.parametrize(
    ("limits", "n", "outcome"),
    [
        ({"floor": 0.80}, 3000, "pass"),
        ({"floor": 0.90}, 3000, "fail"),
        ({"floor": 0.86}, 3000, "unproven"),
        ({"floor": 0.82}, 60, "unproven"),
        ({"ceiling": 0.92}, 3000, "pass"),
        ({"ceiling": 0.80}, 3000, "fail"),
        ({"ceiling": 0.86}, 3000, "unproven"),
    ],
)
def test_floors_and_ceilings(limits: dict[str, float], n: int, outcome: str) -> None:
    """Proven on the right side of its limit, disproven on the wrong one, unproven close to it or with few cases."""
    (kind, limit) = next(iter(limits.items()))
    found = checks(plan(goal("auroc", **limits)), binary(n))[f"{kind}:auroc"]

    assert (outcome, kind, limit, n) == (found.outcome, found.kind, found.limit, found.n)
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower < 0.86 < found.upper


@pytest.mark.parametrize(
    ("name", "ceiling", "outcome"),
    [("brier", 0.18, "pass"), ("brier", 0.12, "fail"), ("log_loss", 0.55, "pass"), ("log_loss", 0.40, "fail")],
)
def test_losses_have_ceilings(name: str, ceiling: float, outcome: str) -> None:
    """Of a loss the upper bound must be below its ceiling."""
    assert outcome == checks(plan(goal(name, ceiling=ceiling)), binary(3000))[f"ceiling:{name}"].outcome


def test_a_floor_and_a_ceiling_are_two_checks() -> None:
    """Neither hides the other."""
    found = checks(plan(goal("accuracy", floor=0.6, ceiling=0.7)), binary(3000))

    assert ("pass", "fail") == (found["floor:accuracy"].outcome, found["ceiling:accuracy"].outcome)


def test_the_missing_cases_are_about_right() -> None:
    """`n_needed` further cases settle what was unproven, in most samples; a tenth of them in few."""
    asked = plan(goal("auroc", floor=0.82))
    small = checks(asked, binary(150, seed=21))["floor:auroc"]
    assert small.outcome == "unproven"
    assert small.n_needed is not None

    def settled(n: int) -> int:
        return sum(checks(asked, binary(n, seed=100 + k))["floor:auroc"].outcome == "pass" for k in range(20))

    assert settled(150 + small.n_needed) >= 12
    assert settled(15 + (150 + small.n_needed) // 10) <= 10


def test_nothing_is_missing_where_the_estimate_is_on_the_wrong_side() -> None:
    """More cases do not prove what is not true, so no number is promised."""
    found = checks(plan(goal("auroc", floor=0.95)), binary(40, seed=4))["floor:auroc"]

    assert "pass" != found.outcome
    assert None is found.n_needed


@pytest.mark.parametrize(("n", "outcome"), [(2000, "pass"), (12, "unproven")])
def test_the_constant_baseline_must_be_beaten(n: int, outcome: str) -> None:
    """A model that knows something beats the average with enough cases, and not with a dozen."""
    assert outcome == checks(plan(goal("auroc", floor=0.1)), binary(n, seed=5))["floor:baseline"].outcome


def test_a_model_that_knows_nothing_never_beats_the_baseline() -> None:
    """The average itself is not better than the average (strictly above is wanted); noise is proven worse."""
    cases = binary(2000)
    noise = np.random.default_rng(9).random(2000)
    same = checks(plan(goal("auroc", floor=0.1)), replace(cases, scores=cases.baseline))
    worse = checks(plan(goal("auroc", floor=0.1)), replace(cases, scores=np.column_stack([1 - noise, noise])))

    assert "pass" != same["floor:baseline"].outcome
    assert "fail" == worse["floor:baseline"].outcome


@pytest.mark.parametrize(
    ("challenger", "champion", "margin", "outcome"),
    [
        (0.0, 0.0, 0.01, "pass"),  # the same scores: nothing is lost
        (0.0, 2.0, 0.01, "pass"),  # better
        (2.0, 0.0, 0.01, "fail"),  # much worse
        (2.0, 0.0, 0.50, "pass"),  # worse, and tolerated
        (0.4, 0.0, 0.012, "unproven"),  # hardly worse
    ],
)
def test_guardrails(challenger: float, champion: float, margin: float, outcome: str) -> None:
    """Not worse than the champion by the margin, on the same cases."""
    cases = binary(3000)
    asked = replace(plan(goal("auroc", floor=0.1, margin=margin)), champion=DIGEST)
    judged = replace(cases, scores=weaker(cases, challenger), champion=weaker(cases, champion))
    found = checks(asked, judged)["guardrail:auroc"]

    assert (outcome, -margin) == (found.outcome, found.limit)


@pytest.mark.parametrize(
    ("kind", "lower", "upper", "outcome"),
    [
        ("floor", 0.6, 0.9, "pass"),  # at least the limit is wanted, and this is
        ("floor", 0.59, 0.6, "unproven"),  # it may still be exactly the limit
        ("floor", 0.5, 0.59, "fail"),
        ("floor", None, 0.9, "unproven"),
        ("floor", None, 0.5, "fail"),
        ("floor", 0.7, None, "pass"),
        ("floor", None, None, "unproven"),
        ("floor", math.nan, math.nan, "unproven"),
        ("ceiling", 0.3, 0.6, "pass"),
        ("ceiling", 0.6, 0.61, "unproven"),
        ("ceiling", 0.61, 0.7, "fail"),
        ("ceiling", None, None, "unproven"),
    ],
)
def test_bounds_decide_to_the_last_digit(kind: str, lower: float | None, upper: float | None, outcome: str) -> None:
    """Reached is reached; a bound that does not exist, or is no number, proves nothing."""
    bounds = Bounds(estimate=0.6, lower=lower, upper=upper, se=None, alpha=ALPHA, n=50, method="given")
    (found,) = absolute(goal("auroc", **{kind: 0.6}), None, bounds, 0.8)

    assert (outcome, None) == (found.outcome, found.n_needed)


def test_a_guardrail_asks_for_strictly_more() -> None:
    """A difference whose lower bound is exactly the limit is not proven to be above it."""
    cases = binary(400)
    asked = replace(plan(goal("accuracy", floor=0.1, margin=0.02)), champion=DIGEST)
    found = checks(asked, replace(cases, champion=cases.scores))["guardrail:accuracy"]
    assert found.lower is not None
    exact = replace(plan(goal("accuracy", floor=0.1, margin=-found.lower)), champion=DIGEST)

    assert "unproven" == checks(exact, replace(cases, champion=cases.scores))["guardrail:accuracy"].outcome


def test_success_is_tested_at_a_share_of_the_level() -> None:
    """With S metrics each gain is tested at α/S; service metrics take no share."""
    cases = binary(1500)
    judged = replace(cases, champion=weaker(cases, 1.5))
    goals = (goal("auroc", floor=0.1), goal("brier", ceiling=0.9), goal("latency_p99_ms", ceiling=9.0))
    found = checks(replace(plan(*goals), champion=DIGEST), judged)
    gain = metric("auroc", "binary").difference(judged.labels, judged.scores, judged.champion, ALPHA / 2, None)

    assert {"success:auroc", "success:brier"} == {name for name in found if name.startswith("success:")}
    assert (gain.lower, "pass") == (found["success:auroc"].lower, found["success:auroc"].outcome)
    assert "ceiling:latency_p99_ms" not in found


def test_no_gain_without_a_champion_and_none_over_itself() -> None:
    """Against the very same scores no gain is proven."""
    cases = binary(1500)
    asked = plan(goal("auroc", floor=0.1, margin=0.1))

    assert {"floor:auroc", "floor:baseline"} == set(checks(asked, cases))
    same = checks(replace(asked, champion=DIGEST), replace(cases, champion=cases.scores))
    assert "unproven" == same["success:auroc"].outcome


def sliced(sizes: dict[str, int], **strengths: float) -> Judged:
    """Cases cut into slices, each with a model of its own strength."""
    parts = [binary(n, strengths.get(name, 2.0), seed=40 + k) for k, (name, n) in enumerate(sizes.items())]
    labels = np.concatenate([part.labels for part in parts])
    return Judged(
        task="binary",
        labels=labels,
        scores=np.concatenate([part.scores for part in parts]),
        champion=None,
        baseline=constant_scores("binary", labels, len(labels), 2),
        slices={"depot": [name for name, n in sizes.items() for _ in range(n)]},
    )


SLICED = plan(goal("auroc", floor=0.1), by=("depot",), slices=(goal("auroc", floor=0.7),))


@pytest.mark.parametrize("positives", [0, 1, 300])
def test_a_gate_of_one_class_proves_nothing(positives: int) -> None:
    """What cannot be measured is unproven and says why; a champion beside it changes nothing (law 3)."""
    cases = binary(300)
    labels = np.zeros(300, dtype=np.int64)
    labels[:positives] = 1
    asked = replace(plan(goal("auroc", floor=0.6, margin=0.1)), champion=DIGEST)
    found = checks(asked, replace(cases, labels=labels, champion=cases.scores))

    for name in ("floor:auroc", "guardrail:auroc", "success:auroc"):
        assert "pass" != found[name].outcome
    if positives != 1:
        assert ("unproven", None, None) == (
            found["floor:auroc"].outcome,
            found["floor:auroc"].estimate,
            found["floor:auroc"].n_needed,
        )
        assert "cannot be measured" in found["floor:auroc"].text
    assert documents.text(found["floor:auroc"])


def test_each_slice_is_judged_by_itself() -> None:
    """Good, bad, close and small slices: pass, fail, unproven, unproven; each by its own bounds and cases."""
    found = checks(SLICED, sliced({"good": 800, "bad": 800, "close": 200, "few": 20}, bad=0.1, close=0.75))
    outcomes = {name: found[f"slice:depot={name}:auroc"].outcome for name in ("good", "bad", "close", "few")}

    assert {"good": "pass", "bad": "fail", "close": "unproven", "few": "unproven"} == outcomes
    assert ("depot", "good") == found["slice:depot=good:auroc"].slice
    assert (20, MIN_SLICE - 20) == (found["slice:depot=few:auroc"].n, found["slice:depot=few:auroc"].n_needed)


@pytest.mark.parametrize("n", [MIN_SLICE - 1, MIN_SLICE, 500])
def test_a_slice_with_one_class_is_unproven(n: int) -> None:
    """However many cases there are; and nobody says how many more would do, because that is not known."""
    cases = sliced({"mixed": 300, "single": n})
    labels = cases.labels.copy()
    labels[300:] = 0
    found = checks(SLICED, replace(cases, labels=labels))["slice:depot=single:auroc"]

    assert "unproven" == found.outcome
    assert (MIN_SLICE - n if n < MIN_SLICE else None) == found.n_needed


def test_a_slice_with_one_case_of_the_other_class_is_no_error() -> None:
    """One positive among hundreds is too little to say anything, and not a crash."""
    cases = sliced({"mixed": 300, "rare": 200})
    labels = cases.labels.copy()
    labels[300:] = 0
    labels[300] = 1

    assert "unproven" == checks(SLICED, replace(cases, labels=labels))["slice:depot=rare:auroc"].outcome


def test_both_limits_of_a_slice_are_judged() -> None:
    """A floor that passes does not hide a ceiling that fails."""
    asked = plan(goal("auroc", floor=0.1), by=("depot",), slices=(goal("accuracy", floor=0.5, ceiling=0.6),))
    found = [r for r in quality(asked, sliced({"good": 800}), ALPHA) if r.kind == "slice"]

    assert {"pass", "fail"} == {result.outcome for result in found}
    assert 2 == len({result.name for result in found})
    assert {("depot", "good")} == {result.slice for result in found}


def test_slices_of_several_columns_do_not_hide_each_other() -> None:
    """Names are unique by column, value and metric, whatever the values look like."""
    cases = sliced({"a": 300, "b": 300})
    judged = replace(cases, slices={"depot": cases.slices["depot"], "day": ["a=b:c"] * 300 + ["(missing)"] * 300})
    asked = plan(
        goal("auroc", floor=0.1), by=("depot", "day"), slices=(goal("auroc", floor=0.5), goal("brier", ceiling=0.5))
    )

    assert 8 == len([name for name in checks(asked, judged) if name.startswith("slice:")])


@pytest.mark.parametrize("alpha", [0.05, 0.0076, 0.001])
def test_a_stricter_level_proves_less(alpha: float) -> None:
    """Later attempts have wider bounds; what passes at a strict level passes at a loose one."""
    asked = plan(goal("auroc", floor=0.8), goal("brier", ceiling=0.17))
    loose, strict = checks(asked, binary(900), 0.1), checks(asked, binary(900), alpha)

    for name, result in strict.items():
        assert result.outcome != "pass" or loose[name].outcome == "pass"
        assert result.lower is not None
        assert loose[name].lower is not None
        assert result.lower < loose[name].lower


def test_a_false_model_is_seldom_proven() -> None:
    """Of 200 samples whose true AUROC lies at the floor, about one in twenty passes."""
    rng = np.random.default_rng(0)
    truth = 0.0
    for _ in range(4):
        p = 1 / (1 + np.exp(-2 * rng.normal(size=4000)))
        y = rng.random(4000) < p
        order = np.argsort(np.argsort(p)) + 1
        truth += (order[y].sum() - y.sum() * (y.sum() + 1) / 2) / (y.sum() * (~y).sum()) / 4
    asked = plan(goal("auroc", floor=truth + 0.003))
    passed = sum(checks(asked, binary(250, seed=500 + k))["floor:auroc"].outcome == "pass" for k in range(200))

    assert passed <= 20


# Other tasks


def multiclass(n: int, share: float, seed: int = 6) -> Judged:
    """Four classes; the model gives `share` to the true one and the rest to the others, a quarter of them at random."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    guess = np.where(rng.random(n) < 0.8, labels, rng.integers(0, 4, n))
    scores = np.full((n, 4), (1 - share) / 3)
    scores[np.arange(n), guess] = share
    return Judged(
        task="multiclass",
        labels=labels,
        scores=scores,
        champion=None,
        baseline=constant_scores("multiclass", labels, n, 4),
        slices={"k": [str(v) for v in labels % 2]},
    )


@pytest.mark.parametrize(("floor", "outcome"), [(0.8, "pass"), (0.9, "fail"), (0.85, "unproven")])
def test_accuracy_of_many_classes(floor: float, outcome: str) -> None:
    """True accuracy is 0.85: a floor below it is proven, one above it disproven, itself neither."""
    asked = plan(goal("accuracy", floor=floor), by=("k",), slices=(goal("accuracy", floor=0.7),))
    found = checks(asked, multiclass(1500, 0.7))

    assert outcome == found["floor:accuracy"].outcome
    assert "pass" == found["floor:baseline"].outcome
    assert ["pass", "pass"] == [found[f"slice:k={k}:accuracy"].outcome for k in (0, 1)]


def test_a_metric_that_the_task_does_not_have_is_an_error() -> None:
    """Neither AUROC of four classes nor a word nobody knows is silently left out."""
    for name, cases in (("auroc", multiclass(200, 0.7)), ("acuracy", multiclass(200, 0.7)), ("mae", binary(200))):
        with pytest.raises(Invalid) as caught:
            quality(plan(goal(name, floor=0.5)), cases, ALPHA)
        assert "unknown-metric" == caught.value.code


def regression(n: int, noise: float, seed: int = 8) -> Judged:
    """Answers that are off by normal noise from a truth with standard deviation 2."""
    rng = np.random.default_rng(seed)
    truth = 2.0 * rng.normal(size=n)
    return Judged(
        task="regression",
        labels=truth,
        scores=truth + noise * rng.normal(size=n),
        champion=None,
        baseline=constant_scores("regression", truth, n, 0),
        slices={"half": ["low" if value < 0 else "high" for value in truth]},
    )


@pytest.mark.parametrize(
    ("name", "kind", "limit", "outcome"),
    [
        ("mae", "ceiling", 0.45, "pass"),  # true: 0.5·√(2/π) ≈ 0.399
        ("mae", "ceiling", 0.35, "fail"),
        ("mae", "ceiling", 0.40, "unproven"),
        ("rmse", "ceiling", 0.55, "pass"),  # true: 0.5
        ("rmse", "ceiling", 0.45, "fail"),
        ("r2", "floor", 0.90, "pass"),  # true: 1 − 0.25/4 ≈ 0.94
        ("r2", "floor", 0.97, "fail"),
    ],
)
def test_numbers(name: str, kind: str, limit: float, outcome: str) -> None:
    """Absolute error, squared error and explained variance, each against limits on both sides of the truth."""
    found = checks(plan(goal(name, **{kind: limit})), regression(1200, 0.5))

    assert outcome == found[f"{kind}:{name}"].outcome
    assert "pass" == found["floor:baseline"].outcome


def test_the_median_is_not_better_than_the_median() -> None:
    """A regression that always answers the middle does not beat the baseline."""
    cases = regression(800, 0.5)

    assert (
        "pass"
        != checks(plan(goal("mae", ceiling=9.0)), replace(cases, scores=cases.baseline))["floor:baseline"].outcome
    )


def test_numbers_against_a_champion_and_by_slice() -> None:
    """A champion with twice the noise is beaten; slices have their own bounds."""
    cases = regression(900, 0.5)
    judged = replace(cases, champion=cases.labels + 1.0 * np.random.default_rng(3).normal(size=900))
    asked = plan(goal("mae", ceiling=0.6, margin=0.05), by=("half",), slices=(goal("mae", ceiling=0.6),))
    found = checks(replace(asked, champion=DIGEST), judged)

    names = ("guardrail:mae", "success:mae", "slice:half=low:mae", "slice:half=high:mae")
    assert ["pass"] * 4 == [found[name].outcome for name in names]


# Answers that are none


@pytest.mark.parametrize(
    "scores",
    [
        np.ones((200, 2)),  # certain of everything: a log loss of nothing
        np.full((200, 2), 5.0),
        np.column_stack([np.full(200, -0.5), np.full(200, 1.5)]),
        np.zeros((200, 2)),
        np.full((200, 2), math.nan),
    ],
)
def test_scores_that_are_no_probabilities_are_an_error(scores: Any) -> None:
    """Whoever answers 1 to every class has the best log loss of all; that is no proof, it is no answer."""
    cases = binary(200)
    for name in ("log_loss", "accuracy", "auroc"):
        with pytest.raises(Invalid):
            quality(plan(goal(name, floor=0.0, ceiling=20.0)), replace(cases, scores=scores), ALPHA)


def test_days_that_share_their_weather_prove_less() -> None:
    """Cases that come in groups have wider bounds than the same cases taken as independent."""
    rng = np.random.default_rng(12)
    days = np.repeat(np.arange(40), 50)
    weather = np.repeat(rng.normal(size=40), 50)
    labels = (rng.random(2000) < 1 / (1 + np.exp(-1.5 * weather))).astype(np.int64)
    p = np.full(2000, 0.5)
    cases = replace(binary(2000), labels=labels, scores=np.column_stack([1 - p, p]))
    alone = checks(plan(goal("brier", ceiling=0.9), goal("accuracy", floor=0.1)), cases)["floor:accuracy"]
    grouped = checks(plan(goal("brier", ceiling=0.9), goal("accuracy", floor=0.1)), replace(cases, groups=days))
    wide = grouped["floor:accuracy"]

    assert alone.lower is not None
    assert wide.lower is not None
    assert alone.estimate == wide.estimate
    assert alone.estimate - alone.lower < 0.5 * (wide.estimate - wide.lower)  # type: ignore[operator]


def test_every_metric_has_a_task_and_a_direction() -> None:
    """The table is complete: each metric measures what it says it can."""
    for name, measure in METRICS.items():
        assert name == measure.name
        assert measure.tasks
