"""Quality over time as coordinates: x in percent of the plot's width, y in pixels. Drawing is in `_charts.html`.

Percent and pixels together let one drawing fit every width while its text keeps its size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Literal

from stellwerk.governance.model import Point, Series
from stellwerk.web.ui import words
from stellwerk.web.ui.axes import Tick, TimeScale, ValueScale, time_ticks

PLOT = 210.0
"""Height of the plot itself."""
LANE = 31.0
"""Height of one row of release labels above the plot."""
FOOT = 34.0
NARROW = 270.0
"""The narrowest plot, in pixels, for which labels must not collide."""
GLYPH = 6.0
_DRAWABLE = 1e12

Tone = Literal["good", "bad", "plain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One measured period."""

    x: float
    y: float
    top: float
    bottom: float
    alone: bool
    """No neighbour to draw a band with, so its interval is drawn by itself."""
    tone: Tone
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseMark:
    """A release: when, what it measured on the gate set, and where its label stands."""

    x: float
    y: float
    top: float
    bottom: float
    label_y: float
    anchor: Literal["start", "end"]
    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SideLabel:
    """A direct label right of the plot."""

    y: float
    text: str
    kind: Literal["last", "bounds", "floor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityChart:
    """Everything the drawing needs."""

    metric: str
    height: float
    top: float
    bottom: float
    y_ticks: tuple[Tick, ...]
    x_bounds: tuple[float, ...]
    x_ticks: tuple[Tick, ...]
    bands: tuple[str, ...]
    lines: tuple[str, ...]
    dots: tuple[Dot, ...]
    releases: tuple[ReleaseMark, ...]
    side: tuple[SideLabel, ...]
    floor: float | None
    summary: str


def quality(series: Series, names: Mapping[str, str]) -> QualityChart | None:
    """Lay out a series; None when nothing in it can be drawn. `names` says how a release is called."""
    points = sorted((p for p in series.points if _finite(p.estimate, p.lower, p.upper)), key=lambda p: p.start)
    marks = sorted((m for m in series.at_release if _finite(*m[2:])), key=lambda m: m[1])
    if not points:
        return None
    floor = series.floor if series.floor is not None and _finite(series.floor) else None
    start, end = _span([p.start for p in points] + [p.end for p in points] + [m[1] for m in marks])
    time = TimeScale(start, end)
    lanes = _lanes([(time(m[1]), _label_width(m, names)) for m in marks])
    top = 14.0 + LANE * (max((lane for lane, _ in lanes), default=-1) + 1)
    values = [v for p in points for v in (p.lower, p.estimate, p.upper)]
    values += [v for m in marks for v in m[2:]] + ([floor] if floor is not None else [])
    scale = ValueScale(min(values), max(values), top, top + PLOT)
    groups = [list(g) for _, g in groupby(points, key=lambda p: p.release)]
    bounds, ticks = time_ticks(start, end)
    return QualityChart(
        metric=series.metric,
        height=top + PLOT + FOOT,
        top=top,
        bottom=top + PLOT,
        y_ticks=scale.ticks(),
        x_bounds=tuple(time(b) for b in bounds),
        x_ticks=ticks,
        bands=tuple(_band(g, time, scale) for g in groups if len(g) > 1),
        lines=tuple(
            " ".join(f"{time.middle(p.start, p.end):g},{scale(p.estimate):g}" for p in g)
            for g in groups
            if len(g) > 1
        ),
        dots=tuple(_dot(p, len(g) == 1, floor, time, scale) for g in groups for p in g),
        releases=tuple(_release(m, lane, names, time, scale) for m, lane in zip(marks, lanes, strict=True)),
        side=_side(points[-1], floor, scale),
        floor=scale(floor) if floor is not None else None,
        summary=_summary(series.metric, points, floor),
    )


def _span(instants: Sequence[datetime]) -> tuple[datetime, datetime]:
    """The first and the last instant, at least an hour apart."""
    start, end = min(instants), max(instants)
    hour = timedelta(hours=1)
    if end - start >= hour:
        return start, end
    return (start, start + hour) if start.year < 9999 else (end - hour, end)


def _finite(*values: float) -> bool:
    return all(math.isfinite(v) and abs(v) < _DRAWABLE for v in values)


def _band(points: Iterable[Point], time: TimeScale, scale: ValueScale) -> str:
    there = [(time.middle(p.start, p.end), scale(p.upper), scale(p.lower)) for p in points]
    corners = [(x, upper) for x, upper, _ in there] + [(x, lower) for x, _, lower in reversed(there)]
    return " ".join(f"{x:g},{y:g}" for x, y in corners)


def _dot(point: Point, alone: bool, floor: float | None, time: TimeScale, scale: ValueScale) -> Dot:
    below = floor is not None and point.estimate < floor
    return Dot(
        x=time.middle(point.start, point.end),
        y=scale(point.estimate),
        top=scale(point.upper),
        bottom=scale(point.lower),
        alone=alone,
        tone="bad" if below else "plain",
        text=f"{words.day(point.start)} to {words.day(point.end)}: {words.figure(point.estimate)} "
        f"[{words.figure(point.lower)}, {words.figure(point.upper)}], "
        f"{point.labelled:,} of {point.predictions:,} labelled" + (", below the floor" if below else ""),
    )


_AtRelease = tuple[str, datetime, float, float, float]


def _label(mark: _AtRelease, names: Mapping[str, str]) -> tuple[str, str]:
    name = words.clip(words.visible(names.get(mark[0], mark[0])), 16) + " released"
    return name, f"{words.figure(mark[2])} [{words.figure(mark[3])}–{words.figure(mark[4])}]"


def _label_width(mark: _AtRelease, names: Mapping[str, str]) -> float:
    return 100 * (12 + GLYPH * max(map(words.columns, _label(mark, names)))) / NARROW


def _lanes(labels: list[tuple[float, float]]) -> list[tuple[int, Literal["start", "end"]]]:
    """Give each label the lowest row in which it is free, and a side of its line that has room."""
    ends: list[float] = []
    result: list[tuple[int, Literal["start", "end"]]] = []
    for x, width in labels:
        anchor: Literal["start", "end"] = "start" if x + width <= 100 or x < 50 else "end"
        left, right = (x, x + width) if anchor == "start" else (x - width, x)
        lane = next((i for i, end in enumerate(ends) if end <= left), len(ends))
        ends[lane : lane + 1] = [right]
        result.append((lane, anchor))
    return result


def _release(
    mark: _AtRelease,
    lane: tuple[int, Literal["start", "end"]],
    names: Mapping[str, str],
    time: TimeScale,
    scale: ValueScale,
) -> ReleaseMark:
    name, value = _label(mark, names)
    return ReleaseMark(
        x=time(mark[1]),
        y=scale(mark[2]),
        top=scale(mark[4]),
        bottom=scale(mark[3]),
        label_y=14.0 + LANE * lane[0],
        anchor=lane[1],
        name=name,
        value=value,
    )


def _side(last: Point, floor: float | None, scale: ValueScale) -> tuple[SideLabel, ...]:
    """The latest value, its bounds and the floor, pushed apart where they would overlap."""
    y = scale(last.estimate)
    low = scale(floor) if floor is not None else None
    if low is not None and -20.0 < low - y < 42.0:
        y = low - 42.0 if low >= y else low + 20.0
    labels = [
        SideLabel(y=y + 4, text=words.figure(last.estimate), kind="last"),
        SideLabel(y=y + 19, text=f"{words.figure(last.lower)}–{words.figure(last.upper)}", kind="bounds"),
    ]
    if floor is not None and low is not None:
        labels.append(SideLabel(y=low + 4, text=f"floor {words.figure(floor)}", kind="floor"))
    return tuple(labels)


def _summary(metric: str, points: list[Point], floor: float | None) -> str:
    first, last = points[0], points[-1]
    text = (
        f"{metric} from {words.figure(first.estimate)} ({words.day(first.start)}) "
        f"to {words.figure(last.estimate)} ({words.day(last.start)})"
    )
    if floor is None:
        return text
    below = sum(p.estimate < floor for p in points)
    return f"{text}; floor {words.figure(floor)}, {words.count(below, 'period')} below it"
