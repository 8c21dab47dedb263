"""What tuning may choose from: `whole`, `real` and `choice`, and choices with parameters of their own.

A space is a dict of dimensions by the names of the step's arguments. Who chooses is not said here.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.arguments import bound
from stellwerk.core.errors import Invalid

MAX_GRID = 100_000
MAX_OPTIONS = 10_000
MAX_DIMENSIONS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """Whole numbers from `low` to `high`, both included."""

    low: int
    high: int
    step: int = 1
    log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Real:
    """Numbers from `low` to `high`; with `step` only those that many steps from `low`."""

    low: float
    high: float
    step: float | None = None
    log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of some values. What is below an option exists only where it is chosen."""

    options: tuple[Any, ...]
    below: tuple[Space, ...]
    """One space for each option, empty for most."""


Dimension = Whole | Real | Choice
Space = Mapping[str, Dimension]
Choose = Callable[[str, Dimension], Any]
"""The value of a dimension, by its path; of a choice the place of the option."""


@bound
def whole(low: int, high: int, *, step: int = 1, log: bool = False) -> Whole:
    """Whole numbers from `low` to `high`, both included: `sw.space.whole(2, 12)`.

    Args:
        log: Seek by orders of magnitude; `low` is then at least 1.
    """
    for what, value in (("low", low), ("high", high), ("step", step)):
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > canonical.MAX_SAFE_INTEGER:
            raise _wrong(f"{what} is {value!r} (expected a whole number)")
    if low > high:
        raise _wrong(f"it goes from {low} to {high} (expected low <= high)")
    if step < 1 or (log and (step != 1 or low < 1)):
        raise _wrong(f"step is {step} and low is {low} (expected a step of at least 1, and with log=True low >= 1)")
    return Whole(low=low, high=high, step=step, log=log)


@bound
def real(low: float, high: float, *, step: float | None = None, log: bool = False) -> Real:
    """Numbers from `low` to `high`: `sw.space.real(1e-4, 1e-1, log=True)`.

    Args:
        step: Only those that many steps from `low`, which a grid needs.
        log: Seek by orders of magnitude; `low` is then above 0.
    """
    for what, value in (("low", low), ("high", high), ("step", 1.0 if step is None else step)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise _wrong(f"{what} is {value!r} (expected a finite number)")
    if low > high:
        raise _wrong(f"it goes from {low} to {high} (expected low <= high)")
    if (step is not None and (step <= 0 or log)) or (log and low <= 0):
        raise _wrong(
            f"step is {step} and low is {low} (expected a step above 0, and with log=True low > 0 and no step)"
        )
    return Real(low=float(low), high=float(high), step=None if step is None else float(step), log=log)


@bound
def choice(options: Sequence[Any] | Mapping[Any, Space]) -> Choice:
    """One of some plain values: `choice(["gini", "entropy"])`.

    With a mapping each option has a space of its own, whose parameters exist only where it is chosen:
    `choice({"forest": {"trees": whole(50, 500)}, "linear": {}})`.
    """
    listed = list(options) if isinstance(options, (Mapping, list, tuple)) else []
    if not 0 < len(listed) <= MAX_OPTIONS:
        raise _wrong(f"the options are {options!r} (expected a list or a mapping of 1 to {MAX_OPTIONS:,})"[:300])
    plain = tuple(canonical.loads(canonical.dumps(option)) for option in listed)
    if len({canonical.dumps([option]) for option in plain}) != len(plain):
        raise _wrong(f"the options {options!r} repeat one"[:300])
    below = [dict(options[option]) for option in listed] if isinstance(options, Mapping) else [{} for _ in listed]
    for one in below:
        _checked(one, ())
    return Choice(options=plain, below=tuple(below))


def checked(space: Any) -> Space:
    """A space that can be searched. Raises `Invalid` (`invalid-space`) naming what cannot."""
    if not isinstance(space, Mapping) or not space:
        raise _wrong(f"the space is {space!r} (expected a dict of dimensions by argument)"[:300])
    names = _checked(space, ())
    if len(names) > MAX_DIMENSIONS:
        raise _wrong(f"it has {len(names):,} dimensions (expected at most {MAX_DIMENSIONS:,})")
    return dict(space)


def _checked(space: Mapping[Any, Any], above: tuple[str, ...]) -> set[str]:
    """The names that may occur in a space; what exists at the same time must differ."""
    found: set[str] = set()
    for name, dimension in space.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise _wrong(f"{name!r} is no name of an argument")
        if not isinstance(dimension, (Whole, Real, Choice)):
            raise _wrong(f"{name!r} is {dimension!r} (expected sw.space.whole, real or choice)"[:300])
        inner = {name}
        if isinstance(dimension, Choice):
            inner |= set().union(*(_checked(one, (*above, name)) for one in dimension.below))
        if twice := sorted((found & inner) | (inner & set(above))):
            raise _wrong(f"{twice[0]!r} would be chosen twice at the same time")
        found |= inner
    return found


def walk(space: Space, choose: Choose, path: str = "") -> dict[str, Any]:
    """Choose every dimension that exists, from the top; the result has the names of the step's arguments."""
    chosen: dict[str, Any] = {}
    for name, dimension in space.items():
        here = f"{path}{name}"
        value = choose(here, dimension)
        if isinstance(dimension, Choice):
            chosen[name] = dimension.options[value]
            chosen |= walk(dimension.below[value], choose, f"{here}={value}/")
        else:
            chosen[name] = value
    return chosen


def recall(space: Space, chosen: Mapping[str, Any]) -> Choose:
    """Choose again what was chosen before. Raises `Invalid` for what this space does not hold."""

    def choose(path: str, dimension: Dimension) -> Any:
        name = path.rpartition("/")[2]
        if name not in chosen:
            raise _wrong(f"a trial has no {name!r}")
        value = chosen[name]
        if isinstance(dimension, Choice):
            spelled = [canonical.dumps([option]) for option in dimension.options]
            if canonical.dumps([value]) not in spelled:
                raise _wrong(f"a trial has {name} = {value!r}, which is no option")
            return spelled.index(canonical.dumps([value]))
        return float(value) if isinstance(dimension, Real) else value

    return choose


def flat(space: Space, path: str = "") -> Iterator[tuple[str, Dimension]]:
    """All dimensions with their paths."""
    for name, dimension in space.items():
        yield f"{path}{name}", dimension
        if isinstance(dimension, Choice):
            for place, below in enumerate(dimension.below):
                yield from flat(below, f"{path}{name}={place}/")


def drawn(space: Space, *, seed: int, number: int) -> dict[str, Any]:
    """The random point of this number; it depends on nothing else."""
    # Seeded by text, whose meaning Python keeps, and only `random()` is used, whose sequence it keeps, too.
    source = random.Random(f"stellwerk {seed} {number}")  # noqa: S311 - a search, no secret
    return walk(space, lambda _, dimension: _draw(dimension, source.random()))


def _draw(dimension: Dimension, share: float) -> Any:
    if isinstance(dimension, Choice):
        return int(share * len(dimension.options))
    if isinstance(dimension, Whole):
        if dimension.log:
            low, high = math.log(dimension.low), math.log(dimension.high + 1)
            return min(max(int(math.exp(low + share * (high - low))), dimension.low), dimension.high)
        steps = (dimension.high - dimension.low) // dimension.step + 1
        return dimension.low + int(share * steps) * dimension.step
    if dimension.log:
        low, high = math.log(dimension.low), math.log(dimension.high)
        return min(max(math.exp(low + share * (high - low)), dimension.low), dimension.high)
    if dimension.step is not None:
        return _stepped(dimension, int(share * _steps(dimension)))
    return min(dimension.low + share * (dimension.high - dimension.low), dimension.high)


def _steps(dimension: Real) -> int:
    return int((dimension.high - dimension.low) / (dimension.step or 1.0) + 1e-9) + 1


def _stepped(dimension: Real, place: int) -> float:
    # Rounded, so that 0.1 + 0.2 is called 0.3 everywhere.
    return float(f"{dimension.low + place * (dimension.step or 1.0):.12g}")


def size(space: Space) -> int:
    """How many points a grid over it has. Raises `Invalid` where a dimension has no steps."""
    return math.prod(_values(name, dimension) for name, dimension in space.items())


def _values(name: str, dimension: Dimension) -> int:
    if isinstance(dimension, Choice):
        return sum(size(below) for below in dimension.below)
    if isinstance(dimension, Whole) and not dimension.log:
        return (dimension.high - dimension.low) // dimension.step + 1
    if isinstance(dimension, Real) and dimension.step is not None:
        return _steps(dimension)
    raise _wrong(f"{name!r} has no steps, which a grid needs (expected step=..., or choice([...]))")


def grid(space: Space, *, start: int = 0) -> Iterator[dict[str, Any]]:
    """Every point in order, the last dimension fastest; there are `size` of them."""
    if size(space) > MAX_GRID:
        raise _wrong(f"the grid has {size(space):,} points (expected at most {MAX_GRID:,})")
    return islice(_points(space), start, None)


def _points(space: Space) -> Iterator[dict[str, Any]]:
    columns = [list(_column(name, dimension)) for name, dimension in space.items()]
    for parts in product(*columns):
        yield {name: value for part in parts for name, value in part.items()}


def _column(name: str, dimension: Dimension) -> Iterator[dict[str, Any]]:
    if isinstance(dimension, Choice):
        for option, below in zip(dimension.options, dimension.below, strict=True):
            for inner in _points(below):
                yield {name: option, **inner}
    elif isinstance(dimension, Whole):
        for value in range(dimension.low, dimension.high + 1, dimension.step):
            yield {name: value}
    else:
        for place in range(_steps(dimension)):
            yield {name: _stepped(dimension, place)}


def document(space: Space) -> dict[str, Any]:
    """The space as JSON."""
    return {name: _document(dimension) for name, dimension in space.items()}


def _document(dimension: Dimension) -> dict[str, Any]:
    if isinstance(dimension, Choice):
        below = [document(one) for one in dimension.below]
        return {"kind": "choice", "options": list(dimension.options), **({"below": below} if any(below) else {})}
    kind = "whole" if isinstance(dimension, Whole) else "real"
    return {
        "kind": kind,
        "low": dimension.low,
        "high": dimension.high,
        "step": dimension.step,
        "log": dimension.log,
    }


def parse(said: Any) -> Space:
    """The space of a document. Raises `Invalid`."""
    if not isinstance(said, Mapping):
        raise _wrong("the document of a space is an object")
    return {name: _parsed(name, one) for name, one in said.items()}


def _parsed(name: str, said: Any) -> Dimension:
    try:
        if said["kind"] == "choice":
            below = tuple(parse(one) for one in said.get("below", ())) or tuple({} for _ in said["options"])
            made = choice(said["options"])
            return Choice(options=made.options, below=below)
        make: Any = {"whole": whole, "real": real}[said["kind"]]
        dimension: Dimension = make(said["low"], said["high"], step=said["step"], log=said["log"])
        return dimension
    except (KeyError, TypeError, AttributeError) as cause:
        raise _wrong(f"the document of {name!r} is none of a dimension") from cause


def _wrong(what: str) -> Invalid:
    return Invalid(f"this is no space to search: {what}", code="invalid-space")
