"""Time as a port, instants as UTC `datetime`, durations as text such as `30d`.

No other module reads the wall clock.
"""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from stellwerk.core.errors import Invalid, Unavailable
from stellwerk.core.files import replace_text
from stellwerk.core.names import shortened


class Clock(Protocol):
    """Says what time it is. Times are labels; order comes from sequence numbers."""

    def now(self) -> datetime:
        """The current instant, aware, in UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class ReplayClock:
    """Simulated time kept in a file, so that several processes of a rehearsal agree on it.

    The file holds `{"now": "<RFC 3339>"}`. Whoever replays history moves it with `set`; it never moves by itself.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def now(self) -> datetime:
        try:
            return parse_instant(json.loads(self._path.read_text("utf-8"))["now"])
        except (OSError, ValueError, KeyError, TypeError) as cause:
            raise Unavailable(
                "the simulated clock of this workspace cannot be read", code="clock-unreadable"
            ) from cause

    def set(self, instant: datetime) -> None:
        """Move simulated time to an instant, atomically."""
        replace_text(self._path, json.dumps({"now": format_instant(instant)}))


def milliseconds() -> int:
    """Milliseconds since 1970 by this machine's clock: for labels of what is measured, thousands of times a second."""
    return time.time_ns() // 1_000_000


def format_instant(instant: datetime) -> str:
    """RFC 3339 in UTC with microseconds and `Z`; always 27 characters, so texts sort as times do."""
    return _in_utc(instant).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_instant(text: str) -> datetime:
    """Read RFC 3339 (and what else of ISO 8601 Python reads); a time without zone is `Invalid`."""
    try:
        # Python alone would take any separator, and a NUL at the end.
        instant = datetime.fromisoformat(text) if re.fullmatch(r"[0-9TtWZz:+., -]{1,64}", text) else None
    except ValueError:
        instant = None
    if instant is None:
        raise Invalid(f"not a time: {text[:60]!r} (expected RFC 3339)", code="invalid-time")
    return _in_utc(instant)


def parse_moment(text: str) -> datetime:
    """Read what a person types: RFC 3339, or a day, which means its beginning in UTC."""
    return parse_instant(f"{text}T00:00:00Z" if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else text)


def _in_utc(instant: datetime) -> datetime:
    if instant.utcoffset() is None:
        raise Invalid(f"time without zone: {instant.isoformat()}", code="invalid-time", hint="append Z for UTC")
    try:
        return instant.astimezone(UTC)
    except OverflowError as cause:
        raise Invalid(f"{instant.isoformat()} is outside the years 1 to 9999", code="invalid-time") from cause


MAX_DURATION = timedelta(days=36_525)
"""A hundred years: more is a slip of the keyboard, and would carry instants out of the calendar."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_duration(text: object, *, what: str = "") -> timedelta:
    """Read `90s`, `15m`, `4h`, `30d` or `2w`; at most a hundred years.

    Args:
        what: What is given, for the message.
    """
    match = re.fullmatch(r"([0-9]{1,10})([smhdw])", text) if isinstance(text, str) else None
    seconds = int(match[1]) * _UNITS[match[2]] if match else None
    if seconds is None or seconds > MAX_DURATION.total_seconds():
        raise Invalid(
            f"{f'{what} is ' if what else ''}not a duration: {shortened(text, 40)} "
            "(expected a whole number and s, m, h, d or w, up to 100 years)",
            code="invalid-duration",
        )
    return timedelta(seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """Whole seconds of a duration in the largest of d, h, m, s that keeps it exact; `parse_duration` reads it."""
    seconds = int(duration.total_seconds())
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"


def monotonic() -> float:
    """Seconds for measuring how long something took; never stored as a time."""
    return time.perf_counter()
