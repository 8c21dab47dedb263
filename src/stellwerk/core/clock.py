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
        except (OSError, ValueError, KeyError) as cause:
            raise Unavailable(
                "the simulated clock of this workspace cannot be read", code="clock-unreadable"
            ) from cause

    def set(self, instant: datetime) -> None:
        """Move simulated time to an instant, atomically."""
        waiting = self._path.with_suffix(".new")
        waiting.write_text(json.dumps({"now": format_instant(instant)}), "utf-8")
        waiting.replace(self._path)


def format_instant(instant: datetime) -> str:
    """RFC 3339 in UTC with microseconds and `Z`."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_instant(text: str) -> datetime:
    """Read RFC 3339; a time without zone is `Invalid`."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as cause:
        raise Invalid(f"not a time: {text[:60]!r} (expected RFC 3339)", code="invalid-time") from cause
    if instant.tzinfo is None:
        raise Invalid(f"time without zone: {text!r}", code="invalid-time", hint="append Z for UTC")
    return instant.astimezone(UTC)


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_duration(text: str) -> timedelta:
    """Read `90s`, `15m`, `4h`, `30d` or `2w`."""
    match = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if not match:
        raise Invalid(
            f"not a duration: {text[:40]!r} (expected a whole number and s, m, h, d or w)",
            code="invalid-duration",
        )
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads back."""
    seconds = int(duration.total_seconds())
    for unit in ("w", "d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0 and unit != "w":
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"


def monotonic() -> float:
    """Seconds for measuring how long something took; never stored as a time."""
    return time.perf_counter()
