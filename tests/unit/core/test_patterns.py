"""Patterns mean what Python's mean, as far as they are understood, and none of them is slow."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid
from stellwerk.core.patterns import Pattern

PIECES = [
    "a", "b", "c", ".", "*", "+", "?", "|", "(", ")", "(?:", "[ab]", "[^a]", "[a-c]", "^", "$", "{1,2}", "{2}", "\\d",
    "\\.", "1",
]  # fmt: skip


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join), st.text("abc1.\n", max_size=8))
def test_they_find_what_python_finds(pattern: str, text: str) -> None:
    """Where both understand a pattern; and what Python refuses is refused here, too."""
    try:
        # There `$` is also before a last line feed.
        expected = re.compile(pattern.replace("$", "\\Z"))
        re.compile(pattern)
    except re.error:
        with pytest.raises(Invalid):
            Pattern(pattern)
        return
    try:
        found = Pattern(pattern)
    except Invalid:
        return  # not everything that Python understands

    assert found.found_in(text) == (expected.search(text) is not None)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)*$", "(a?){40}a{40}$", "(.*)(.*)(.*)(.*)x", "a*a*a*a*a*b"])
def test_none_is_slow(pattern: str) -> None:
    began = time.perf_counter()
    Pattern(pattern).found_in("a" * 20_000 + "!")

    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    "pattern",
    ["(", ")", "[", "[b-a]", "*", "a**", "(?=x)", "(?P<n>x)", "\\1", "\\", "a{", "a{2,1}", "^*", "a{999}{9}",
     "(a{900}){900}", "(" * 100 + ")" * 100, "x" * 1001, "\\q", "[\\d"],
)  # fmt: skip
def test_what_is_not_understood_is_refused(pattern: str) -> None:
    with pytest.raises(Invalid):
        Pattern(pattern)


def test_case_is_ignored_where_it_is_said() -> None:
    assert Pattern("(?i)^Hello [A-Z]+$").found_in("hELLO world")
    assert not Pattern("Hello").found_in("hello")
