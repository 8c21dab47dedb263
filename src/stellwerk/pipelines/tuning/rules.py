"""What follows from trials: the best, the front of several objectives, how much a parameter matters. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.errors import Invalid
from stellwerk.pipelines.tuning.model import VALUE, Objective, Setup, Trial
from stellwerk.pipelines.tuning.space import Choice, Dimension, Real, Space, Whole, drawn, flat, grid, size

LEAST_FAILURES = 5
"""So many failures without any success end a study: the fault is not in the parameters."""
OURS = "the share of the spread that its groups explain (ε²)"
"""What `importance` measures, in words."""
BINS = 6
"""Into which numbers are cut to measure importance, at most."""


class Plain:
    """The advisor of searches that learn nothing: random points, or a grid in order. Prunes nothing."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._points = list(grid(setup.space)) if setup.search == "grid" else []

    def ask(self, number: int) -> dict[str, Any] | None:
        """The point of this number."""
        if self._setup.search == "grid":
            return self._points[number] if number < len(self._points) else None
        return drawn(self._setup.space, seed=self._setup.seed, number=number)

    def report(self, number: int, step: int, value: float) -> bool:
        """Goes on."""
        return False

    def tell(self, number: int, state: Any, values: Sequence[float]) -> None:
        """Learns nothing."""


def most(setup: Setup) -> int | None:
    """How many trials there can be, if that is known."""
    return size(setup.space) if setup.search == "grid" else None


def done(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that came to values."""
    return [trial for trial in trials if trial.state == "done"]


def best(trials: Sequence[Trial], objective: Objective) -> Trial | None:
    """The trial with the best first value; of equals the one with the lowest number."""
    found = done(trials)
    sign = 1.0 if objective.goal == "minimize" else -1.0
    return min(found, key=lambda trial: (sign * trial.values[0], trial.number), default=None)


def leading(trials: Sequence[Trial], objective: Objective, most: int) -> list[Trial]:
    """The best trials, the best first, with different parameters."""
    sign = 1.0 if objective.goal == "minimize" else -1.0
    found: dict[bytes, Trial] = {}
    for trial in sorted(done(trials), key=lambda one: (sign * one.values[0], one.number)):
        found.setdefault(canonical.dumps(trial.params), trial)
    return list(found.values())[:most]


def front(trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[Trial]:
    """The trials that no other is better than in one objective and as good in all others."""
    signs = [1.0 if one.goal == "minimize" else -1.0 for one in objectives]
    points = {trial.number: [s * v for s, v in zip(signs, trial.values, strict=True)] for trial in done(trials)}

    def beaten(mine: list[float]) -> bool:
        return any(
            other != mine and all(a <= b for a, b in zip(other, mine, strict=True)) for other in points.values()
        )

    return [trial for trial in done(trials) if not beaten(points[trial.number])]


def hopeless(trials: Sequence[Trial]) -> Trial | None:
    """The last trial of a study in which everything fails; None where there is hope."""
    ended = [trial for trial in trials if trial.state != "running"]
    if len(ended) < LEAST_FAILURES or any(trial.state != "failed" for trial in ended):
        return None
    return ended[-1]


def values(objectives: Sequence[Objective], outputs: Mapping[str, Any]) -> tuple[float, ...]:
    """The values of the objectives among what a step returned as plain data.

    An objective is an output of its name, or what stands under its name in an output that is a dict, or in the
    `metrics` of one.

    Raises:
        Invalid: `no-objective`: it is not there, or is no finite number.
    """
    return tuple(_value(one, outputs) for one in objectives)


def _value(objective: Objective, outputs: Mapping[str, Any]) -> float:
    name = objective.metric
    places: list[Any] = [outputs]
    for output in outputs.values():
        if isinstance(output, Mapping):
            places += [output, output.get("metrics", {})]
    for place in places:
        found = place.get(name) if isinstance(place, Mapping) else None
        if isinstance(found, (int, float)) and not isinstance(found, bool):
            if math.isfinite(found):
                return float(found)
            raise Invalid(f"the objective {name!r} is {found} (expected a finite number)", code="no-objective")
    there = sorted({str(key) for place in places if isinstance(place, Mapping) for key in place})
    raise Invalid(
        f"the step returned no number {name!r} (there is {', '.join(there[:12]) or 'nothing that is plain data'})",
        code="no-objective",
        hint="return the number, or a dict with it, and name it with metric=" if name == VALUE else "",
    )


def importance(trials: Sequence[Trial], space: Space, objective: int = 0) -> dict[str, float]:
    """How much of the values' spread each parameter explains by itself: between groups, of all (ε²), as shares of one.

    The parameter's values are grouped, numbers into up to `BINS` groups of equal size. It sees no interplay of
    parameters; of fewer than four trials it says nothing.
    """
    found = done(trials)
    scores = {name: _explained(found, name, dimension, objective) for name, dimension in named(space).items()}
    whole = sum(scores.values())
    shares = {name: score / whole if whole > 0 else 0.0 for name, score in scores.items()}
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))


def named(space: Space) -> dict[str, Dimension]:
    """Dimensions by the name of the argument; of several with one name the first."""
    found: dict[str, Dimension] = {}
    for path, dimension in flat(space):
        found.setdefault(path.rpartition("/")[2], dimension)
    return found


def _explained(trials: Sequence[Trial], name: str, dimension: Dimension, objective: int) -> float:
    pairs = [(trial.params[name], trial.values[objective]) for trial in trials if name in trial.params]
    if len(pairs) < 4:
        return 0.0
    groups: dict[Any, list[float]] = {}
    if isinstance(dimension, Choice):
        for value, result in pairs:
            groups.setdefault(canonical.dumps([value]), []).append(result)
    else:
        ordered = sorted(pairs, key=lambda pair: pair[0])
        bins = max(2, min(BINS, len(pairs) // 4))
        for place, (_, result) in enumerate(ordered):
            groups.setdefault(place * bins // len(ordered), []).append(result)
    results = [result for _, result in pairs]
    middle = sum(results) / len(results)
    total = sum((result - middle) ** 2 for result in results)
    if total <= 0 or len(groups) < 2:
        return 0.0
    between = sum(len(group) * (sum(group) / len(group) - middle) ** 2 for group in groups.values()) / total
    # What as many groups explain of pure noise is taken off.
    free = len(results) - len(groups)
    return max(0.0, between - (1 - between) * (len(groups) - 1) / free) if free > 0 else 0.0


def bounds(dimension: Dimension) -> tuple[float, float, bool]:
    """The ends of a scale for a dimension, and whether it is logarithmic."""
    if isinstance(dimension, (Whole, Real)):
        return float(dimension.low), float(dimension.high), dimension.log
    return 0.0, float(len(dimension.options) - 1), False


def spent(trials: Sequence[Trial], workers: int) -> float:
    """Seconds that a study took so far, as if it had always had so many workers."""
    return sum(trial.seconds for trial in trials) / max(workers, 1)
