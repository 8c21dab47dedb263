"""Drift: what moves by chance or has always moved is none, and what is tiny is never material."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stellwerk.core.errors import Invalid
from stellwerk.evidence.statistics.drift import psi, psi_limit
from stellwerk.monitoring import drift
from stellwerk.monitoring.model import ColumnBaseline, DriftFinding

Draw = Callable[[np.random.Generator, int], Any]
SHARES = 1 / np.arange(1, 21)


def normal(rng: np.random.Generator, n: int) -> Any:
    return rng.normal(size=n)


def carriers(rng: np.random.Generator, n: int) -> Any:
    return [f"c{value}" for value in rng.choice(20, n, p=SHARES / SHARES.sum())]


def described(values: Any, *, kind: Any = "number", blocks: Any = None) -> ColumnBaseline:
    made = drift.describe("x", kind, values, blocks)
    assert made is not None
    return made


def judged(baseline: ColumnBaseline, values: Any, *, alpha: float = 0.05) -> DriftFinding:
    found = drift.compare(baseline, values)
    assert found is not None
    [finding] = drift.findings([found], alpha=alpha, effect_floor=0.1)
    return finding


@pytest.mark.parametrize("draw", [normal, carriers])
@pytest.mark.parametrize("now", [50, 1000, 20000])
def test_chance_is_not_drift(draw: Draw, now: int) -> None:
    """Over ten columns, an assessment reports drift where there is none in about 5 % of cases."""
    rng = np.random.default_rng(21)
    kind: Any = "number" if draw is normal else "category"
    reported = 0
    for _ in range(40):
        columns = [drift.compare(described(draw(rng, 5000), kind=kind), draw(rng, now)) for _ in range(10)]
        found = drift.findings([c for c in columns if c is not None], alpha=0.05, effect_floor=0.1)
        reported += any(finding.significant for finding in found)

    # At a true rate of 7 % (χ² is an approximation) more than 8 of 40 have probability 0.002.
    assert reported <= 8


def test_rare_categories_neither_alarm_nor_hide_an_alarm() -> None:
    """Where hardly a case is expected, single cases do not add up; the frequent ones are still seen."""
    rng = np.random.default_rng(17)
    shares = 1 / np.arange(1, 26) ** 2.5
    fewer = shares * np.where(np.arange(25) == 0, 0.7, 1.0)
    shares, fewer = shares / shares.sum(), fewer / fewer.sum()

    found = {True: 0, False: 0}
    for _ in range(100):
        baseline = described(rng.choice(25, 20_000, p=shares).tolist(), kind="category")
        for moved, now in ((False, shares), (True, fewer)):
            found[moved] += judged(baseline, rng.choice(25, 300, p=now).tolist()).significant

    # At the rate of 5 % more than 12 of 100 have probability 0.002.
    assert found[False] <= 12
    assert found[True] >= 40


def test_many_more_predictions_than_references_are_no_drift() -> None:
    """Which categories have a bin was learnt from the reference; that must not make its shares look too large."""
    rng = np.random.default_rng(19)
    shares = 1 / np.arange(1, 61) ** 1.3
    shares /= shares.sum()

    significant = 0
    for _ in range(60):
        before, now = (rng.choice(60, n, p=shares).tolist() for n in (5000, 20_000))
        significant += judged(described(before, kind="category"), now).significant

    # At the rate of 6 % more than 9 of 60 have probability 0.004.
    assert significant <= 9


def test_a_single_column_is_judged_by_the_calibrated_limit() -> None:
    """PSI and its limit are those of the evidence room, with the missing bin where it is needed."""
    rng = np.random.default_rng(4)
    baseline = described(rng.normal(size=5000))
    values = rng.normal(0.05, 1, 1000)

    finding = judged(baseline, values)

    now = drift.count(baseline, values)
    assert psi(baseline.counts, now) == finding.statistic
    assert psi_limit(10, 5000, 1000, alpha=0.05) == finding.limit


@pytest.mark.parametrize(("shift", "material"), [(0.05, False), (0.5, True)])
def test_big_data_does_not_alarm_forever(shift: float, material: bool) -> None:
    """With 200,000 rows a shift of a twentieth of a deviation is significant, and not material."""
    rng = np.random.default_rng(1)

    finding = judged(described(rng.normal(size=200_000)), rng.normal(shift, 1, 200_000))

    assert finding.significant
    assert material == finding.material
    assert pytest.approx(shift, abs=0.02) == finding.effect


def test_what_the_past_moved_is_not_drift() -> None:
    """Months that always differed by a third of a deviation: the next one is judged by them, not by chance alone."""
    rng = np.random.default_rng(9)
    plain = calibrated = 0
    for _ in range(60):
        blocks = np.repeat(np.arange(13), 500)
        values = rng.normal(size=len(blocks)) + rng.normal(0, 0.3, 13)[blocks]
        past, now = values[:6000], values[6000:]
        plain += judged(described(past), now).significant
        calibrated += judged(described(past, blocks=blocks[:6000].tolist()), now).significant

    assert plain > 30
    assert calibrated <= 8


def test_a_real_shift_is_seen_despite_blocks() -> None:
    """Blocks that differ by chance only cost hardly any power."""
    rng = np.random.default_rng(3)
    blocks = [row // 500 for row in range(6000)]

    found = [judged(described(rng.normal(size=6000), blocks=blocks), rng.normal(0.4, 1, 1000)) for _ in range(20)]

    assert all(finding.material for finding in found)


def test_few_blocks_prove_nothing() -> None:
    """Three months are no past to learn from; then chance alone is the measure."""
    values = np.random.default_rng(3).normal(size=3000)

    assert () == described(values, blocks=[row // 1000 for row in range(3000)]).past
    assert 6 == len(described(values, blocks=[row // 500 for row in range(3000)]).past)


def test_a_new_category_is_drift() -> None:
    """Values never seen before come together in a bin of their own."""
    rng = np.random.default_rng(3)

    finding = judged(described(carriers(rng, 5000), kind="category"), carriers(rng, 800) + ["new"] * 200)

    assert finding.material
    assert pytest.approx(0.2, abs=0.03) == finding.effect


@pytest.mark.parametrize("kind", ["number", "category"])
def test_missing_values_are_drift(kind: Any) -> None:
    """A column that begins to lose its values has changed, whatever is left of it."""
    rng = np.random.default_rng(3)
    draw = normal if kind == "number" else carriers
    values = [None if row % 4 == 0 else value for row, value in enumerate(list(draw(rng, 2000)))]

    finding = judged(described(draw(rng, 5000), kind=kind), values)

    assert finding.material
    assert finding.effect == pytest.approx(0.25, abs=0.02)


def test_a_constant_column_that_changes_is_drift() -> None:
    """There is no deviation to measure by, so the share of other values is the effect."""
    finding = judged(described([1.0] * 1000), [1.0] * 500 + [2.0] * 500)

    assert finding.material
    assert pytest.approx(0.5) == finding.effect


def test_a_constant_column_that_stays_is_not() -> None:
    """Nothing to compare is nothing found."""
    finding = judged(described([1.0] * 1000), [1.0] * 1000)

    assert (0.0, False, 0.0) == (finding.statistic, finding.significant, finding.effect)


def test_an_empty_column_is_not_watched() -> None:
    """A column without any value at release has no baseline."""
    assert drift.describe("x", "number", [None] * 100) is None
    assert drift.describe("x", "category", [None] * 100) is None


def test_too_few_rows_are_not_compared() -> None:
    """Below 50 rows PSI says nothing."""
    baseline = described(np.random.default_rng(3).normal(size=1000))

    assert drift.compare(baseline, [0.0] * 49) is None


def test_text_in_a_column_of_numbers_is_refused() -> None:
    """Not every difference is a distance: this one is a broken contract."""
    with pytest.raises(Invalid) as caught:
        drift.compare(described(np.random.default_rng(3).normal(size=1000)), ["a"] * 100)

    assert "not-numbers" == caught.value.code


def test_infinities_count_as_missing() -> None:
    """They have no place among the bins."""
    baseline = described([1.0, 2.0, 3.0, 4.0] * 100)

    assert drift.count(baseline, [1.0, float("inf"), None, float("nan")]).tolist()[-1] == 3


def test_one_value_is_one_category_in_any_type() -> None:
    """Truth values and whole numbers are counted alike from lists and from arrays."""
    baseline = described([True, False] * 100, kind="category")

    assert ("false", "true") == baseline.values
    assert drift.count(baseline, [True, None, False, True]).tolist() == [1, 2, 0, 1]
    assert drift.count(baseline, np.array([True, False])).tolist() == [1, 1, 0, 0]
    assert drift.categories([1, 1.0, 2.5, float("nan")]) == {"1": 2, "2.5": 1, None: 1}


def test_rejecting_one_column_helps_the_next() -> None:
    """Benjamini–Hochberg: with nine of ten columns far off, the tenth is judged almost alone."""
    rng = np.random.default_rng(2)
    far = [drift.compare(described(rng.normal(size=5000)), rng.normal(1, 1, 2000)) for _ in range(9)]
    last = drift.compare(described(rng.normal(size=5000)), rng.normal(size=2000))
    columns = [column for column in (*far, last) if column is not None]

    found = drift.findings(columns, alpha=0.05, effect_floor=0.1)
    alone = drift.findings(columns[-1:], alpha=0.05, effect_floor=0.1)

    assert [True] * 9 == [finding.significant for finding in found[:9]]
    assert found[-1].limit == pytest.approx(psi_limit(10, 5000, 2000, alpha=0.05 * 9 / 10))
    assert alone[0].limit < found[-1].limit
    assert [finding.effect for finding in found] == sorted((f.effect for f in found), reverse=True)
