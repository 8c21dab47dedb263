"""The pictures of a study as marks on a plane, and as SVG files: history, parallel coordinates, importance.

Pages draw the same marks with their own colours. Pure: the same trials give the same picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import escape

from stellwerk.core import canonical
from stellwerk.pipelines.tuning.model import Objective, Setup, Trial
from stellwerk.pipelines.tuning.rules import bounds, done, named
from stellwerk.pipelines.tuning.space import Choice, Dimension

WIDTH, HEIGHT = 760.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 66.0, 24.0, 22.0, 44.0
MOST_LINES = 300
"""Trials in parallel coordinates: the best ones."""
MOST_AXES = 10
MOST_LABELS = 12
CLIP = 26
Tone = Literal["axis", "grid", "soft", "strong", "best", "pruned", "failed", "text", "label"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A line, a dot, a bar or a word."""

    kind: Literal["line", "dot", "bar", "text"]
    tone: Tone
    points: tuple[tuple[float, float], ...]
    """Of a bar its upper left and lower right corner."""
    text: str = ""
    """A word; of other marks what they say when pointed at."""
    anchor: Literal["start", "middle", "end"] = "start"
    weight: float = 1.0
    """How strong a line is, from 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture with its name, and in words what it shows."""

    name: str
    title: str
    summary: str
    width: float
    height: float
    marks: tuple[Mark, ...]


def pictures(setup: Setup, trials: Sequence[Trial], shares: Mapping[str, float], method: str) -> tuple[Picture, ...]:
    """All pictures of a study; none before a trial came to a value."""
    if not done(trials):
        return ()
    drawn = [history(trials, setup.objectives[0]), parallel(setup, trials)]
    if any(shares.values()):
        drawn.append(importances(shares, method))
    return tuple(drawn)


def history(trials: Sequence[Trial], objective: Objective) -> Picture:
    """Every value by number, and the best so far as a line. Pruned and failed trials stand on the ground."""
    found = done(trials)
    last = max((trial.number for trial in trials), default=0)
    low, high = _span([trial.values[0] for trial in found])
    x = _scale(0, max(last, 1), LEFT, WIDTH - RIGHT)
    y = _scale(low, high, HEIGHT - BOTTOM, TOP)
    marks = [*_grid(low, high, y), *_numbers(last, x)]
    steps: list[tuple[float, float]] = []
    record: float | None = None
    for trial in sorted(found, key=lambda one: one.number):
        value = trial.values[0]
        if record is None or objective.better(value, record):
            if record is not None:
                steps.append((x(trial.number), y(record)))
            record = value
            steps.append((x(trial.number), y(value)))
    steps.append((x(last), y(record or 0.0)))
    marks.append(Mark(kind="line", tone="best", points=tuple(steps), text="best so far"))
    tones: dict[str, Tone] = {"pruned": "pruned", "failed": "failed"}
    for trial in trials:
        if trial.state == "done":
            tone: Tone = "best" if trial.values[0] == record else "strong"
            place, said = y(trial.values[0]), _figure(trial.values[0])
        elif trial.state in tones:
            tone, place, said = tones[trial.state], HEIGHT - BOTTOM + 7, trial.state
        else:
            continue
        marks.append(Mark(kind="dot", tone=tone, points=((x(trial.number), place),), text=f"#{trial.number}: {said}"))
    title = f"{objective.metric} by trial"
    summary = (
        f"{len(found)} of {len(trials)} trials came to a value; the best {objective.metric} is {_figure(record or 0.0)} "
        f"({'the least' if objective.goal == 'minimize' else 'the most'} is sought)"
    )
    marks.append(_word("trial", WIDTH - RIGHT, HEIGHT - 6, "end"))
    return Picture(name="history", title=title, summary=summary, width=WIDTH, height=HEIGHT, marks=tuple(marks))


def parallel(setup: Setup, trials: Sequence[Trial]) -> Picture:
    """One line per trial through the values of its parameters; the better, the stronger."""
    objective = setup.objectives[0]
    axes = list(named(setup.space).items())[:MOST_AXES]
    found = sorted(done(trials), key=lambda one: one.values[0], reverse=objective.goal == "maximize")[:MOST_LINES]
    values = [trial.values[0] for trial in found]
    low, high = _span(values)
    width = max(WIDTH, 120.0 * (len(axes) + 1))
    height = HEIGHT + 60
    bottom = height - BOTTOM - 16
    places = [LEFT + 20 + i * (width - LEFT - 110.0) / len(axes) for i in range(len(axes) + 1)]
    scales = [_axis(dimension, bottom) for _, dimension in axes]
    score = _scale(low, high, bottom, TOP)
    marks: list[Mark] = []
    for rank in range(len(found) - 1, -1, -1):  # the best one last, above all others
        trial = found[rank]
        line = [
            (place, _height(axis, dimension, trial.params[name]))
            for place, axis, (name, dimension) in zip(places, scales, axes, strict=False)
            if name in trial.params
        ]
        line.append((places[-1], score(trial.values[0])))
        weight = 1.0 if rank == 0 else 0.75 - 0.63 * rank / max(len(found) - 1, 1)
        said = ", ".join(f"{name} {_short(value)}" for name, value in trial.params.items())
        tone: Tone = "best" if rank == 0 else "strong"
        text = f"#{trial.number}: {said}, {objective.metric} {_figure(trial.values[0])}"
        marks.append(Mark(kind="line", tone=tone, points=tuple(line), text=text, weight=weight))
    for place, (name, dimension) in zip(places, axes, strict=False):
        marks += _upright(place, name, _labels(dimension, bottom), bottom, height)
    ends = [(bottom, _figure(low)), (TOP, _figure(high))]
    marks += _upright(places[-1], objective.metric, ends, bottom, height)
    left = len(done(trials)) - len(found)
    summary = f"{len(found)} trials, the best drawn strongest" + (f"; {left} worse ones are left out" if left else "")
    hidden = len(named(setup.space)) - len(axes)
    summary += f"; {hidden} parameters are left out" if hidden else ""
    return Picture(
        name="parallel", title="Parameters of the trials", summary=summary, width=width, height=height,
        marks=tuple(marks),
    )  # fmt: skip


def importances(shares: Mapping[str, float], method: str) -> Picture:
    """How much each parameter matters, as bars."""
    shown = sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:20]
    height = TOP + 26.0 * len(shown) + 16
    left = 190.0
    most = max(max(shares.values()), 1e-9)
    marks: list[Mark] = []
    for place, (name, share) in enumerate(shown):
        y = TOP + 26.0 * place
        end = left + (WIDTH - left - 90.0) * share / most
        marks.append(_word(_clip(name), left - 10, y + 13, "end", tone="label"))
        marks.append(Mark(kind="bar", tone="strong", points=((left, y), (max(end, left + 1), y + 18)), text=name))
        marks.append(_word(f"{share:.0%}", max(end, left + 1) + 8, y + 13, "start"))
    first = f"{shown[0][0]} matters most ({shown[0][1]:.0%})" if shown else ""
    return Picture(
        name="importance", title="What matters", summary=f"{first}, by {method}", width=WIDTH, height=height,
        marks=tuple(marks),
    )  # fmt: skip


_COLOURS: dict[Tone, str] = {
    "axis": "#8a8a8a", "grid": "#c9c9c9", "soft": "#9a9a9a", "strong": "#3b78b5", "best": "#d1701f",
    "pruned": "#a9a14a", "failed": "#c2413b", "text": "#6b6b6b", "label": "#4a4a4a",
}  # fmt: skip


def svg(picture: Picture) -> str:
    """A file that shows the picture by itself, on a ground of its own."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {picture.width:g} {picture.height + 26:g}" '
        f'width="{picture.width:g}" height="{picture.height + 26:g}" font-family="sans-serif" font-size="12" role="img">',
        f"<title>{_text(picture.title)}</title><desc>{_text(picture.summary)}</desc>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="12" y="18" font-size="14" fill="#222222">{_text(picture.title)}</text>',
        '<g transform="translate(0 26)">',
        *map(_svg, picture.marks),
        "</g></svg>",
    ]
    return "\n".join(parts) + "\n"


def _svg(mark: Mark) -> str:
    colour = _COLOURS[mark.tone]
    said = f"<title>{_text(mark.text)}</title>" if mark.text and mark.kind != "text" else ""
    (x, y), *_ = mark.points
    if mark.kind == "text":
        anchor = f' text-anchor="{mark.anchor}"' if mark.anchor != "start" else ""
        return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}"{anchor}>{_text(mark.text)}</text>'
    if mark.kind == "dot":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}" fill-opacity="0.75">{said}</circle>'
    if mark.kind == "bar":
        right, low = mark.points[1]
        size = f'width="{right - x:.1f}" height="{low - y:.1f}"'
        return f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="{colour}" rx="2">{said}</rect>'
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in mark.points)
    thick = 2 if mark.tone == "best" else 1
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-opacity="{mark.weight:.2f}" '
        f'stroke-width="{thick}">{said}</polyline>'
    )


def _text(text: str) -> str:
    return escape("".join(c if c.isprintable() else "�" for c in text))


def _axis(dimension: Dimension, bottom: float) -> Callable[[float], float]:
    low, high, log = bounds(dimension)
    if log:
        inner = _scale(math.log(low), math.log(high), bottom, TOP)
        return lambda value: inner(math.log(max(value, low)))
    return _scale(low, high, bottom, TOP)


def _height(axis: Callable[[float], float], dimension: Dimension, value: object) -> float:
    if isinstance(dimension, Choice):
        spelled = [canonical.dumps([option]) for option in dimension.options]
        mine = canonical.dumps([value])
        return axis(float(spelled.index(mine) if mine in spelled else 0))
    return axis(float(value))  # type: ignore[arg-type]


def _labels(dimension: Dimension, bottom: float) -> list[tuple[float, str]]:
    axis = _axis(dimension, bottom)
    if isinstance(dimension, Choice):
        options = dimension.options
        shown = range(len(options)) if len(options) <= MOST_LABELS else (0, len(options) - 1)
        return [(axis(float(place)), _short(options[place])) for place in shown]
    low, high, log = bounds(dimension)
    middle = math.sqrt(low * high) if log else (low + high) / 2
    return [(axis(value), _figure(value)) for value in dict.fromkeys((low, middle, high))]


def _upright(
    place: float, name: str, labels: Sequence[tuple[float, str]], bottom: float, height: float
) -> list[Mark]:
    marks = [Mark(kind="line", tone="axis", points=((place, TOP), (place, bottom)))]
    marks += [_word(_clip(text), place + 5, y + 4, "start") for y, text in labels]
    marks.append(_word(_clip(name), place, height - 26, "middle", tone="label"))
    return marks


def _grid(low: float, high: float, y: Callable[[float], float]) -> list[Mark]:
    marks = []
    for part in range(5):
        value = low + (high - low) * part / 4
        marks.append(Mark(kind="line", tone="grid", points=((LEFT, y(value)), (WIDTH - RIGHT, y(value))), weight=0.5))
        marks.append(_word(_figure(value), LEFT - 8, y(value) + 4, "end"))
    return marks


def _numbers(last: int, x: Callable[[float], float]) -> list[Mark]:
    step = max(1, 10 ** max(len(str(max(last, 1))) - 1, 0))
    step = step if last / step >= 3 else max(step // 4, 1)
    return [_word(str(n), x(n), HEIGHT - BOTTOM + 24, "middle") for n in range(0, last + 1, step)]


def _word(text: str, x: float, y: float, anchor: Literal["start", "middle", "end"], *, tone: Tone = "text") -> Mark:
    return Mark(kind="text", tone=tone, points=((x, y),), text=text, anchor=anchor)


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    width = high - low
    return lambda value: (start + end) / 2 if width <= 0 else start + (end - start) * (value - low) / width


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _figure(value: float) -> str:
    return f"{value:.4g}"


def _short(value: object) -> str:
    return _clip(_figure(value) if isinstance(value, float) else str(value))


def _clip(text: str) -> str:
    return text if len(text) <= CLIP else text[: CLIP - 1] + "…"
