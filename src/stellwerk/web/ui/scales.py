"""Scales of numbers, linear and logarithmic: from values to a share of the axis, with round ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from stellwerk.web.ui import words
from stellwerk.web.ui.axes import round_step

DRAWABLE = 1e300
"""Beyond it differences of numbers are no numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A tick: its place from 0 to 1, and what is written there."""

    at: float
    text: str


class Scale:
    """Values to a share of an axis from 0 to 1."""

    def __init__(
        self, low: float, high: float, *, log: bool = False, ticks: int = 5, tight: bool = False, pad: float = 0
    ) -> None:
        """Args:
        tight: Whether the axis ends at the values themselves, and not at the next round numbers.
        pad: How much longer a tight axis is at each end, as a share of it.
        """
        self.log, self.step = log, 0.0
        if log:
            low, high = math.log10(low), math.log10(high)
        if high - low < 1e-9 * max(abs(low), abs(high), 1e-300):
            around = 0.3 if log else max(abs(low) * 0.05, 1e-9)
            low, high = low - around, high + around
        margin = pad * (high - low)
        low, high = low - margin, high + margin
        if not log:
            self.step = round_step(high / ticks - low / ticks)
            if not tight:
                low = math.floor(low / self.step + 1e-9) * self.step
                high = math.ceil(high / self.step - 1e-9) * self.step
        self.low, self.high = low, high

    def __call__(self, value: float) -> float:
        place = math.log10(value) if self.log else value
        return min(max((place - self.low) / (self.high - self.low), 0.0), 1.0)

    def marks(self) -> tuple[Mark, ...]:
        """Round values on the axis."""
        if self.log:
            return self._decades()
        first = math.ceil(self.low / self.step - 1e-9)
        last = math.floor(self.high / self.step + 1e-9)
        values = [index * self.step for index in range(first, last + 1)]
        texts = even(values, self.step)
        return tuple(Mark(at=self(value), text=text) for value, text in zip(values, texts, strict=True))

    def _decades(self) -> tuple[Mark, ...]:
        # Places are found by exponents: the powers themselves may be smaller or larger than any number.
        first, last = math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9)
        every = max(1, math.ceil((last - first) / 5))
        found = [(float(power), _power(1, power)) for power in range(first, last + 1, every)]
        if len(found) < 2:
            between = [
                (power + math.log10(m), _power(m, power)) for power in range(first - 1, last + 1) for m in (1, 2, 5)
            ]
            found = [one for one in between if self.low - 1e-9 <= one[0] <= self.high + 1e-9]
        if len(found) < 2:  # less than half a decade: its ends say it
            found = [(end, _power(10 ** (end % 1), math.floor(end))) for end in (self.low, self.high)]
        width = self.high - self.low
        return tuple(Mark(at=min(max((at - self.low) / width, 0.0), 1.0), text=text) for at, text in found)


def even(values: Iterable[float], step: float) -> list[str]:
    """Numbers that differ by multiples of a step, with as many decimals as that needs."""
    listed = list(values)
    most = max((abs(value) for value in listed), default=0.0)
    if most >= 1e6 or step < 1e-5:
        return [words.plain_sign(f"{value:.3g}") for value in listed]
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    places += step * 10**places % 1 > 1e-6
    return [words.plain_sign(f"{value:,.{places}f}") for value in listed]


def _power(times: float, power: int) -> str:
    if -4 <= power <= 5:
        return words.plain_sign(f"{times * 10.0**power:.4g}")
    return words.plain_sign(f"{times:.3g}e{power}")
