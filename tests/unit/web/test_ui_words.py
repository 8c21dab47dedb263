"""How values are written for people."""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.web.ui import words

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()))


@given(ANY_TEXT)
def test_nothing_invisible_remains(text: str) -> None:
    """Control, override, surrogate and invisible format characters are replaced; all else stays, in order."""
    shown = words.visible(text)

    kept = {"\n", "\t", "\u00ad", "\u200c", "\u200d"}
    assert [] == [c for c in shown if unicodedata.category(c) == "Cc" and c not in kept]
    assert not set(shown) & {"\u202a", "\u202e", "\u2066", "\u2069", "\u200b", "\u200e", "\ufeff", "\x00"}
    assert shown == shown.encode("utf-8").decode("utf-8")
    assert shown == words.visible(shown)


def test_hidden_characters_are_named() -> None:
    """A reader sees which character was hidden where."""
    assert "a⟨U+202E⟩txt.exe␛[31m␀" == words.visible("a\u202etxt.exe\x1b[31m\x00")


@given(ANY_TEXT, st.integers(4, 30), st.integers(1, 3))
def test_wrapped_lines_fit(text: str, width: int, lines: int) -> None:
    """No line is wider than the box and there are never more than asked for."""
    wrapped = words.wrap(text, width, lines)

    assert len(wrapped) <= lines
    assert [] == [line for line in wrapped if words.columns(line) > width]


def test_wrapping_keeps_all_that_fits_and_marks_the_rest() -> None:
    """Lines break at separators; an ellipsis stands for what is missing."""
    assert ("flights-2013-", "01.parquet") == words.wrap("flights-2013-01.parquet", 14, 2)
    assert ("abcdefg…",) == words.wrap("abcdefghijkl", 8, 1)
    assert () == words.wrap("", 8, 2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.69712, "0.697"),
        (128_411.0, "128,411"),
        (3.0, "3"),
        (-0.5, "−0.500"),
        (0.00004, "4.00e−05"),
        (math.nan, "NaN"),
        (-math.inf, "−∞"),
        (None, "–"),
        (12.345, "12.35"),
        (1e300, "1.00e+300"),
    ],
)
def test_figures(value: float | None, expected: str) -> None:
    """About three telling digits; what is not a number says so."""
    assert expected == words.figure(value)


def test_times_are_utc_whatever_the_zone() -> None:
    """An instant is written in UTC, with English months on every machine."""
    instant = datetime(2013, 9, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))

    assert "31 Aug 2013, 23:30" == words.moment(instant)
    assert "2013-08-31T23:30:00Z" == words.stamp(instant)
    assert "1 Jan 2014" == words.day(datetime(2014, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (12.9, "12 days left"),
        (1.5, "36 hours left"),
        (1 / 24, "60 minutes left"),
        (0.0, "ended"),
        (math.nan, "ended"),
    ],
)
def test_time_left(days: float, expected: str) -> None:
    """Never more than there is, in the unit a person would use; unknown counts as ended."""
    assert expected == words.left(days)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.42, "0.42 s"),
        (59.0, "59 s"),
        (185.0, "3 min 5 s"),
        (8040.0, "2 h 14 min"),
        (1e6, "12 days"),
        (math.nan, "–"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    """Two units at most."""
    assert expected == words.took(seconds)


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 B"), (1023, "1,023 B"), (1_412_300_800, "1.3 GiB"), (2**70, "1,073,741,824 TiB")]
)
def test_sizes(count: int, expected: str) -> None:
    """Binary units, named as such."""
    assert expected == words.size(count)


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "//evil.example/",
        "/\\evil.example",
        "https://evil.example",
        "/a b",
        "/a\n",
        "",
        "data:,x",
    ],
)
def test_links_that_leave_are_dropped(link: str) -> None:
    """A link from data is followed only if it is a plain path on this host."""
    assert "" == words.local(link)


def test_local_links_stay() -> None:
    """A path with a query or a fragment is kept as it is."""
    assert "/runs/01h?x=1#y" == words.local("/runs/01h?x=1#y")


@given(ANY_TEXT)
def test_addresses_have_one_component_of_data(identity: str) -> None:
    """An id never adds a path component, a query or a fragment."""
    address = words.page("runs", identity)

    assert address == "" or (
        address.startswith("/runs/") and 2 == address.count("/") and not set(address) & set("?#\"' <")
    )


def test_commands_in_sentences_are_told_apart() -> None:
    """Backticks mark what can be typed; an odd one is just a character."""
    assert (("text", "run "), ("code", "stellwerk next")) == words.prose("run `stellwerk next`")
    assert (("strong", "clear"), ("text", " from 6")) == words.prose("**clear** from 6")
    assert (("text", "5` long ** 2"),) == words.prose("5` long ** 2")


def test_the_end_of_a_long_log_is_shown() -> None:
    """Whole lines from the end, and a true count of what is missing."""
    log = "".join(f"line {i}\n" for i in range(40_000))

    shown, left_out = words.tail(log)

    assert log == log[:left_out] + shown
    assert shown.startswith("line ")
    assert len(shown) <= words.LOG_SHOWN
    assert ("short", 0) == words.tail("short")


def test_a_source_names_a_logged_model_or_none() -> None:
    """Only an address that is one, and nothing that could lead elsewhere."""
    model = "m-" + "0f" * 16
    assert model == words.logged_model(f"models:/{model}")
    for other in (
        "",
        "models:/churn/1",
        f"models:/{model}/x",
        f"x models:/{model}",
        f"runs:/{model}",
        "models:/m-../..",
    ):
        assert not words.logged_model(other)
