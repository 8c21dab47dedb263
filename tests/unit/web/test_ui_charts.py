"""Numbers become coordinates that can be read back."""

from __future__ import annotations

import math
import runpy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.governance.model import DriftLine, Point, RiskLine, Series
from stellwerk.web.ui import axes, charts, gauges

samples = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("samples.py"))))
NAMES = {samples.FIRST: "delay@1", samples.SECOND: "delay@2"}
UNIT = st.floats(0, 1)


def point(start: datetime, estimate: float, release: str = "r") -> Point:
    return Point(
        start=start,
        end=start + timedelta(days=1),
        estimate=estimate,
        lower=estimate - 0.01,
        upper=estimate + 0.01,
        labelled=10,
        predictions=20,
        release=release,
    )


def test_a_release_change_breaks_the_line() -> None:
    """Points of different releases are not joined: nothing was measured in between."""
    chart = charts.quality(samples.delay().quality, NAMES)

    assert chart is not None
    assert [5, 2] == [len(line.split()) for line in chart.lines]
    assert ["delay@1 released", "delay@2 released"] == [mark.name for mark in chart.releases]
    assert "0.697 [0.685–0.709]" == chart.releases[1].value


def test_only_points_below_the_floor_are_bad() -> None:
    """The mark of a point and its words agree with the floor."""
    chart = charts.quality(samples.delay().quality, NAMES)

    assert chart is not None
    assert ["plain"] * 4 + ["bad"] + ["plain"] * 2 == [dot.tone for dot in chart.dots]
    assert chart.dots[4].text.endswith("below the floor")
    assert "AUROC from 0.709 (1 Apr 2013) to 0.643 (1 Oct 2013); floor 0.620, 1 period below it" == chart.summary


@given(st.lists(st.tuples(st.integers(0, 4000), UNIT), min_size=1, max_size=30), st.none() | UNIT)
def test_everything_lies_inside_the_plot(raw: list[tuple[int, float]], floor: float | None) -> None:
    """Whatever the series, every mark is inside the plot and larger values stand higher."""
    start = datetime(2010, 1, 1, tzinfo=UTC)
    series = Series(metric="m", floor=floor, points=tuple(point(start + timedelta(days=d), v) for d, v in raw))

    chart = charts.quality(series, {})

    assert chart is not None
    for dot in chart.dots:
        assert 0 <= dot.x <= 100
        assert chart.top - 0.01 <= dot.top <= dot.y <= dot.bottom <= chart.bottom + 0.01
    ticks = [tick.at for tick in chart.y_ticks]
    assert ticks == sorted(ticks, reverse=True)
    assert 2 <= len(ticks) <= 9
    assert all(0 <= tick.at <= 100 for tick in chart.x_ticks)


@given(UNIT, UNIT)
def test_side_labels_do_not_overlap(estimate: float, floor: float) -> None:
    """The latest value, its bounds and the floor can always be read."""
    series = Series(metric="m", floor=floor, points=(point(datetime(2013, 1, 1, tzinfo=UTC), estimate),))

    chart = charts.quality(series, {})

    assert chart is not None
    heights = sorted(label.y for label in chart.side)
    assert 3 == len(heights)
    assert all(below - above >= 13 for above, below in pairwise(heights))


def test_release_labels_get_rows_of_their_own() -> None:
    """Labels that would touch on a narrow screen stand in different rows."""
    day = datetime(2013, 1, 1, tzinfo=UTC)
    marks = tuple((f"r{i}", day + timedelta(days=i), 0.5, 0.4, 0.6) for i in range(6))
    series = Series(
        metric="m", floor=None, points=(point(day, 0.5), point(day + timedelta(days=9), 0.5)), at_release=marks
    )

    chart = charts.quality(series, {})

    assert chart is not None
    for one in chart.releases:
        for other in chart.releases:
            near = abs(one.x - other.x) < 30 and one.anchor == other.anchor
            assert one is other or not near or one.label_y != other.label_y


def test_values_without_a_place_are_left_out() -> None:
    """NaN, infinity and absurd values are not drawn; a series of nothing else has no chart."""
    day = datetime(2013, 1, 1, tzinfo=UTC)
    bad = tuple(replace(point(day, 0.5), estimate=v) for v in (math.nan, math.inf, 1e300))

    assert charts.quality(Series(metric="m", floor=None, points=bad), {}) is None
    chart = charts.quality(Series(metric="m", floor=math.nan, points=(*bad, point(day, 0.5))), {})
    assert chart is not None
    assert 1 == len(chart.dots)
    assert chart.floor is None


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (0.5, ["00:00", "03:00"]),
        (5, ["1 Mar", "2 Mar"]),
        (60, ["1 Mar", "8 Mar"]),
        (214, ["Mar", "Apr"]),
        (700, ["Apr", "Jul"]),
        (4000, ["2014", "2015"]),
    ],
)
def test_time_axis_speaks_the_right_unit(days: float, expected: list[str]) -> None:
    """Hours, days, months, quarters or years, as the span demands."""
    start = datetime(2013, 3, 1, tzinfo=UTC)

    _, ticks = axes.time_ticks(start, start + timedelta(days=days))

    assert expected == [tick.text for tick in ticks][:2]
    assert len(ticks) <= 12


@given(
    st.datetimes(datetime(1, 1, 1), datetime(9998, 1, 1)).map(lambda d: d.replace(tzinfo=UTC)),
    st.integers(1, 3600 * 24 * 360_000),
)
def test_time_axis_never_fails(start: datetime, seconds: int) -> None:
    """Any span gives round instants inside it, in order."""
    end = min(start, datetime(9000, 1, 1, tzinfo=UTC)) + timedelta(seconds=min(seconds, 3600 * 24 * 360_000))
    start = min(start, end - timedelta(seconds=1))

    bounds, ticks = axes.time_ticks(start, end)

    assert list(bounds) == sorted(bounds)
    assert all(start <= b < end for b in bounds)
    assert [t.at for t in ticks] == sorted(t.at for t in ticks)


def test_lease_bar_turns_when_renewal_is_due() -> None:
    """Green, then yellow in the last fifth, then red; without a release there is none."""
    card = samples.delay()

    assert "good" == gauges.lease(replace(card, lease_used=0.5, lease_left_days=15.0)).tone  # type: ignore[union-attr]
    assert "warn" == gauges.lease(card).tone  # type: ignore[union-attr]
    assert "bad" == gauges.lease(replace(card, lease_used=1.0, lease_left_days=0.0)).tone  # type: ignore[union-attr]
    assert gauges.lease(samples.unproven()) is None
    assert gauges.lease(replace(card, lease_used=math.nan)) is None


@given(UNIT, UNIT, UNIT, UNIT)
def test_risk_gauge_keeps_the_order(a: float, b: float, c: float, limit: float) -> None:
    """Left to right: lower bound, estimate, upper bound; the limit where it belongs among them."""
    low, middle, high = sorted((a, b, c))
    line = RiskLine(loss="0/1", labels=9, estimate=middle, lower=low, upper=high, limit=limit, alarm=low > limit)

    gauge = gauges.risk(line)

    assert gauge is not None
    assert 0 <= gauge.left <= gauge.estimate <= gauge.right <= 100
    assert 0 <= gauge.limit <= 100
    assert (gauge.tone == "bad") == (low > limit)


def test_crossed_bounds_are_said_to_be_crossed() -> None:
    """Bounds that hold at all times can cross when the risk changes; the gauge draws them and says so."""
    line = RiskLine(loss="0/1", labels=9, estimate=0.176, lower=0.18, upper=0.178, limit=0.17, alarm=True)

    gauge = gauges.risk(line)

    assert gauge is not None
    assert gauge.crossed
    assert gauge.left < gauge.right


def test_drift_bars_share_one_limit() -> None:
    """Largest shift in units of its own limit first; half the width is the limit; beyond twice is marked."""
    bars = gauges.drift(samples.delay().drift)

    assert "temperature" == bars[0].line.column
    assert bars[0].beyond
    assert 100.0 == bars[0].width
    assert round(50 * 0.147 / 0.121, 2) == bars[1].width
    assert not bars[-1].beyond


@pytest.mark.parametrize(("shift", "limit", "width"), [(0.0, 0.0, 0.0), (0.1, 0.0, 100.0), (math.nan, 0.1, 100.0)])
def test_drift_without_a_usable_limit_is_shown_at_its_worst(shift: float, limit: float, width: float) -> None:
    """What cannot be compared is never drawn as small."""
    line = DriftLine(column="c", statistic=shift, limit=limit, effect=0.0, material=False)

    assert width == gauges.drift((line,))[0].width


def test_timeline_shows_what_held_and_what_may_still_hold() -> None:
    """Bars meet where one release superseded the other; only a running one has time ahead and a now."""
    current, before = gauges.timeline(samples.delay().history, samples.NOW)

    assert 0 == before.start
    assert before.start + before.held == pytest.approx(current.start, abs=0.02)
    assert 0 == before.ahead
    assert before.now is None
    assert current.start + current.held == pytest.approx(current.now)
    assert current.start + current.held + current.ahead == pytest.approx(100, abs=0.02)
    assert () == gauges.timeline((), samples.NOW)
