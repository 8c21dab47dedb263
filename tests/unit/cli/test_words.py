"""Values in words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from stellwerk.cli import words


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0.0 s", 0.0),
        ("4.6 s", 4.56),
        ("59.9 s", 59.94),
        ("1 min 00 s", 59.96),
        ("3 min 05 s", 185),
        ("2 h 10 min", 7800),
    ],
)
def test_durations_are_as_precise_as_one_wants_them(text: str, seconds: float) -> None:
    """Tenths for seconds, seconds for minutes, minutes for hours."""
    assert text == words.took(seconds)


@pytest.mark.parametrize(
    ("text", "days"), [("–", None), ("ended", 0.0), ("ended", -3.0), ("12 hours left", 0.5), ("52 days left", 52.3)]
)
def test_what_is_left_of_a_lease(text: str, days: float | None) -> None:
    """Hours when it is short, days when it is long."""
    assert text == words.left(days)


def test_counts_agree_with_their_noun() -> None:
    """One row, two rows, no `entrys`."""
    assert ["1 row", "1,200 rows", "0 entries"] == [
        words.count(1, "row"),
        words.count(1200, "row"),
        words.count(0, "entry", "entries"),
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [("–", None), ("0.8541", 0.85412), ("1,200", 1200), ("3", 3.0), ("1.5e-05", 0.000015), ("x", "x")],
)
def test_numbers_have_four_digits(text: str, value: object) -> None:
    """Enough to compare, not enough to drown in."""
    assert text == words.figure(value)


def test_an_interval_names_the_bounds_it_has() -> None:
    """A bound that does not exist is not invented."""
    assert [
        "0.5 (0.4 to 0.6)",
        "0.5 (at least 0.4)",
        "0.5 (at most 0.6)",
        "0.5",
    ] == [words.interval(0.5, *bounds) for bounds in ((0.4, 0.6), (0.4, None), (None, 0.6), (None, None))]


def test_moments_are_in_utc_to_the_minute() -> None:
    """Terminals show no zones, so there is only one."""
    assert "2026-03-01 08:05" == words.moment(datetime(2026, 3, 1, 8, 5, 59, tzinfo=UTC))
    assert "–" == words.moment(None)


def test_shares_are_percent() -> None:
    """Small ones keep a digit, because 0.7 % is not 1 %."""
    assert ["–", "0%", "0.7%", "45%", "100%"] == [words.share(value) for value in (None, 0.0, 0.0068, 0.45, 1.0)]
