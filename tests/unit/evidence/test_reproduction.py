"""Grading a rebuild: known answers of the interval and of the equivalence test, and which level follows from what."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Invalid
from stellwerk.evidence.reproduction import Measured, Probes, StepPair, beginnings, checks, grade, level
from stellwerk.evidence.statistics.reproduction import equivalence, prediction_interval

SEEDS = [0.912, 0.915, 0.909, 0.913, 0.911]
A, B, C, D, E, F, G = (of_bytes(text.encode()) for text in "abcdefg")


def test_the_interval_of_the_example() -> None:
    """The vector of methods 2.10."""
    low, high = prediction_interval(SEEDS)

    assert (0.9007, 0.9233) == (round(low, 4), round(high, 4))


def test_equal_seeds_leave_no_room() -> None:
    """Seeds that do not scatter make a point, not a guess."""
    assert (0.5, 0.5) == prediction_interval([0.5, 0.5, 0.5])


def test_one_seed_says_nothing() -> None:
    """A spread needs two."""
    with pytest.raises(Invalid) as caught:
        prediction_interval([0.9])

    assert "too-few-cases" == caught.value.code


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20))
def test_the_interval_holds_the_mean(values: list[float]) -> None:
    """And it is symmetric around it."""
    low, high = prediction_interval(values)
    mean = math.fsum(values) / len(values)

    assert low <= mean + 1e-9
    assert mean - 1e-9 <= high


@pytest.mark.parametrize(
    ("first", "second", "margin"),
    [
        (SEEDS, [0.911, 0.914, 0.910, 0.912, 0.913], 0.005),
        (SEEDS, [0.92, 0.93, 0.925], 0.005),
        ([1.0, 2.0, 3.0, 4.0], [1.5, 2.5, 3.5], 3.0),
    ],
)
def test_equivalence_is_two_tests_of_welch(first: list[float], second: list[float], margin: float) -> None:
    """The p-value is that of scipy's one-sided tests on values moved by the margin."""
    above = stats.ttest_ind([x + margin for x in second], first, equal_var=False, alternative="greater").pvalue
    below = stats.ttest_ind([x - margin for x in second], first, equal_var=False, alternative="less").pvalue
    found = equivalence(first, second, margin=margin)

    assert max(above, below) == pytest.approx(found.p, rel=1e-9)
    assert found.proven == (-margin < found.lower and found.upper < margin)


def test_the_equivalence_of_the_example() -> None:
    """Two equal scatters around .912 are the same procedure within half a point, and not within a thousandth."""
    again = [0.911, 0.914, 0.910, 0.912, 0.913]

    assert equivalence(SEEDS, again, margin=0.005).proven
    assert not equivalence(SEEDS, again, margin=0.001).proven


def test_what_does_not_scatter_is_known() -> None:
    """Without spread the difference decides."""
    assert 0.0 == equivalence([1.0, 1.0], [1.5, 1.5], margin=1.0).p
    assert 1.0 == equivalence([1.0, 1.0], [2.5, 2.5], margin=1.0).p


def pair(task: str, inputs: list[Digest], before: Digest, now: Digest | None) -> StepPair:
    return StepPair(
        task=task, inputs=tuple(inputs), before={"value": before}, now={} if now is None else {"value": now}
    )


def test_a_difference_begins_where_the_same_was_given() -> None:
    """What follows from a difference is not named; what differs by itself is, however late."""
    steps = [
        pair("load", [A], B, B),
        pair("clean", [B], C, D),
        pair("train", [C], E, F),
        pair("other", [B], G, A),
    ]

    assert ("clean", "other") == beginnings(steps, frozenset({A}))


def test_a_step_that_did_not_end_differs() -> None:
    """Its error is a difference, and so is a step that is missing now."""
    assert ("load",) == beginnings([pair("load", [A], B, None)], frozenset({A}))


def test_the_same_bytes_are_level_b() -> None:
    """Nothing else is asked then."""
    found = grade(model=(A, A), steps=[pair("train", [B], A, A)], given=frozenset({B}))

    assert ("B", "", 1) == (found.level, found.first, len(found.reasons))


@pytest.mark.parametrize(
    ("same_hardware", "largest", "classes", "expected"),
    [
        (True, 1e-6, 0, "P"), (True, 2e-6, 0, "X"), (False, 1e-4, 0, "P"), (False, 2e-4, 0, "X"),
        (None, 1e-6, 0, "P"), (None, 1e-5, 0, "X"), (True, 0.0, 1, "X"),
    ],
)  # fmt: skip
def test_predictions_within_the_tolerance_are_level_p(
    same_hardware: bool | None, largest: float, classes: int, expected: str
) -> None:
    """A millionth on the same hardware, a ten-thousandth on other, and every class the same."""
    probes = Probes(rows=512, largest=largest, classes=classes, same_hardware=same_hardware)

    assert expected == grade(model=(A, B), steps=[], given=frozenset(), probes=probes).level


@pytest.mark.parametrize(("value", "expected"), [(0.901, "M"), (0.923, "M"), (0.9, "X"), (0.924, "X")])
def test_a_metric_inside_the_interval_is_level_m(value: float, expected: str) -> None:
    """Of the chosen seed."""
    measured = Measured(metric="accuracy", before=tuple(SEEDS), now=(0.0, value), chosen=1)

    assert expected == grade(model=(A, B), steps=[], given=frozenset(), measured=measured).level


def test_seeds_around_the_same_mean_are_level_s() -> None:
    """Where the margin was said; without it nothing is proven."""
    now = (0.9, 0.913, 0.914, 0.911, 0.912)
    measured = Measured(metric="accuracy", before=tuple(SEEDS), now=now)
    facts = {"model": (A, B), "steps": [], "given": frozenset[Digest](), "measured": measured}

    assert "S" == grade(**facts, margin=0.02).level  # type: ignore[arg-type]
    assert "X" == grade(**facts).level  # type: ignore[arg-type]
    assert "X" == grade(**facts, margin=0.001).level  # type: ignore[arg-type]


def test_no_model_is_not_reproducible() -> None:
    """With the step at which it ended."""
    found = grade(model=(A, None), steps=[pair("load", [A], B, None)], given=frozenset({A}))

    assert ("X", "load") == (found.level, found.first)


def test_better_levels_reach_what_is_demanded() -> None:
    """B is better than P, X reaches nothing that can be demanded."""
    best = grade(model=(A, A), steps=[], given=frozenset())
    worst = grade(model=(A, None), steps=[], given=frozenset())

    assert [True] * 4 == [best.reaches(level(one)) for one in "BPMS"]
    assert [False] * 4 == [worst.reaches(level(one)) for one in "bpms"]
    with pytest.raises(Invalid):
        level("X")


def test_evidence_passes_from_m_on() -> None:
    """S is too little to prove anything, X is a failure."""
    measured = Measured(metric="accuracy", before=tuple(SEEDS), now=(0.9, 0.913, 0.914, 0.911, 0.912))
    facts = {"steps": [], "given": frozenset[Digest]()}
    same = grade(model=(A, A), **facts)  # type: ignore[arg-type]
    scatter = grade(model=(A, B), measured=measured, margin=0.02, **facts)  # type: ignore[arg-type]
    other = grade(model=(A, B), **facts)  # type: ignore[arg-type]

    assert ["pass", "unproven", "fail"] == [checks(one)[0].outcome for one in (same, scatter, other)]
