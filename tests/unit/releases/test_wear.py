"""Law 6: every opening of a gate set makes the next attempt stricter; sealing the same cases anew makes none fresh."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stellwerk.core.errors import Corrupt, Refused
from stellwerk.evidence.service import SHARED
from stellwerk.evidence.statistics.power import alpha_at_attempt
from stellwerk.testing.releases import Box, a_plan

SIZE = 400
BLOCK = 40


def test_each_plan_opens_once_and_raises_the_attempt(box: Box) -> None:
    """The k-th plan is attempt k at level α·6/(π²k²); a plan that is resumed keeps its attempt."""
    gate = box.seal(range(SIZE))
    openings = [box.opened(gate) for _ in range(4)]
    again = box.gates.open(gate, openings[1][0])[0]

    assert [1, 2, 3, 4] == [opening.attempt for _, opening in openings]
    assert openings[1][1] == again
    assert 4 == len(box.kinds("gate.opened"))
    for attempt in (1, 2, 3, 4):
        assert pytest.approx(0.05 * 6 / (math.pi**2 * attempt**2)) == alpha_at_attempt(0.05, attempt)


def test_a_gate_opens_only_for_a_frozen_plan(box: Box) -> None:
    """A plan that is not in the book opens nothing, and the refusal wears nothing."""
    gate = box.seal(range(SIZE))
    with pytest.raises(Refused) as caught:
        box.gates.open(gate, a_plan().model)
    _, opening = box.opened(gate)

    assert "plan-not-frozen" == caught.value.code
    assert 1 == opening.attempt


def test_sealing_equal_cases_again_is_the_same_version(box: Box) -> None:
    """Nothing new is made, so nothing is fresh."""
    first = box.seal(range(SIZE))
    box.opened(first)

    assert first == box.seal(range(SIZE))
    assert 2 == box.opened(box.seal(range(SIZE)))[1].attempt


@pytest.mark.parametrize(
    ("cases", "attempt"),
    [
        (range(1, SIZE + 1), 2),  # one case exchanged
        (range(SIZE // 2), 2),  # a part of what was seen
        (range(2 * SIZE), 2),  # half of it new
        (range(SIZE - 5, 2 * SIZE - 5), 2),  # 5 of 400 seen: above one in a hundred
        (range(SIZE - 4, 2 * SIZE - 4), 1),  # 4 of 400: not above
        (range(SIZE, 2 * SIZE), 1),  # all new
    ],
)
def test_sealing_seen_cases_anew_does_not_make_them_fresh(box: Box, cases: range, attempt: int) -> None:
    """A version that shares more than a hundredth of its cases with an opened one goes on counting."""
    box.opened(box.seal(range(SIZE)))

    assert attempt == box.opened(box.seal(cases))[1].attempt


def test_another_name_does_not_make_cases_fresh(box: Box) -> None:
    """The same cases with the same target under another endpoint's name are as worn; another target is another matter."""
    box.opened(box.seal(range(SIZE)))

    assert 2 == box.opened(box.seal(range(SIZE), name="delay-2"))[1].attempt
    assert 1 == box.opened(box.seal(range(SIZE), name="fraud", target="fraud"))[1].attempt


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(starts=st.lists(st.tuples(st.integers(0, 12), st.integers(1, 3)), min_size=1, max_size=7))
def test_attempts_count_all_openings_of_shared_cases(boxes: Callable[[], Box], starts: list[tuple[int, int]]) -> None:
    """For any history of sealing overlapping cases and opening them: one more than the openings that saw them."""
    box = boxes()
    seen: list[range] = []
    for start, times in starts:
        cases = range(start * BLOCK, start * BLOCK + SIZE)
        gate = box.seal(cases)
        for _ in range(times):
            worn = sum(len(set(cases) & set(before)) > SHARED * len(cases) for before in seen)
            assert worn + 1 == box.opened(gate)[1].attempt
            seen.append(cases)


def test_all_attempts_together_keep_the_promised_level(box: Box) -> None:
    """However often cases are sealed anew and opened, the levels sum to no more than α."""
    levels = [alpha_at_attempt(0.05, box.opened(box.seal(range(k, SIZE + k)))[1].attempt) for k in range(12)]

    assert sum(levels) <= 0.05
    assert levels == sorted(levels, reverse=True)


def test_what_was_sealed_is_what_is_opened(box: Box) -> None:
    """Labels come back as they were sealed; damaged or exchanged ones are Corrupt, and no plan text gives them away."""
    gate = box.seal(range(SIZE))
    plan, _ = box.opened(gate)
    plain = box.gates.open(gate, plan)[1]
    sealed = box.blobs.get(gate.labels)

    assert f"labels of delay {range(SIZE)}".encode() == plain
    assert plain not in sealed
    box.blobs.flip(gate.labels, len(sealed) - 1)
    with pytest.raises(Corrupt):
        box.gates.open(gate, plan)


def test_plans_are_frozen_once(box: Box) -> None:
    """The same plan has one place in the ledger, whenever it is frozen again."""
    plan = a_plan()
    first = box.gates.freeze(plan)
    box.clock.advance(timedelta(days=1))

    assert first == box.gates.freeze(plan)
    assert ["plan.frozen"] == box.kinds("plan.frozen")
