"""Every error ends in its exit code and in the same three lines."""

from __future__ import annotations

import errno
import json

import click
import pytest

from stellwerk.cli import exits
from stellwerk.core.errors import Bug, Conflict, Corrupt, Invalid, NotFound, Refused, StellwerkError, Unavailable
from stellwerk.releases.model import Outcome


@pytest.mark.parametrize(
    ("code", "kind"),
    [(2, Invalid), (4, NotFound), (5, Conflict), (6, Refused), (7, Corrupt), (8, Unavailable), (70, Bug)],
)
def test_each_class_has_the_exit_code_of_the_design(code: int, kind: type[StellwerkError]) -> None:
    """Scripts rely on these numbers."""
    assert code == exits.code_of(kind("it happened"))


def test_the_table_knows_every_class() -> None:
    """A class that nobody entered would become a bug."""
    assert set() == set(StellwerkError.__subclasses__()) - {kind for kind, _ in exits.BY_CLASS}


def test_verdicts_are_told_apart() -> None:
    """Clear, stop and unproven are 0, 1 and 3."""
    assert {"clear": 0, "stop": 1, "unproven": 3} == exits.BY_OUTCOME
    assert set(Outcome.__args__) == set(exits.BY_OUTCOME)  # type: ignore[attr-defined]


def test_an_error_is_shown_with_its_hint_and_code(capsys: pytest.CaptureFixture[str]) -> None:
    """What happened, what to do, and a word for machines, all on stderr."""
    code = exits.report(NotFound("no dataset 'x'", code="no-data", hint="add one"), as_json=False)

    assert (4, "", "error: no dataset 'x'\nhint: add one\ncode: no-data\n") == (code, *capsys.readouterr())


def test_an_error_as_json_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """The data stream stays empty, and the error can be read by a program."""
    exits.report(Refused("not clear\nreally", code="not-clear"), as_json=True)
    out, err = capsys.readouterr()

    assert "" == out
    assert {"error": "not clear\nreally", "code": "not-clear", "hint": ""} == json.loads(err)
    assert 1 == err.count("\n")


def test_a_message_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Names that come from files may hold escape sequences."""
    exits.report(Invalid("bad \x1b[2J\x07 name"), as_json=False)

    assert "error: bad \\x1b[2J\\x07 name\n" == capsys.readouterr().err.partition("code:")[0]


def test_an_unexpected_exception_is_a_bug_without_trace(capsys: pytest.CaptureFixture[str]) -> None:
    """One line says what it was; the trace is for those who ask."""
    code = exits.report(ZeroDivisionError("division by zero"), as_json=False)
    err = capsys.readouterr().err

    assert 70 == code
    assert "error: unexpected ZeroDivisionError: division by zero\n" in err
    assert "Traceback" not in err


def test_the_trace_is_shown_on_request(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With STELLWERK_DEBUG=1 it is clear where an error comes from."""
    monkeypatch.setenv("STELLWERK_DEBUG", "1")
    try:
        raise KeyError("inner")
    except KeyError as error:
        exits.report(error, as_json=False)

    err = capsys.readouterr().err
    assert "Traceback" in err
    assert __file__ in err


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("machine-refuses", OSError(errno.ENOSPC, "No space left on device")),
        ("missing-package", ModuleNotFoundError("No module named 'polars'", name="polars")),
        ("missing-package", ModuleNotFoundError("No module named 'uvicorn.config'", name="uvicorn.config")),
    ],
)
def test_what_the_machine_lacks_is_unavailable(code: str, error: Exception) -> None:
    """A full disk or a package that was not asked for is no bug."""
    shown = exits.described(error)

    assert (code, 8) == (shown.code, exits.code_of(shown))


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "gone"),
        ModuleNotFoundError("No module named 'stellwerk.x'", name="stellwerk.x"),
    ],
)
def test_what_we_forgot_is_a_bug(error: Exception) -> None:
    """A file or a module of our own that is missing is our fault."""
    assert 70 == exits.code_of(exits.described(error))


def test_usage_errors_speak_like_the_others() -> None:
    """Click's sentences become our messages, with a hint."""
    context = click.Context(click.Command("run"), info_name="stellwerk run")

    shown = exits.described(click.BadParameter("5 is too much.", ctx=context, param_hint="'--limit'"))

    assert ("invalid value for '--limit': 5 is too much", "usage") == (shown.message, shown.code)
    assert "`stellwerk run --help`" == shown.hint
