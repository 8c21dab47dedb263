"""Curves of metrics for people and programs: thinned so that no extreme is lost, smoothed where that is asked for."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from threading import Lock
from typing import Literal, Protocol

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.ledger.ports import Book, Reader
from stellwerk.store.ports import Blobs
from stellwerk.tracking import segments
from stellwerk.tracking.model import Run
from stellwerk.tracking.ports import Points
from stellwerk.tracking.segments import Series
from stellwerk.tracking.shelves import RUNS

Axis = Literal["step", "time"]
Odd = Literal["NaN", "Infinity", "-Infinity"]
MAX_CURVES = 10_000
"""In one answer: runs times metrics."""
MAX_POINTS = 10_000
"""Of one curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A metric of a run over its steps or its time; three columns of one length."""

    run: str
    key: str
    total: int
    """How many points there are; those that follow are some of them, with the extremes of every stretch."""
    at: tuple[int, ...]
    """Milliseconds since 1970."""
    step: tuple[int, ...]
    value: tuple[float, ...]
    odd: tuple[tuple[int, int, Odd], ...] = ()
    """Points that are no finite number: time, step, and which; the first of them where they are many."""


MAX_ODD = 100
LONG = 20_000
"""Points of a series that is kept in memory while its run goes on; others are read in no time."""
MOST_KEPT = 2_000_000
"""Points that are kept so, of all series together: 24 bytes each."""


class Unsealed(Protocol):
    """Which runs have points that are in no segment."""

    def unsealed(self, reader: Reader, runs: Collection[str]) -> Collection[str]:
        """Those of some runs that do."""
        ...


class Curves:
    """Reads the points of metrics, of runs that go on and of those that ended."""

    def __init__(self, book: Book, blobs: Blobs, points: Points, unsealed: Unsealed) -> None:
        self._book, self._points, self._unsealed = book, points, unsealed
        self._segment = lru_cache(maxsize=8)(blobs.get)
        self._growing = Growing(points)

    def read(
        self, runs: Sequence[str], keys: Sequence[str], *, points: int = 200, axis: Axis = "step", smooth: float = 0.0
    ) -> list[Curve]:
        """A curve for each run and metric that has any point, in the order asked for.

        Args:
            points: How many of each curve at most.
            axis: What they are ordered by.
            smooth: From 0 to below 1: the weight of what was before, in an exponential average without its start bias.

        Raises:
            NotFound: For an unknown run.
            Invalid: `too-many`, `invalid-number`.
        """
        if len(runs) * len(keys) > MAX_CURVES:
            raise Invalid(
                f"{len(runs) * len(keys):,} curves at once (expected at most {MAX_CURVES:,})", code="too-many"
            )
        if not 2 <= points <= MAX_POINTS:
            raise Invalid(f"{points} points (expected from 2 to {MAX_POINTS:,})", code="invalid-number")
        if not 0 <= smooth < 1:
            raise Invalid(f"a smoothing of {smooth} (expected from 0 to below 1)", code="invalid-number")
        with self._book.read() as reader:
            known = {run.id: run for run in RUNS.among(reader, "id", dict.fromkeys(runs))}
            missing = next((run for run in runs if run not in known), None)
            if missing is not None:
                raise NotFound(f"Run with id={missing[:60]} not found")
            late = self._unsealed.unsealed(reader, known)
            return [
                drawn(run, key, found, points=points, axis=axis, smooth=smooth)
                for run in runs
                for key, found in self._series(reader, known[run], keys, run in late)
            ]

    def _series(self, reader: Reader, run: Run, keys: Sequence[str], unsealed: bool) -> Iterable[tuple[str, Series]]:
        sealed = [self._segment(digest) for digest in run.points]
        wanted = frozenset(keys)
        found = [segments.decode_some(data, wanted) for data in sealed]
        for key in keys:
            parts = [one[key] for one in found if key in one]
            if unsealed:
                late = self._growing.read(reader, run, key)
                parts += [late] if late.at else []
            if parts:
                yield key, parts[0] if len(parts) == 1 else _joined(parts)


class Growing:
    """Long series of runs that go on: whoever watches one is not made to wait for all of it each time.

    Points are added, and never changed. What was read is the beginning of what is there if the points since then and
    those before add up to all; where one came late, or they were sealed meanwhile, all are read again.
    """

    def __init__(self, points: Points, *, long: int = LONG, most: int = MOST_KEPT) -> None:
        self._points, self._long, self._most = points, max(long, 1), most
        self._known: OrderedDict[tuple[str, str], Series] = OrderedDict()
        self._lock = Lock()

    def read(self, reader: Reader, run: Run, key: str) -> Series:
        """All points of a metric that are not sealed, in the order of time, step and value."""
        with self._lock:
            known = self._known.get((run.id, key))
        found = self._longer(reader, run, key, known) if known is not None else None
        if found is None:
            found = self._points.since(reader, run.id, key)
        self._keep((run.id, key), found)
        return found

    def _longer(self, reader: Reader, run: Run, key: str, known: Series) -> Series | None:
        last = known.at[-1]
        before = bisect_left(known.at, last)
        late = self._points.since(reader, run.id, key, at=last)
        if before + len(late.at) != self._points.count(reader, run.id, key):
            return None
        return Series(known.at[:before] + late.at, known.step[:before] + late.step, known.value[:before] + late.value)

    def _keep(self, place: tuple[str, str], found: Series) -> None:
        with self._lock:
            self._known.pop(place, None)
            if self._long <= len(found.at) <= self._most:
                self._known[place] = found
            while sum(len(one.at) for one in self._known.values()) > self._most:
                self._known.popitem(last=False)


def drawn(run: str, key: str, series: Series, *, points: int, axis: Axis, smooth: float = 0.0) -> Curve:
    """What is drawn of a series."""
    total = len(series.at)
    odd: list[tuple[int, int, Odd]] = []
    if not all(map(math.isfinite, series.value)):
        odd = [(at, step, _word(value)) for at, step, value in zip(*series, strict=True) if not math.isfinite(value)]
        series = segments.series(row for row in zip(*series, strict=True) if math.isfinite(row[2]))
    if axis == "step":
        series = _by_step(series)
    values: Sequence[float] = smoothed(series.value, smooth) if smooth else series.value
    kept = thinned(values, points)
    return Curve(
        run=run,
        key=key,
        total=total,
        at=tuple(series.at[place] for place in kept),
        step=tuple(series.step[place] for place in kept),
        value=tuple(values[place] for place in kept),
        odd=tuple(odd[:MAX_ODD]),
    )


def thinned(values: Sequence[float], limit: int) -> list[int]:
    """Places of at most `limit` values, in order: the first, the last, and the least and largest of every stretch."""
    count = len(values)
    if count <= limit:
        return list(range(count))
    kept = {0, count - 1}
    stretches = (limit - 2) // 2
    for index in range(stretches):
        start, end = index * count // stretches, (index + 1) * count // stretches
        part = values[start:end]
        kept.update((start + part.index(min(part)), start + part.index(max(part))))
    return sorted(kept)


def smoothed(values: Sequence[float], weight: float) -> list[float]:
    """An exponential moving average that starts at the first value instead of at zero."""
    found: list[float] = []
    average, bias, share = 0.0, 1.0, 1 - weight
    for value in values:
        average = average * weight + value * share
        bias *= weight
        found.append(average / (1 - bias))
    return found


def _by_step(series: Series) -> Series:
    steps = series.step
    if all(before <= after for before, after in pairwise(steps)):
        return series
    order = sorted(range(len(steps)), key=steps.__getitem__)
    return Series(
        array("q", [series.at[place] for place in order]),
        array("q", [steps[place] for place in order]),
        array("d", [series.value[place] for place in order]),
    )


def _joined(parts: Sequence[Series]) -> Series:
    """Series as one, each point once."""
    rows = {
        (row[0], row[1], repr(row[2])): row for part in parts for row in zip(*part, strict=True)
    }  # NaN is one value
    return segments.series(rows[place] for place in sorted(rows))


def _word(value: float) -> Odd:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
