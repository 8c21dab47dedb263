"""Ranges of a parameter, as a backfill names them: months, days, weeks, whole numbers, or a list. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from stellwerk.core.errors import Invalid

MOST = 10_000
"""Partitions of one backfill."""
RANGE = ".."
_NAME = re.compile(r"[^\W\d]\w{0,127}")
_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WEEK = re.compile(r"([0-9]{4})-W([0-9]{2})")
_NUMBER = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Partitions:
    """The values that one parameter takes, each once, in the order of the range.

    Attributes:
        text: As it was typed.
    """

    param: str
    values: tuple[str, ...]
    text: str


def parse(text: str, *, newest_first: bool = False) -> Partitions:
    """Read `month=2024-01..2024-12`, `day=2024-01-01..2024-02-29`, `week=2024-W52..2025-W02`, `n=1..8` or `x=a,b,c`.

    Both ends belong to a range.

    Raises:
        Invalid: `invalid-partitions`, with what was expected.
    """
    param, equals, said = text.partition("=")
    if not equals or not _NAME.fullmatch(param) or not said:
        raise _wrong(text, "expected NAME=RANGE")
    values = list(_listed(said)) if RANGE not in said else list(_range(text, *said.split(RANGE, 1)))
    return Partitions(param=param, values=tuple(reversed(values) if newest_first else values), text=said)


def _listed(said: str) -> Iterator[str]:
    seen = set()
    for item in said.split(","):
        value = item.strip()
        if not value or value in seen:
            raise _wrong(said, f"{value!r} stands there twice" if value else "a list has no empty place")
        seen.add(value)
        yield value
    if len(seen) > MOST:
        raise _wrong(said, f"{len(seen):,} partitions are too many, at most {MOST:,}")


def _range(text: str, first: str, last: str) -> Iterator[str]:
    if "," in text:
        raise _wrong(text, "a range or a list, not both")
    for way in (_months, _days, _weeks, _numbers):
        found = way(first), way(last)
        if found[0] is not None and found[1] is not None:
            start, spell = found[0]
            end, _ = found[1]
            if end < start:
                raise _wrong(text, f"{first} comes after {last}")
            if end - start >= MOST:
                raise _wrong(text, f"{end - start + 1:,} partitions are too many, at most {MOST:,}")
            for number in range(start, end + 1):
                yield spell(number)
            return
    raise _wrong(text, "expected two months, days, weeks or whole numbers around ..")


_Way = tuple[int, "Spell"]


class Spell:
    """Writes the place of a partition in its kind of range as text."""

    def __init__(self, kind: str, width: int = 0) -> None:
        self._kind, self._width = kind, width

    def __call__(self, number: int) -> str:
        match self._kind:
            case "month":
                return f"{number // 12:04}-{number % 12 + 1:02}"
            case "day":
                return date.fromordinal(number).isoformat()
            case "week":
                year, week, _ = (date.fromordinal(1) + timedelta(weeks=number)).isocalendar()
                return f"{year:04}-W{week:02}"
            case _:
                return str(number).zfill(self._width)


def _months(text: str) -> _Way | None:
    found = _MONTH.fullmatch(text)
    if found is None or not (1 <= int(found[2]) <= 12 and int(found[1])):
        return None
    return int(found[1]) * 12 + int(found[2]) - 1, Spell("month")


def _days(text: str) -> _Way | None:
    try:
        return (date.fromisoformat(text).toordinal(), Spell("day")) if _DAY.fullmatch(text) else None
    except ValueError:
        return None


def _weeks(text: str) -> _Way | None:
    found = _WEEK.fullmatch(text)
    try:
        monday = date.fromisocalendar(int(found[1]), int(found[2]), 1) if found else None
    except ValueError:
        return None
    # The first day of the calendar is a Monday, so that Mondays are whole weeks from it.
    return None if monday is None else ((monday.toordinal() - 1) // 7, Spell("week"))


def _numbers(text: str) -> _Way | None:
    if not _NUMBER.fullmatch(text):
        return None
    # `01..12` is 01, 02, …: whoever pads with zeros means names of folders.
    padded = len(text) > 1 and text.startswith("0")
    return int(text), Spell("number", len(text) if padded else 0)


def _wrong(text: str, why: str) -> Invalid:
    return Invalid(
        f"not partitions: {text[:80]!r} ({why})",
        code="invalid-partitions",
        hint="month=2024-01..2024-12, day=2024-01-01..2024-01-31, week=2024-W01..2024-W10, n=1..8 or x=a,b,c",
    )
