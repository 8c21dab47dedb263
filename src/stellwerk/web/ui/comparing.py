"""Runs side by side: what differs, parallel coordinates, and one quantity against another. Drawing is in templates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from stellwerk.tracking.model import SYSTEM
from stellwerk.tracking.tables import Compared
from stellwerk.web.ui import words
from stellwerk.web.ui.scales import DRAWABLE, Mark, Scale

SIDE_BY_SIDE = 12
"""So many runs stand beside each other; of more it is told how they are spread."""
AXES = 8
"""So many axes parallel coordinates have where nobody chose."""
MAX_AXES = 20
KINDS = {
    "params": "Parameters",
    "metrics": "Metrics",
    "code": "Code",
    "environment": "Environment",
    "data": "Data",
    "tags": "Tags",
}
SURROUNDINGS = ("code", "environment", "data")
SHADES = 6
"""Of the colours from the least to the largest value of the last axis."""

Quantity = dict[str, float | str]
"""By run: what it has of one thing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One quantity over all runs."""

    name: str
    """As it is sought: `metrics.auc`."""
    label: str
    same: bool
    numeric: bool
    cells: tuple[str, ...]
    """By run; empty where there are too many runs to stand beside each other."""
    spread: tuple[tuple[str, str], ...]
    """What is told instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Quantities of one kind."""

    title: str
    lines: tuple[Difference, ...]
    hidden: int
    """How many are left out because all runs have the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelAxis:
    """One axis of parallel coordinates."""

    name: str
    label: str
    x: float
    ticks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """One run through all axes, or a stretch of it where it lacks something."""

    run: str
    name: str
    points: str
    tone: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """Parallel coordinates: x in percent, y in pixels."""

    axes: tuple[ParallelAxis, ...]
    paths: tuple[Path, ...]
    by: str
    """What the colours tell, if they do not tell the runs apart."""
    top: float
    bottom: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A run in a scatter plot."""

    x: float
    y: float
    run: str
    name: str
    text: str
    tone: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """One quantity against another: x in percent, y in pixels."""

    x: str
    y: str
    dots: tuple[Dot, ...]
    x_ticks: tuple[Mark, ...]
    y_ticks: tuple[Mark, ...]
    height: float
    top: float
    bottom: float
    left_out: int


def quantities(runs: Sequence[Compared]) -> dict[str, Quantity]:
    """Everything that any run has, by name, params first; parameters that are all numbers are numbers."""
    found: dict[str, Quantity] = {}
    for kind in KINDS:
        of_kind: dict[str, Quantity] = {}
        for run in runs:
            for key, value in _of(run, kind):
                of_kind.setdefault(f"{kind}.{key}", {})[run.id] = value
        found |= {name: _numbers(of_kind[name]) if kind == "params" else of_kind[name] for name in sorted(of_kind)}
    return found


def differences(
    runs: Sequence[Compared],
    found: Mapping[str, Quantity],
    *,
    everything: bool = False,
    beside: int = SIDE_BY_SIDE,
) -> tuple[Group, ...]:
    """What differs between runs, or everything; tags that only Stellwerk and MLflow read are left out.

    A run of whose code, packages or data nothing is known differs in nothing of them.

    Args:
        beside: So many runs at most stand beside each other.
    """
    known = {
        kind: {run for name, quantity in found.items() if name.startswith(f"{kind}.") for run in quantity}
        for kind in SURROUNDINGS
    }
    groups = []
    for kind, title in KINDS.items():
        lines = [
            _difference(name, quantity, runs, beside, _bearers(name, found, known[kind]) if kind in known else None)
            for name, quantity in found.items()
            if name.startswith(f"{kind}.") and not name.startswith("tags.mlflow.")
        ]
        shown = tuple(line for line in lines if everything or not line.same)
        if lines:
            groups.append(Group(title=title, lines=shown, hidden=len(lines) - len(shown)))
    return tuple(groups)


def suggested(found: Mapping[str, Quantity]) -> list[str]:
    """Axes to begin with: parameters that differ, and then metrics; what the machine did only where nothing else is."""
    differing = [name for name, quantity in found.items() if len(set(quantity.values())) > 1]
    differing = [name for name in differing if not name.startswith(f"metrics.{SYSTEM}")] or differing
    params = [name for name in differing if name.startswith("params.") and _drawable(found[name])]
    metrics = sorted(
        (name for name in differing if name.startswith("metrics.")),
        key=lambda name: -len(found[name]),
    )
    few = params[: max(AXES // 2, AXES - len(metrics))]
    return few + metrics[: AXES - len(few)]


def parallel(
    runs: Sequence[Compared], found: Mapping[str, Quantity], names: Sequence[str], tones: Mapping[str, int]
) -> Parallel | None:
    """Runs as lines through the axes of some quantities; None for fewer than two axes."""
    chosen = [name for name in names if name in found and _drawable(found[name])][:MAX_AXES]
    if len(chosen) < 2:
        return None
    height, top, bottom = 300.0, 46.0, 280.0
    places = {name: _places(found[name]) for name in chosen}
    crowd = len(runs) > 10
    last = places[chosen[-1]][0]
    paths: list[Path] = []
    for run in runs:
        tone = (min(int(last[run.id] * SHADES), SHADES - 1) if run.id in last else -1) if crowd else tones[run.id]
        stretch: list[str] = []
        for index, name in enumerate(chosen):
            at = places[name][0].get(run.id)
            if at is not None:
                stretch.append(f"{100 * index / (len(chosen) - 1):.5g},{bottom - (bottom - top) * at:.5g}")
            if (at is None or index == len(chosen) - 1) and len(stretch) > 1:
                paths.append(Path(run=run.id, name=run.name, points=" ".join(stretch), tone=tone))
            if at is None:
                stretch = []
    return Parallel(
        axes=tuple(
            ParallelAxis(
                name=name,
                label=name.partition(".")[2],
                x=round(100 * index / (len(chosen) - 1), 3),
                ticks=tuple(
                    Mark(at=round(bottom - (bottom - top) * mark.at, 2), text=mark.text) for mark in places[name][1]
                ),
            )
            for index, name in enumerate(chosen)
        ),
        paths=tuple(paths),
        by=chosen[-1].partition(".")[2] if crowd else "",
        top=top,
        bottom=bottom,
        height=height,
    )


def scatter(
    runs: Sequence[Compared], found: Mapping[str, Quantity], x: str, y: str, tones: Mapping[str, int]
) -> Scatter | None:
    """One quantity against another; None where no run has both as numbers."""
    pairs = [
        (run, across, upward)
        for run in runs
        if (across := _number(found.get(x, {}).get(run.id))) is not None
        and (upward := _number(found.get(y, {}).get(run.id))) is not None
    ]
    if not pairs:
        return None
    height, top, bottom = 300.0, 8.0, 276.0
    horizontal = Scale(min(p[1] for p in pairs), max(p[1] for p in pairs), tight=True, pad=0.03)
    vertical = Scale(min(p[2] for p in pairs), max(p[2] for p in pairs), tight=True, pad=0.05)
    crowd = len(runs) > 10
    return Scatter(
        x=x,
        y=y,
        dots=tuple(
            Dot(
                x=round(100 * horizontal(across), 3),
                y=round(bottom - (bottom - top) * vertical(upward), 2),
                run=run.id,
                name=run.name,
                text=f"{words.clip(run.name, 80)}: {words.figure(across, 1)}, {words.figure(upward, 1)}",
                tone=-1 if crowd else tones[run.id],
            )
            for run, across, upward in pairs
        ),
        x_ticks=tuple(Mark(at=round(100 * mark.at, 3), text=mark.text) for mark in horizontal.marks()),
        y_ticks=tuple(
            Mark(at=round(bottom - (bottom - top) * mark.at, 2), text=mark.text) for mark in vertical.marks()
        ),
        height=height,
        top=top,
        bottom=bottom,
        left_out=len(runs) - len(pairs),
    )


def _of(run: Compared, kind: str) -> Iterable[tuple[str, float | str]]:
    if kind == "metrics":
        return ((one.key, one.value) for one in run.metrics)
    found: Mapping[str, str] = getattr(run, kind)
    return found.items()


def _numbers(quantity: Quantity) -> Quantity:
    """Numbers instead of their spellings, where all of them are numbers."""
    try:
        return {run: float(value) for run, value in quantity.items()}
    except ValueError:
        return quantity


def _number(value: float | str | None) -> float | None:
    return value if isinstance(value, float | int) and abs(value) < DRAWABLE else None


def _drawable(quantity: Quantity) -> bool:
    """Whether it has a place on an axis: numbers do, and texts where they are few."""
    numbers = [value for value in quantity.values() if _number(value) is not None]
    return bool(numbers) or len(set(quantity.values())) <= 20


def _places(quantity: Quantity) -> tuple[dict[str, float], tuple[Mark, ...]]:
    numbers = {run: number for run, value in quantity.items() if (number := _number(value)) is not None}
    if numbers:
        low, high = min(numbers.values()), max(numbers.values())
        log = low > 0 and high / low >= 1000
        scale = Scale(low, high, log=log, ticks=4)
        return {run: scale(number) for run, number in numbers.items()}, scale.marks()
    texts = sorted({str(value) for value in quantity.values()})
    at = {text: (index + 0.5) / len(texts) for index, text in enumerate(texts)}
    marks = tuple(Mark(at=place, text=words.clip(text, 14)) for text, place in at.items())
    return {run: at[str(value)] for run, value in quantity.items()}, marks


def _bearers(name: str, found: Mapping[str, Quantity], known: Collection[str]) -> Collection[str]:
    """The runs that can have something: with the dataset that it is said of, or of which anything is known."""
    return found.get(name.rpartition(": ")[0], known)


def _difference(
    name: str, quantity: Quantity, runs: Sequence[Compared], beside: int, among: Collection[str] | None = None
) -> Difference:
    """One quantity; where it is said among which runs, only those can make it differ."""
    values = [quantity.get(run.id) for run in runs]
    numeric = all(value is None or isinstance(value, float | int) for value in values) or name.startswith("metrics.")
    same = len({str(quantity.get(run.id)) for run in runs if among is None or run.id in among}) <= 1
    side_by_side = len(runs) <= beside
    cells: tuple[str, ...] = ()
    if side_by_side:
        cells = tuple(
            words.column(values) if numeric else [str(value) if value is not None else "" for value in values]
        )
    return Difference(
        name=name,
        label=name.partition(".")[2],
        same=same,
        numeric=numeric,
        cells=cells,
        spread=() if side_by_side else _spread(values),
    )


def _spread(values: Sequence[float | str | None]) -> tuple[tuple[str, str], ...]:
    """How values are spread: how many differ, the least, the middle and the largest, or the most frequent."""
    there = [value for value in values if value is not None]
    numbers = sorted(number for value in there if (number := _number(value)) is not None)
    told = [("runs", f"{len(there):,}"), ("different", f"{len(set(there)):,}")]
    if numbers:
        least, middle, most = map(words.number, (numbers[0], numbers[len(numbers) // 2], numbers[-1]))
        return (*told, ("least", least), ("median", middle), ("largest", most))
    return (*told, *((words.clip(str(text), 40), f"{count:,}") for text, count in Counter(there).most_common(3)))
