"""Ranges of a parameter: every month, day, week or number between two, both of them too."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid
from stellwerk.pipelines.partitions import MOST, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("month=2024-11..2025-02", ["2024-11", "2024-12", "2025-01", "2025-02"]),
        ("day=2024-02-28..2024-03-01", ["2024-02-28", "2024-02-29", "2024-03-01"]),
        ("week=2020-W52..2021-W01", ["2020-W52", "2020-W53", "2021-W01"]),
        ("n=8..11", ["8", "9", "10", "11"]),
        ("n=-1..1", ["-1", "0", "1"]),
        ("n=08..10", ["08", "09", "10"]),
        ("year=2024..2024", ["2024"]),
        ("carrier=AA, UA,9E", ["AA", "UA", "9E"]),
        ("one=2024-01", ["2024-01"]),
    ],
)
def test_ranges_and_lists(text: str, expected: list[str]) -> None:
    """In the order in which they were typed, or the other way round."""
    found = parse(text)

    assert (text.partition("=")[0], tuple(expected)) == (found.param, found.values)
    assert tuple(reversed(expected)) == parse(text, newest_first=True).values


@pytest.mark.parametrize(
    "text",
    [
        "", "month", "month=", "=1..2", "a b=1..2", "month=2024-13..2024-14", "month=2024-02..2024-01", "n=2..1",
        "day=2023-02-29..2023-03-01", "week=2021-W53..2022-W01", "month=2024-01..2024-02-01", "n=1..x", "n=1..2..3",
        "n=1,,2", "n=1,1", "n=1..3,5", f"n=1..{MOST + 1}", "day=0001-01-01..9999-12-31", "n=..", "n=1..",
        "n=" + ",".join(map(str, range(MOST + 1))), "n=٣..٤", "month=0000-01..0000-02",
    ],
)  # fmt: skip
def test_what_is_no_range(text: str) -> None:
    """It is refused in words, before anything is begun."""
    with pytest.raises(Invalid) as caught:
        parse(text)

    assert "invalid-partitions" == caught.value.code


@settings(deadline=None)
@given(st.dates(date(1900, 1, 1), date(2200, 1, 1)), st.integers(0, 400))
def test_days_and_weeks_are_those_of_the_calendar(first: date, more: int) -> None:
    """None is left out, none twice, across years and leap days."""
    last = first + timedelta(days=more)
    days = [first + timedelta(days=step) for step in range(more + 1)]
    weeks = list(dict.fromkeys(f"{day.isocalendar().year}-W{day.isocalendar().week:02}" for day in days))
    months = list(dict.fromkeys(f"{day:%Y-%m}" for day in days))

    assert tuple(map(str, days)) == parse(f"d={first}..{last}").values
    assert tuple(weeks) == parse(f"w={weeks[0]}..{weeks[-1]}").values
    assert tuple(months) == parse(f"m={months[0]}..{months[-1]}").values


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_range_or_invalid(text: str) -> None:
    """What is typed names values, each once, or is refused; nothing breaks out as another error."""
    values, code = [], ""
    try:
        values = list(parse("x=" + text).values)
    except Invalid as problem:
        code = problem.code

    assert ("" if values else "invalid-partitions") == code
    assert list(dict.fromkeys(values)) == values
