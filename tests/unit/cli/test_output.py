"""What is shown: aligned and plain where nobody watches, coloured where somebody does, JSON where a program reads."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.cli.output import Drawing, Span, Table, dim, paint, plain, visible
from stellwerk.cli.screen import Screen


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """Something that is shown."""

    name: str
    parts: tuple[int, ...]


TABLE = Table(header=("name", "rows"), right=(1,), rows=(("flights", "1,200"), (dim("w"), "7")))


def test_a_plain_table_is_aligned_and_has_no_loose_ends() -> None:
    """Columns start below each other; no line ends in spaces."""
    assert ["name      rows", "flights  1,200", "w            7"] == plain(TABLE)


def test_a_cell_never_breaks_a_line() -> None:
    """One row is one line, so that `grep` and `head` work."""
    assert ["a b  c"] == plain(Table(rows=(("a\nb", "c"),)))


def test_a_table_without_rows_is_nothing_but_its_header() -> None:
    """Nothing to show is no error."""
    assert ["name"] == plain(Table(header=("name",), rows=()))
    assert [] == plain(Table(rows=()))


def test_a_drawing_keeps_its_lines() -> None:
    """Trees are not wrapped."""
    assert ["a", "└─ b"] == plain(Drawing(lines=("a", (dim("└─ "), "b"))))


@given(st.text())
def test_nothing_that_steers_a_terminal_gets_through(text: str) -> None:
    """Whatever a file or a name holds: only printable characters and line breaks are shown."""
    shown = visible(text)

    assert all(c.isprintable() or c == "\n" for c in shown)
    assert text.count("\n") == shown.count("\n")


@given(st.text(st.characters(categories=["L", "N", "P"])))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    """Letters, numbers and punctuation of any language are not touched."""
    assert text == visible(text)


def test_json_is_the_value_and_nothing_else() -> None:
    """Data on stdout is one document, whatever blocks there are for people."""
    out, err = io.StringIO(), io.StringIO()

    screen = Screen(as_json=True, out=out, err=err)
    screen.show((Thing(name="ü", parts=(1, 2)),), "for people")
    screen.suggest("stellwerk next")

    assert [{"name": "ü", "parts": [1, 2]}] == json.loads(out.getvalue())
    assert "" == err.getvalue()


def test_a_pipe_gets_plain_text() -> None:
    """No escape sequence reaches a file."""
    out = io.StringIO()

    Screen(as_json=False, out=out, err=io.StringIO()).show(None, (Span("stop", "bad"), " now"), TABLE)

    assert "stop now\nname      rows\nflights  1,200\nw            7\n" == out.getvalue()


def test_a_terminal_gets_colour() -> None:
    """Where somebody watches, states strike the eye."""
    out = Terminal()

    Screen(as_json=False, out=out, err=io.StringIO()).show(None, (Span("stop", "bad"), " [red]now[/red] :smile:"))

    assert "\x1b[31mstop\x1b[0m" in out.getvalue()
    assert " [red]now[/red] :smile:" in out.getvalue()


def test_nobody_is_coloured_against_their_will(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR is obeyed on both streams."""
    monkeypatch.setenv("NO_COLOR", "1")
    out, err = Terminal(), Terminal()

    screen = Screen(as_json=False, out=out, err=err)
    screen.show(None, Span("stop", "bad"))
    screen.say(Span("stop", "bad"))

    assert ("stop\n", "stop\n") == (out.getvalue(), err.getvalue())


def test_talk_is_coloured_only_on_a_terminal() -> None:
    """The same words go into a log without escape sequences."""
    assert "\x1b[31mno\x1b[0m" == paint("no", "bad", Terminal())
    assert "no" == paint("no", "bad", io.StringIO())


def test_work_without_a_watcher_is_silent() -> None:
    """No spinner is written into a log."""
    err = io.StringIO()

    with Screen(as_json=False, out=io.StringIO(), err=err).working("reading"):
        pass

    assert "" == err.getvalue()


def test_values_that_are_no_json_are_refused() -> None:
    """A document with NaN could not be read by anybody."""
    screen = Screen(as_json=True, out=io.StringIO(), err=io.StringIO())

    with pytest.raises(ValueError, match="JSON"):
        screen.show({"value": float("nan")})
