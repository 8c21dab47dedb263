"""Curves of metrics as coordinates: x in percent of the plot's width, y in pixels. Drawing is in `_lines.html`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stellwerk.tracking.curves import Axis, Curve
from stellwerk.web.ui import words
from stellwerk.web.ui.scales import DRAWABLE, Mark, Scale

TONES = 10
"""Colours for curves that are told apart; of more curves than that, each is one of a crowd."""
DENSE = 100
TOLD = 20
"""So many curves say their values under the pointer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stroke:
    """A curve, or a part of one."""

    points: str
    tone: int
    name: str
    run: str
    x: str = ""
    """What stands on the x axis at each point, and the value, for the reader under the pointer."""
    y: str = ""
    faint: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OddMark:
    """Where a value was no finite number."""

    x: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChart:
    """Everything the drawing of one metric needs."""

    key: str
    height: float
    top: float
    bottom: float
    y_ticks: tuple[Mark, ...]
    """Their places are in pixels."""
    x_ticks: tuple[Mark, ...]
    """Their places are in percent."""
    strokes: tuple[Stroke, ...]
    odd: tuple[OddMark, ...]
    notes: tuple[str, ...]
    summary: str
    crowd: bool
    dense: bool
    """So many that only where they lie thick says anything."""
    total: int


def chart(
    key: str,
    curves: Sequence[Curve],
    *,
    names: Mapping[str, str],
    tones: Mapping[str, int],
    axis: Axis = "step",
    log: bool = False,
    faint: Sequence[Curve] = (),
    height: float = 190.0,
) -> LineChart | None:
    """Lay out the curves of one metric; None where nothing can be drawn.

    Args:
        names: What each run is called.
        tones: Which colour each run has.
        faint: The same curves before they were smoothed.
    """
    zero = {curve.run: min([*curve.at, *(at for at, _, _ in curve.odd)], default=0) for curve in curves}
    drawn = [(curve, _points(curve, axis, log, zero[curve.run])) for curve in curves]
    behind = [(curve, _points(curve, axis, log, zero.get(curve.run, 0))) for curve in faint]
    everything = [point for _, points in (*drawn, *behind) for point in points]
    odd = [(_x(axis, at, step, zero[c.run]), word, c, step) for c in curves for at, step, word in c.odd]
    if not everything and not odd:
        return None
    xs = [x for x, _ in everything] + [x for x, *_ in odd]
    ys = [y for _, y in everything] or ([1.0] if log else [0.0])
    across = Scale(min(xs), max(xs), tight=True)
    upward = Scale(min(ys), max(ys), log=log, ticks=6, tight=True, pad=0.04)
    top, bottom = 8.0, height - 22.0

    right, up = 100 / (across.high - across.low), (bottom - top) / (upward.high - upward.low)

    def place(points: Sequence[tuple[float, float]]) -> str:
        # Said at once and not by asking the scales: there may be a hundred thousand points.
        highs = [math.log10(y) for _, y in points] if log else [y for _, y in points]
        return " ".join(
            f"{right * (x - across.low):.5g},{bottom - up * (y - upward.low):.5g}"
            for (x, _), y in zip(points, highs, strict=True)
        )

    crowd = len(curves) > TONES
    tell = len(curves) <= TOLD
    return LineChart(
        key=key,
        height=height,
        top=top,
        bottom=bottom,
        y_ticks=tuple(
            Mark(at=round(bottom - (bottom - top) * mark.at, 2), text=mark.text) for mark in upward.marks()
        ),
        x_ticks=_x_ticks(across, axis),
        strokes=tuple(
            Stroke(
                points=place(points),
                tone=tones.get(curve.run, 0) % TONES,
                name=names.get(curve.run, curve.run),
                run=curve.run,
                x="\t".join(_x_text(x, axis) for x, _ in points) if tell and not past else "",
                y="\t".join(f"{y:.6g}" for _, y in points) if tell and not past else "",
                faint=past,
            )
            for group, past in ((behind, True), (drawn, False))
            for curve, points in group
            if points
        ),
        odd=tuple(
            OddMark(x=round(100 * across(x), 3), text=f"{word} at step {step:,}" + _of(names, curve, len(curves)))
            for x, word, curve, step in odd
        ),
        notes=_notes(curves, [*drawn, *behind], log),
        summary=_summary(key, curves),
        crowd=crowd,
        dense=len(curves) > DENSE,
        total=sum(curve.total for curve in curves),
    )


def _points(curve: Curve, axis: Axis, log: bool, zero: int) -> list[tuple[float, float]]:
    return [
        (_x(axis, at, step, zero), value)
        for at, step, value in zip(curve.at, curve.step, curve.value, strict=True)
        if abs(value) < DRAWABLE and (value > 0 or not log)
    ]


def _x(axis: Axis, at: int, step: int, zero: int) -> float:
    return float(step) if axis == "step" else (at - zero) / 1000


def _x_text(x: float, axis: Axis) -> str:
    return f"{x:.0f}" if axis == "step" else words.took(x)


_UNITS = ((86400.0, " d"), (3600.0, " h"), (60.0, " min"), (1.0, " s"))


def _x_ticks(scale: Scale, axis: Axis) -> tuple[Mark, ...]:
    """Whole steps, or times in the unit a person would use."""
    if axis == "step":
        return tuple(
            Mark(at=round(100 * mark.at, 3), text=mark.text) for mark in scale.marks() if "." not in mark.text
        )
    unit, name = next((one for one in _UNITS if scale.high >= 2 * one[0]), _UNITS[-1])
    inside = Scale(scale.low / unit, scale.high / unit, tight=True)
    return tuple(Mark(at=round(100 * mark.at, 3), text=mark.text + name) for mark in inside.marks())


def _of(names: Mapping[str, str], curve: Curve, count: int) -> str:
    return "" if count == 1 else f", {words.clip(names.get(curve.run, curve.run), 60)}"


def _notes(
    curves: Sequence[Curve], drawn: Sequence[tuple[Curve, list[tuple[float, float]]]], log: bool
) -> tuple[str, ...]:
    notes = []
    if any(curve.odd for curve in curves):
        counts: dict[str, int] = {}
        for curve in curves:
            for _, _, word in curve.odd:
                counts[word] = counts.get(word, 0) + 1
        notes.append(
            ", ".join(f"{word} {count:,} times" if count > 1 else f"{word} once" for word, count in counts.items())
        )
    hidden = sum(len(curve.value) - len(points) for curve, points in drawn)
    if log and hidden:
        notes.append("values of zero and below have no place on a logarithmic axis")
    return tuple(notes)


def _summary(key: str, curves: Sequence[Curve]) -> str:
    if len(curves) > 1:
        return f"{key} of {words.count(len(curves), 'run')}"
    curve = curves[0]
    if not curve.value:
        return f"{key}: no finite value"
    return (
        f"{key} from {words.figure(curve.value[0])} to {words.figure(curve.value[-1])}, "
        f"{words.count(curve.total, 'point')}"
    )
