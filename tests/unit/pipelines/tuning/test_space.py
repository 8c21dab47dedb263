"""Spaces: what they hold, how they are drawn from, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core import canonical
from stellwerk.core.errors import Invalid
from stellwerk.pipelines.tuning import space as spaces
from stellwerk.pipelines.tuning.space import Choice, Real, Whole, choice, real, whole

NESTED = {
    "rate": real(1e-4, 1e-1, log=True),
    "model": choice({"forest": {"trees": whole(10, 40, step=10)}, "linear": {}, "boosted": {"depth": whole(2, 4)}}),
}

dimensions = st.one_of(
    st.builds(lambda low, more: whole(low, low + more), st.integers(-50, 50), st.integers(0, 40)),
    st.builds(lambda low, more: whole(low, low + more, log=True), st.integers(1, 50), st.integers(0, 400)),
    st.builds(lambda low, more: real(low, low + more), st.floats(-9, 9), st.floats(0, 5)),
    st.builds(lambda low, more: real(low, low + more, log=True), st.floats(1e-5, 9), st.floats(0, 5)),
    st.builds(lambda low, n: real(low, low + n * 0.25, step=0.25), st.integers(-9, 9), st.integers(0, 9)),
    st.builds(choice, st.lists(st.one_of(st.integers(-9, 9), st.text(max_size=3)), min_size=1, unique_by=repr)),
)


def test_a_grid_covers_every_point_once() -> None:
    """A grid is the product of its columns, and below an option only where the option is chosen."""
    grid = list(spaces.grid({"a": whole(1, 3), "b": choice({"x": {"n": whole(0, 1)}, "y": {}})}))

    assert 9 == len(grid) == spaces.size({"a": whole(1, 3), "b": choice({"x": {"n": whole(0, 1)}, "y": {}})})
    assert [{"a": 1, "b": "x", "n": 0}, {"a": 1, "b": "x", "n": 1}, {"a": 1, "b": "y"}] == grid[:3]
    assert len(grid) == len({canonical.dumps(point) for point in grid})


def test_steps_of_numbers_are_exact() -> None:
    """Three steps of 0.1 from 0 are 0.3, as people write it."""
    assert [0.0, 0.1, 0.2, 0.3] == [point["x"] for point in spaces.grid({"x": real(0, 0.3, step=0.1)})]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), dimensions, min_size=1), st.integers(0, 2**31), st.integers(0, 999))
def test_what_is_drawn_lies_inside(space: dict[str, Any], seed: int, number: int) -> None:
    """Every drawn point is one of the space, and the same number draws the same point."""
    point = spaces.drawn(spaces.checked(space), seed=seed, number=number)

    assert point == spaces.drawn(space, seed=seed, number=number)
    for name, dimension in space.items():
        if isinstance(dimension, Choice):
            assert point[name] in dimension.options
        else:
            assert dimension.low <= point[name] <= dimension.high + 1e-9
        if isinstance(dimension, Whole):
            assert 0 == (point[name] - dimension.low) % dimension.step
        if isinstance(dimension, Real) and dimension.step:
            assert 1e-9 > abs((point[name] - dimension.low) / dimension.step % 1 - 0) % 1


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), dimensions, min_size=1))
def test_a_space_survives_its_document(space: dict[str, Any]) -> None:
    """What a document says is the same space, also after it was written as JSON."""
    said = canonical.loads(canonical.dumps(spaces.document(spaces.checked(space))))

    assert spaces.document(space) == spaces.document(spaces.parse(said))


def test_nested_parameters_exist_only_below_their_option() -> None:
    """A trial of the linear model has no trees."""
    drawn = [spaces.drawn(NESTED, seed=1, number=number) for number in range(60)]

    assert {"forest", "linear", "boosted"} == {point["model"] for point in drawn}
    for point in drawn:
        assert ("trees" in point) == (point["model"] == "forest")
        assert ("depth" in point) == (point["model"] == "boosted")
    assert spaces.document(NESTED) == spaces.document(spaces.parse(spaces.document(NESTED)))


def test_what_was_chosen_is_recalled() -> None:
    """A trial's parameters choose the same point again."""
    for number in range(20):
        point = spaces.drawn(NESTED, seed=3, number=number)
        assert point == spaces.walk(NESTED, spaces.recall(NESTED, point))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: whole(3, 2), "from 3 to 2"),
        (lambda: whole(0, 9, log=True), "low >= 1"),
        (lambda: whole(1, 2.5), "2.5"),  # type: ignore[arg-type]
        (lambda: whole(True, 3), "True"),
        (lambda: real(0, 1, log=True), "low > 0"),
        (lambda: real(0, float("inf")), "inf"),
        (lambda: real(0, 1, step=0), "above 0"),
        (lambda: choice([]), "1 to"),
        (lambda: choice([1, 1]), "repeat"),
        (lambda: spaces.checked({}), "expected a dict"),
        (lambda: spaces.checked({"a b": whole(1, 2)}), "no name"),
        (lambda: spaces.checked({"a": 3}), "expected sw.space"),
        (lambda: spaces.checked({"a": whole(1, 2), "b": choice({"x": {"a": whole(1, 2)}})}), "twice"),
        (lambda: spaces.checked({"b": choice({"x": {"b": whole(1, 2)}})}), "twice"),
        (lambda: spaces.grid({"a": real(0, 1)}), "no steps"),
        (lambda: spaces.grid({"a": whole(1, 1000), "b": whole(1, 1000)}), "1,000,000"),
    ],
)
def test_what_cannot_be_searched_is_refused(make: Any, said: str) -> None:
    """With what is wrong."""
    with pytest.raises(Invalid) as caught:
        make()

    assert "invalid-space" == caught.value.code
    assert said in caught.value.message
