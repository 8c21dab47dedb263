"""The whole command line in this process: what is typed, what is shown, how it ends."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import click
import pytest

from stellwerk.cli import beginning, viewing
from stellwerk.cli import main as entry
from stellwerk.cli.main import Terminated, main
from stellwerk.releases.declaration import parse

CSV = "at,origin,late\n" + "".join(
    f"2026-01-{1 + i % 28:02d}T08:00:00Z,{'JFK' if i % 3 else 'EWR'},{i % 2}\n" for i in range(60)
)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test in its own empty folder, with an environment that says nothing."""
    for name in [name for name in os.environ if name.startswith("STELLWERK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STELLWERK_ACTOR", "anna")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A workspace with one dataset."""
    (tmp_path / "flights.csv").write_text(CSV)
    assert 0 == main(["init", "--name", "flights"])
    assert 0 == main(["data", "add", "flights", "flights.csv"])
    capsys.readouterr()
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """The JSON of a command that ends well."""
    assert 0 == main([*arguments, "--json"])
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("hint", "arguments"),
    [
        ("did you mean `stellwerk prove`", ["prvoe"]),
        ("did you mean `stellwerk data add`?", ["data", "ad"]),
        ("did you mean --limit?", ["runs", "--limt", "3"]),
        ("`stellwerk prove --help`", ["prove"]),
        ("`stellwerk --help`", ["zzz"]),
        ("`stellwerk runs --help`", ["runs", "--limit", "0"]),
    ],
)
def test_a_slip_is_answered_with_the_nearest_command(
    hint: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Usage errors are exit code 2, on stderr, in the style of all errors."""
    code = main(arguments)
    out, err = capsys.readouterr()

    assert (2, "") == (code, out)
    assert err.startswith("error: ")
    assert f"hint: {hint}" in err


def test_alone_it_says_what_it_can(capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody who types only the name wants help, and made no mistake."""
    assert 0 == main([])
    assert "From proof to signal:" in capsys.readouterr().out
    assert 0 == main(["data"])
    assert "stellwerk data add" in capsys.readouterr().out


def test_without_a_workspace_it_says_how_to_make_one(capsys: pytest.CaptureFixture[str]) -> None:
    """And `next` is no error, because that is its answer."""
    assert 4 == main(["runs"])
    assert "hint: `stellwerk init` makes one\n" in capsys.readouterr().err
    assert "stellwerk init" == shown(capsys, "next")["command"]


def test_the_shared_options_may_stand_anywhere(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before and after the command; what is said last counts."""
    for arguments in (
        ["--json", "-w", str(here), "data", "ls"],
        ["data", "--json", "-w", str(here), "ls"],
        ["-w", "/nowhere", "data", "ls", "--json", "--workspace", str(here)],
    ):
        assert 0 == main(arguments)
        assert "flights" == json.loads(capsys.readouterr().out)[0]["name"]


def test_the_environment_says_what_nobody_typed(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """STELLWERK_ROOT, STELLWERK_JSON and the twins of options; what is typed wins."""
    monkeypatch.chdir("/")
    monkeypatch.setenv("STELLWERK_ROOT", str(here))
    monkeypatch.setenv("STELLWERK_JSON", "1")
    monkeypatch.setenv("STELLWERK_DATA_LS_ALL", "1")

    assert 0 == main(["data", "ls"])
    assert 1 == len(json.loads(capsys.readouterr().out))
    assert 4 == main(["-w", "/", "data", "ls"])


def test_data_goes_in_and_comes_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Add, list, compare; the contract is a draft until it is confirmed, and then it is kept."""
    (here / "more.csv").write_text(CSV.replace("JFK", "LGA"))

    first = shown(capsys, "data", "contract", "flights")
    assert "confirmed" == shown(capsys, "data", "contract", "flights", "--confirm")["status"]
    code = main(["data", "add", "flights", "more.csv", "--partition", "2"])
    err = capsys.readouterr().err
    same = shown(capsys, "data", "ls", "--all")

    assert "draft" == first["status"]
    assert 6 == code
    assert "code: contract-broken" in err
    assert "LGA" in err
    assert 1 == len(same)


def test_a_new_version_shows_what_changed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows are counted, and people read it as well as programs."""
    (here / "more.csv").write_text(CSV)
    assert 2 == shown(capsys, "data", "add", "flights", "more.csv", "--partition", "2")["version"]

    assert 60 == shown(capsys, "data", "diff", "flights", "1", "2")["rows_added"]
    assert 0 == main(["data", "diff", "flights", "1", "2"])
    assert "rows        60 → 120\nadded       60\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (4, ["data", "add", "x", "nofile.csv"]),
        (4, ["data", "contract", "nope"]),
        (4, ["data", "diff", "flights", "1", "9"]),
        (2, ["data", "diff", "flights", "one", "two"]),
        (4, ["prove", "nope"]),
        (4, ["release", "nope"]),
        (4, ["renew", "nope"]),
        (4, ["assess", "nope"]),
        (4, ["stop", "nope", "--why", "x"]),
        (2, ["stop", "nope"]),
        (4, ["runs", "01nope"]),
        (2, ["runs", "--where", "metrics.auc >"]),
        (2, ["runs", "--order", "auc DOWN"]),
        (4, ["inbox", "decide", "01nope", "yes"]),
        (4, ["models", "nope"]),
        (4, ["models", "nope@champion", "--as-of", "2026-01-01"]),
        (4, ["alias", "nope@1", "champion"]),
        (4, ["alias", "nope@champion", "--remove"]),
        (2, ["alias", "nope"]),
        (2, ["alias", "nope", "--remove"]),
        (4, ["compare", "a", "b"]),
        (2, ["compare", "a"]),
        (2, ["compare", "a@1", "01kc4v3n0w5x8y2z6q7r9s1t3v"]),
        (4, ["compare", "01kc4v3n0w5x8y2z6q7r9s1t3v", "01kc4v3n0w5x8y2z6q7r9s1t3w"]),
        (4, ["dossier", "nope"]),
        (4, ["run"]),
        (4, ["run", "--file", "nope.py"]),
        (4, ["serve", "nope", "--port", "0"]),
        (6, ["up", "--host", "0.0.0.0"]),
        (6, ["serve", "x", "--host", "example.org"]),
        (5, ["init"]),
        (2, ["init", "-w", "http://localhost"]),
        (2, ["up", "-w", "http://localhost"]),
        (8, ["runs", "-w", "http://127.0.0.1:1"]),
        (2, ["runs", "-w", "ftp://x"]),
        (4, ["-w", "typo", "runs"]),
    ],
)
def test_every_mistake_has_its_exit_code(
    here: Path, code: int, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing on stdout, an error with a code on stderr, and never a trace."""
    found = main(arguments)
    out, err = capsys.readouterr()

    assert (code, "") == (found, out)
    assert "error: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs"],
        ["models"],
        ["board"],
        ["inbox"],
        ["inbox", "flights"],
        ["inbox", "list"],
        ["verify"],
        ["fsck"],
        ["next"],
        ["data", "ls"],
    ],
)
def test_an_empty_project_can_be_looked_at(
    here: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """For people and for programs, and no command needs the other."""
    assert 0 == main(arguments)
    text = capsys.readouterr().out
    assert 0 == main([*arguments, "--json"])
    json.loads(capsys.readouterr().out)

    assert text.strip()
    assert "\x1b" not in text


def test_the_next_step_leads_from_nothing_to_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Workspace, data, pipeline, run: one after the other."""
    steps = []
    steps.append(shown(capsys, "next")["command"])
    main(["init"])
    capsys.readouterr()
    steps.append(shown(capsys, "next")["command"])
    (tmp_path / "flights.csv").write_text(CSV)
    main(["data", "add", "flights", "flights.csv"])
    capsys.readouterr()
    no_file = shown(capsys, "next")["step"]
    (tmp_path / "pipeline.py").write_text("import stellwerk as sw\n")
    steps.append(shown(capsys, "next")["command"])

    assert ["stellwerk init", "stellwerk data add NAME FILE", "stellwerk run"] == steps
    assert "write one in pipeline.py" in no_file


def test_the_example_of_init_is_a_valid_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is written only when asked for, and never over another."""
    assert 0 == main(["init", "plain"])
    assert 0 == main(["init", "with", "--example", "--name", "flights"])
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "stellwerk.toml").write_text("# mine\n")
    assert 0 == main(["init", "kept", "--example"])

    assert not (tmp_path / "plain" / "stellwerk.toml").exists()
    assert "# mine\n" == (tmp_path / "kept" / "stellwerk.toml").read_text()
    project = parse((tmp_path / "with" / "stellwerk.toml").read_text())
    assert ["example"] == list(project.endpoints)
    assert beginning.EXAMPLE == (tmp_path / "with" / "stellwerk.toml").read_text()


def _over(stopped: BaseException, error: Exception) -> Exception:
    """An error that was raised while somebody cleaned up after an interrupt."""
    error.__context__ = stopped
    return error


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (130, KeyboardInterrupt()),
        (143, Terminated(signal.SIGTERM)),
        (129, Terminated(signal.SIGHUP)),
        (130, _over(KeyboardInterrupt(), RuntimeError("release unlocked lock"))),
        (143, _over(Terminated(signal.SIGTERM), OSError("no space left"))),
        (70, ZeroDivisionError("x")),
    ],
)
def test_whatever_is_raised_becomes_an_exit_code(
    code: int, error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C, a signal, a bug: a line on stderr, and the number that shells expect."""

    def fail(_session: object) -> None:
        raise error

    monkeypatch.setattr(viewing, "_next", fail)

    assert code == main(["next"])
    out, err = capsys.readouterr()
    assert ("", True) == (out, "Traceback" not in err)


def test_json_errors_are_json_even_when_the_line_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """A program that asked for JSON gets JSON."""
    assert 2 == main(["--json", "prvoe"])
    assert 2 == main(["runs", "--jsn", "--json"])

    errors = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert ["unknown-command", "usage"] == [error["code"] for error in errors]


def test_openmp_is_told_to_wait_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything heavy is loaded; what somebody set is left alone."""
    monkeypatch.setattr(entry, "_perform", lambda *_: 0)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    main([])
    first = os.environ["OMP_WAIT_POLICY"]
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    main([])

    assert ("PASSIVE", "ACTIVE") == (first, os.environ["OMP_WAIT_POLICY"])


def test_the_version_is_the_packages_own(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, for bug reports."""
    from stellwerk import __version__

    assert 0 == main(["--version"])
    assert f"stellwerk {__version__}\n" == capsys.readouterr().out


def test_inbox_knows_its_commands_from_endpoints(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`inbox X` lists X; `inbox decide` decides; options may stand before both."""
    assert [] == shown(capsys, "inbox", "-w", str(here), "decid")
    assert [] == shown(capsys, "inbox", "list", "decide")
    assert 2 == main(["inbox", "decide"])
    assert "missing argument CASE" in capsys.readouterr().err
    assert 0 == main(["inbox", "--help"])
    assert "Commands:" in capsys.readouterr().out


def test_click_errors_of_other_kinds_are_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that click cannot open is the user's to correct."""

    def fail(_session: object) -> None:
        raise click.FileError("x.csv", hint="is a folder")

    monkeypatch.setattr(viewing, "_next", fail)

    assert 2 == main(["next"])
    assert "code: usage" in capsys.readouterr().err
