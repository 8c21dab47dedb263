"""What the address of a page with charts says, and the charts that it leads to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from stellwerk.tracking.curves import Axis, Curve
from stellwerk.tracking.model import SYSTEM
from stellwerk.tracking.tables import Compared
from stellwerk.web.ui import comparing, lines, words
from stellwerk.web.ui.comparing import Group, Parallel, Scatter
from stellwerk.web.ui.lines import LineChart

MOST_CHARTS = 60
MOST_OVERLAYS = 12
SMOOTHEST = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How charts are drawn, as the address says."""

    axis: Axis = "step"
    log: bool = False
    smooth: float = 0.0
    match: str = ""
    """Only metrics with this in their names."""
    curves: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    x: str = ""
    y: str = ""
    everything: bool = False
    """Whether what is the same in all runs is shown, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The curves of a run."""

    look: Look
    charts: tuple[LineChart, ...]
    system: tuple[LineChart, ...]
    """Of what the machine did meanwhile."""
    hidden: int
    """How many charts more there would be."""
    points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs side by side, with everything that is drawn of them."""

    look: Look
    runs: tuple[Compared, ...]
    tones: dict[str, int]
    charts: tuple[LineChart, ...]
    curves: tuple[str, ...]
    """The metrics of which there are curves to choose."""
    parallel: Parallel | None
    scatter: Scatter | None
    groups: tuple[Group, ...]
    names: tuple[str, ...]
    """What axes there are to choose."""
    axes: tuple[str, ...]
    chosen: tuple[str, ...]
    """The metrics that are drawn."""
    x: str = ""
    y: str = ""
    experiments: tuple[str, ...] = field(default=())


def read(pairs: Iterable[tuple[str, str]]) -> Look:
    """What an address says; what makes no sense in it is left out."""
    listed = list(pairs)

    def last(name: str) -> str:
        return next((value for key, value in reversed(listed) if key == name), "")

    def several(name: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value for key, value in listed if key == name and value))

    return Look(
        axis="time" if last("by") == "time" else "step",
        log=last("scale") == "log",
        smooth=_share(last("smooth")),
        match=last("match").strip()[:250],
        curves=several("curve"),
        axes=several("axis")[: comparing.MAX_AXES],
        x=last("x"),
        y=last("y"),
        everything=last("all") == "1",
    )


def panel(look: Look, curves: Sequence[Curve], faint: Sequence[Curve], *, names: dict[str, str]) -> Panel:
    """The charts of a run's metrics; what has one point only is in the table."""
    behind = {curve.key: curve for curve in faint}
    worth = sorted((curve for curve in curves if curve.total > 1), key=lambda curve: is_system(curve.key))
    charts = [
        lines.chart(
            curve.key,
            [curve],
            names=names,
            tones={},
            axis=look.axis,
            log=look.log,
            faint=[behind[curve.key]] if curve.key in behind else [],
        )
        for curve in worth[:MOST_CHARTS]
    ]
    drawn = [chart for chart in charts if chart is not None]
    return Panel(
        look=look,
        charts=tuple(chart for chart in drawn if not is_system(chart.key)),
        system=tuple(chart for chart in drawn if is_system(chart.key)),
        hidden=max(len(worth) - MOST_CHARTS, 0),
        points=sum(curve.total for curve in worth),
    )


def is_system(key: str) -> bool:
    """Whether a metric tells of the machine and not of what ran on it."""
    return key.startswith(SYSTEM)


Draw = Callable[[tuple[str, ...]], tuple[Sequence[Curve], Sequence[Curve]]]


def comparison(look: Look, runs: Sequence[Compared], draw: Draw) -> Comparison:
    """Everything that a page of comparison shows.

    Args:
        draw: Reads the curves of some metrics, and the same before they were smoothed.
    """
    found = comparing.quantities(runs)
    curves = _with_curves(runs)
    chosen = (
        tuple(key for key in look.curves if key in curves)[:MOST_OVERLAYS] or curves[: 2 if len(runs) <= 10 else 1]
    )
    tones = {run.id: place for place, run in enumerate(runs)}
    smooth, faint = draw(chosen) if chosen and runs else ((), ())
    names = {run.id: run.name for run in runs}
    charts = [
        lines.chart(
            key,
            list(group),
            names=names,
            tones=tones,
            axis=look.axis,
            log=look.log,
            faint=[curve for curve in faint if curve.key == key],
            height=300.0,
        )
        for key, group in groupby(sorted(smooth, key=lambda one: chosen.index(one.key)), key=lambda one: one.key)
    ]
    axes = tuple(name for name in look.axes if name in found) or tuple(comparing.suggested(found))
    x, y = _pair(look, axes, found)
    return Comparison(
        look=look,
        runs=tuple(runs),
        tones=tones,
        charts=tuple(chart for chart in charts if chart is not None),
        curves=curves,
        chosen=chosen,
        parallel=comparing.parallel(runs, found, axes, tones) if len(runs) > 1 else None,
        scatter=comparing.scatter(runs, found, x, y, tones) if x and y else None,
        groups=comparing.differences(runs, found, everything=look.everything or len(runs) < 2),
        names=tuple(name for name in found if name.startswith(("params.", "metrics."))),
        axes=axes,
        x=x,
        y=y,
        experiments=tuple(sorted({run.experiment for run in runs})),
    )


def label(name: str) -> str:
    """A quantity without its kind."""
    return words.visible(name.partition(".")[2] or name)


def _with_curves(runs: Sequence[Compared]) -> tuple[str, ...]:
    """Metrics that went on, those of most runs first; where none did, none."""
    counts: dict[str, int] = {}
    for run in runs:
        for one in run.metrics:
            if one.step > 0 or (one.low is not None and one.low != one.high):
                counts[one.key] = counts.get(one.key, 0) + 1
    return tuple(sorted(counts, key=lambda key: (is_system(key), not _JUDGES.search(key), -counts[key], key)))


_JUDGES = re.compile(r"(?:^|[^a-z])(?:val|valid|validation|eval|test)(?:[^a-z]|$)", re.IGNORECASE)
"""Metrics of data that was not trained on are looked at first."""


def _pair(look: Look, axes: Sequence[str], found: dict[str, comparing.Quantity]) -> tuple[str, str]:
    """What is drawn against what: as asked, otherwise the first parameter and the last axis that are numbers."""
    numeric = [name for name in axes if any(isinstance(value, float | int) for value in found[name].values())]
    x = look.x if look.x in found else next(iter(numeric), "")
    y = look.y if look.y in found else next((name for name in reversed(numeric) if name != x), "")
    return x, y


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return min(max(value, 0.0), SMOOTHEST) if value == value else 0.0
