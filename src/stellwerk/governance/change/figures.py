"""Numbers and intervals as people read them, and an interval as a line of text that any mail program shows."""

from __future__ import annotations

from stellwerk.governance.change.model import Measured

WIDTH = 21
"""Characters of a drawn interval; odd, so that zero has a place in the middle."""


def figure(value: float | None) -> str:
    """To four significant digits."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 1 else f"{value:.4g}"


def signed(value: float | None) -> str:
    """With its sign, to two significant digits more than its own size needs."""
    if value is None:
        return "–"
    return f"{value:+.3g}".replace("-", "−") if value else "±0"


def raw(measured: Measured, value: float | None) -> float | None:
    """A gain as a difference after − before: gains are above zero where it is better, differences where it is more."""
    return -value if value is not None and measured.larger_is_better is False else value


def difference(measured: Measured) -> str:
    """After − before."""
    return signed(raw(measured, measured.gain))


def interval(measured: Measured) -> str:
    """The interval of after − before."""
    ends = [raw(measured, end) for end in (measured.lower, measured.upper)]
    if ends[0] is None or ends[1] is None:
        return "–"
    low, high = sorted(end for end in ends if end is not None)
    return f"{signed(low)} to {signed(high)}"


def strip(measured: Measured) -> str:
    """The interval of the gain as text: worse is left of the bar, better right of it. Empty without an interval."""
    gain, low, high = measured.gain, measured.lower, measured.upper
    if gain is None or low is None or high is None:
        return ""
    reach = max(abs(low), abs(high), abs(gain))
    if not reach:
        return ""
    half = WIDTH // 2

    def place(value: float) -> int:
        return half + round(value / reach * half)

    drawn = ["╌"] * WIDTH
    for at in range(place(low), place(high) + 1):
        drawn[at] = "━"
    drawn[half] = "┿" if low <= 0 <= high else "┆"
    drawn[place(gain)] = "●"
    return "".join(drawn)
