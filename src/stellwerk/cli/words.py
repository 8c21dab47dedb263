"""Values in words, the same in every command: times, durations, counts, numbers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from stellwerk.core.clock import format_instant


def moment(instant: datetime | None) -> str:
    """To the minute, in UTC."""
    return "–" if instant is None else format_instant(instant)[:16].replace("T", " ")


def took(seconds: float) -> str:
    """A duration as precise as one wants it."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def left(days: float | None) -> str:
    """What is left of a lease."""
    if days is None:
        return "–"
    if days <= 0:
        return "ended"
    return f"{days:.0f} days left" if days >= 3 else f"{days * 24:.0f} hours left"


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 row`, `1,234 rows`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def size(number: int) -> str:
    """Bytes in the unit that suits: `512 B`, `1.5 MB`."""
    amount = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{number} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def figure(value: Any) -> str:
    """A number to four significant digits."""
    if value is None:
        return "–"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4g}"
    return f"{value:,.0f}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def interval(estimate: float | None, lower: float | None, upper: float | None) -> str:
    """An estimate with what bounds it has."""
    if lower is None and upper is None:
        return figure(estimate)
    if upper is None:
        return f"{figure(estimate)} (at least {figure(lower)})"
    if lower is None:
        return f"{figure(estimate)} (at most {figure(upper)})"
    return f"{figure(estimate)} ({figure(lower)} to {figure(upper)})"


def share(value: float | None) -> str:
    """A share in percent."""
    return "–" if value is None else f"{value:.1%}" if 0 < value < 0.1 else f"{value:.0%}"


def pairs(values: dict[str, Any] | tuple[tuple[str, Any], ...]) -> str:
    """Names and values in one line."""
    items = values.items() if isinstance(values, dict) else values
    return "  ".join(f"{name} {figure(value)}" for name, value in items)
