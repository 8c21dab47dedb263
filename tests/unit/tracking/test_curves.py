"""Curves: fewer points, and nothing that matters lost."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.testing.fakes import MemoryBlobs, StandingClock
from stellwerk.tracking.adapters.cells import SqlCells
from stellwerk.tracking.adapters.finder import SqlFinder
from stellwerk.tracking.adapters.points import SqlPoints
from stellwerk.tracking.curves import Curves, Growing, drawn, smoothed, thinned
from stellwerk.tracking.logbook import Logbook
from stellwerk.tracking.model import Point
from stellwerk.tracking.segments import series

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(FINITE, max_size=300), st.integers(2, 60))
def test_thinning_keeps_the_ends_and_the_extremes(values: list[float], limit: int) -> None:
    """At most so many, in order, with the first, the last, the least and the largest."""
    kept = thinned(values, limit)

    assert len(kept) <= limit
    assert sorted(set(kept)) == kept
    if values:
        assert [0, len(values) - 1] == [kept[0], kept[-1]]
    if values and limit >= 4:
        assert {min(values), max(values)} <= {values[place] for place in kept}


@given(st.lists(FINITE, max_size=200), st.integers(200, 400))
def test_what_is_few_is_left_as_it_is(values: list[float], limit: int) -> None:
    """No point is lost where there are not too many."""
    assert list(range(len(values))) == thinned(values, limit)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(0, 0.99))
def test_smoothing_stays_within_what_there_was(values: list[float], weight: float) -> None:
    """It begins with the first value and never leaves the range of those so far."""
    found = smoothed(values, weight)

    assert len(values) == len(found)
    assert math.isclose(values[0], found[0], rel_tol=1e-9, abs_tol=1e-6)
    for end, value in enumerate(found, 1):
        assert min(values[:end]) - 1e-3 <= value <= max(values[:end]) + 1e-3


def test_what_is_no_number_is_told_apart() -> None:
    """NaN and infinities are named with their places; the rest is a curve."""
    rows = [(1, 0, 1.0), (2, 1, math.nan), (3, 2, math.inf), (4, 3, -math.inf), (5, 4, 2.0)]

    curve = drawn("r", "loss", series(rows), points=10, axis="step")

    assert ((0, 4), (1.0, 2.0), 5) == (curve.step, curve.value, curve.total)
    assert ((2, 1, "NaN"), (3, 2, "Infinity"), (4, 3, "-Infinity")) == curve.odd


def test_an_axis_of_steps_is_in_the_order_of_steps() -> None:
    """Whatever was measured when."""
    rows = [(1, 5, 1.0), (2, 3, 2.0), (3, 4, 3.0)]

    assert (3, 4, 5) == drawn("r", "loss", series(rows), points=10, axis="step").step
    assert (5, 3, 4) == drawn("r", "loss", series(rows), points=10, axis="time").step


@pytest.fixture
def room(database: Database, clock: StandingClock) -> tuple[Logbook, Curves]:
    book, blobs, points = WorkspaceBook(database, "default", "anna"), MemoryBlobs(), SqlPoints()
    return Logbook(book, blobs, clock, SqlFinder(), points), Curves(book, blobs, points, SqlCells())


@pytest.mark.parametrize("seed", range(6))
def test_a_series_that_grows_is_what_is_there(database: Database, clock: StandingClock, seed: int) -> None:
    """Whatever comes, in order or late, once or again, and also when it was sealed meanwhile: as read from the book."""
    chance = random.Random(seed)  # no secret
    book, points = WorkspaceBook(database, "default", "anna"), SqlPoints()
    log = Logbook(book, MemoryBlobs(), clock, SqlFinder(), points)
    growing = Growing(points, long=1, most=chance.choice([5, 40, 10_000]))
    run = log.create("0").run.id
    now = 0
    for _ in range(30):
        now += chance.randrange(3)
        late = chance.random() < 0.2
        times = [chance.randrange(now + 1) if late else now + chance.randrange(3) for _ in range(chance.randrange(5))]
        values = (0.5, math.nan, math.inf, chance.random())
        log.log(run, points=[Point("loss", chance.choice(values), at, at) for at in times])
        if chance.random() < 0.1:
            log.update(run, status="finished")
            log.update(run, status="running")
        with book.read() as reader:
            there = points.history(reader, run, "loss", limit=None, offset=0)
            found = growing.read(reader, log.get(run).run, "loss")
        assert [repr(one) for one in there] == [repr(one) for one in found.points("loss")]


def logged(log: Logbook, values: Sequence[float], key: str = "loss", start: int = 0) -> str:
    run = log.create("0").run.id
    log.log(run, points=[Point(key, value, 1000 + start + i, start + i) for i, value in enumerate(values)])
    return run


def test_curves_are_those_that_were_logged(room: tuple[Logbook, Curves]) -> None:
    """While a run goes on, when it has ended, and when points came after its end."""
    log, curves = room
    run = logged(log, [3.0, 2.0, 1.0])

    def values() -> list[tuple[float, ...]]:
        return [curve.value for curve in curves.read([run], ["loss", "nothing"])]

    assert [(3.0, 2.0, 1.0)] == values()
    log.update(run, status="finished")
    assert [(3.0, 2.0, 1.0)] == values()
    log.log(run, points=[Point("loss", 0.5, 2000, 7)])
    assert [(3.0, 2.0, 1.0, 0.5)] == values()
    log.update(run, status="running")
    log.update(run, status="finished")
    assert [(3.0, 2.0, 1.0, 0.5)] == values()


def test_curves_come_in_the_order_asked_for(room: tuple[Logbook, Curves]) -> None:
    """By run, and then by metric."""
    log, curves = room
    first, second = logged(log, [1.0]), logged(log, [2.0])
    log.log(second, points=[Point("auc", 0.5, 1, 0)])

    found = curves.read([second, first], ["loss", "auc"])

    assert [(second, "loss"), (second, "auc"), (first, "loss")] == [(one.run, one.key) for one in found]


def test_what_cannot_be_drawn_is_refused(room: tuple[Logbook, Curves]) -> None:
    """Unknown runs, and more than an answer holds."""
    log, curves = room
    run = logged(log, [1.0])

    with pytest.raises(NotFound):
        curves.read([run, "nobody"], ["loss"])
    for points, smooth in ((1, 0.0), (20_000, 0.0), (10, 1.0), (10, -0.1)):
        with pytest.raises(Invalid):
            curves.read([run], ["loss"], points=points, smooth=smooth)
    with pytest.raises(Invalid):
        curves.read([run] * 101, [str(key) for key in range(100)])
