"""Axes: round numbers and round instants, and the scales from values to places."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from stellwerk.web.ui import words


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A value on an axis; `minor` ones may be hidden where it is narrow."""

    at: float
    text: str
    below: str = ""
    minor: bool = False


class TimeScale:
    """Instants to percent."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self._start = start
        self._span = (end - start).total_seconds() or 1.0

    def __call__(self, instant: datetime) -> float:
        return round(min(max(100 * (instant - self._start).total_seconds() / self._span, 0.0), 100.0), 3)

    def middle(self, start: datetime, end: datetime) -> float:
        """The place halfway between two instants."""
        return round((self(start) + self(end)) / 2, 3)


class ValueScale:
    """Values to pixels, over a range widened to round numbers."""

    def __init__(self, low: float, high: float, top: float, bottom: float) -> None:
        if high - low < 1e-9 * max(abs(low), abs(high), 1.0):
            low, high = low - max(abs(low) * 0.05, 0.01), high + max(abs(high) * 0.05, 0.01)
        self.step = round_step((high - low) / 6)
        self.low = math.floor(low / self.step + 1e-9) * self.step
        self.high = math.ceil(high / self.step - 1e-9) * self.step
        self._top, self._bottom = top, bottom

    def __call__(self, value: float) -> float:
        part = (value - self.low) / (self.high - self.low)
        return round(self._bottom - part * (self._bottom - self._top), 2)

    def ticks(self) -> tuple[Tick, ...]:
        places = max(0, -math.floor(math.log10(self.step) + 1e-9))
        places += self.step * 10**places % 1 > 1e-6
        steps = round((self.high - self.low) / self.step)
        values = [self.low + i * self.step for i in range(steps + 1)]
        return tuple(Tick(at=self(v), text=f"{v:,.{places}f}".replace("-", "−")) for v in values)


def round_step(rough: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(float(m * power) for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))


# Length, and months where the calendar decides.
_STEPS = (
    *((timedelta(hours=h), 0) for h in (1, 3, 6)),
    *((timedelta(days=d), 0) for d in (1, 2, 7, 14)),
    *((timedelta(days=30.4 * m), m) for m in (1, 2, 3, 6, 12, 24, 60, 120, 600, 1200, 6000)),
)


def time_ticks(start: datetime, end: datetime) -> tuple[tuple[datetime, ...], tuple[Tick, ...]]:
    """Round instants between two, at most a dozen, with labels: where months are single, under their middle."""
    step, months = next((s for s in _STEPS if (end - start) / s[0] <= 11), _STEPS[-1])
    instants = list(_calendar(start, end, months) if months else _even(start, end, step))
    inside = tuple(i for i in instants if i >= start)
    scale = TimeScale(start, end)
    ticks: list[Tick] = []
    for index, (this, after) in enumerate(pairwise([*instants, end])):
        first, last = max(this, start), min(after, end)
        if last - first < timedelta(days=10) if months == 1 else this < start:
            continue
        text, below = _tick_text(this, step, months)
        at = scale.middle(first, last) if months == 1 else scale(this)
        ticks.append(Tick(at=at, text=text, below=below, minor=len(instants) > 6 and index % 2 == 1))
    return inside, _years_once(ticks)


def _even(start: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    """Instants in equal steps from the midnight before the start."""
    midnight = datetime(start.year, start.month, start.day, tzinfo=UTC)
    here = midnight + ((start - midnight) // step) * step
    while end - here > step:
        yield here
        here += step
    yield here


def _calendar(start: datetime, end: datetime, months: int) -> Iterator[datetime]:
    """First days of months from the one in which the start lies."""
    index = (start.year * 12 + start.month - 1) // months * months
    while index < end.year * 12 + end.month:
        year, month = divmod(index, 12)
        here = datetime(max(year, 1), month + 1, 1, tzinfo=UTC)
        if here < end:
            yield here
        index += months


def _tick_text(instant: datetime, step: timedelta, months: int) -> tuple[str, str]:
    if months >= 12:
        return str(instant.year), ""
    name = words.MONTHS[instant.month - 1]
    if months:
        return name, str(instant.year)
    date = f"{instant.day} {name}"
    return (f"{instant:%H:%M}", date) if step < timedelta(days=1) else (date, str(instant.year))


def _years_once(ticks: list[Tick]) -> tuple[Tick, ...]:
    """Keep the second line of a label only where it changes."""
    return tuple(
        Tick(at=t.at, text=t.text, minor=t.minor, below=t.below if i == 0 or ticks[i - 1].below != t.below else "")
        for i, t in enumerate(ticks)
    )
