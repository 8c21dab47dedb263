"""`stellwerk triggers run` goes on with executions that waited, once what they waited for has come."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import stellwerk as sw
from stellwerk.cli.main import main
from stellwerk.core.clock import ReplayClock
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

FLOW = """
import stellwerk as sw


@sw.step
def note(text: str) -> str:
    return text


@sw.pipeline
def asked():
    return note(sw.wait_for_person("May it go?", about=note("this")))


@sw.pipeline
def later():
    return note(sw.wait_until("2h"))


@sw.pipeline
def told():
    with sw.after(sw.wait_for_event("trigger.added")):
        return note("it came")
"""
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STELLWERK_ACTOR", "anna")
    create(tmp_path, Settings(actor="anna"), clock="replay")
    (tmp_path / "pipeline.py").write_text(FLOW)
    clock(tmp_path).set(NOON)
    return tmp_path


def clock(folder: Path) -> ReplayClock:
    return ReplayClock(folder / ".stellwerk" / "clock.json")


def waits(capsys: pytest.CaptureFixture[str], pipeline: str) -> str:
    """A run that waits, begun as people begin it."""
    capsys.readouterr()
    assert 0 == main(["--json", "run", pipeline])
    said = json.loads(capsys.readouterr().out)
    assert "waiting" == said["status"]
    return str(said["run"]["id"])


def once(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[Any, str]:
    capsys.readouterr()
    assert 0 == main(["--json", "triggers", "run", "--once", *words])
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def status(run: str) -> str:
    with sw.connect(".", actor="anna") as workspace:
        return workspace.execution(run).status


def causes(run: str) -> list[str]:
    with sw.connect(".", actor="anna") as workspace:
        entries = workspace._caller.rooms.book.entries(kinds=["execution.taken"], subject=f"run:{run}")  # type: ignore[attr-defined]
        return [entry.body["cause"] for entry in entries]


def test_they_go_on_when_what_they_waited_for_has_come(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A decision, a time, an entry of the ledger; not before, and the ledger says what it was."""
    runs = {name: waits(capsys, name) for name in ("asked", "later", "told")}
    before, _ = once(capsys)
    with sw.connect(".", actor="anna") as workspace:
        case = workspace.inbox()[0].id
        workspace.decide(case, "approve", reason="canary")
        clock(folder).set(NOON + timedelta(hours=2))
        workspace.triggers.add("calm", "later", sw_event())
    after, said = once(capsys)
    again, _ = once(capsys)

    assert (0, 3, 0) == (before["continued"], after["continued"], again["continued"])
    assert {"done"} == {status(run) for run in runs.values()}
    assert [f"case:{case}"] == causes(runs["asked"])
    assert ["time:2026-05-04T14:00:00.000000Z"] == causes(runs["later"])
    assert causes(runs["told"])[0].startswith("entry:")
    assert "goes on: wait-for-person" in " ".join(said.split())
    assert "canary" not in said


def sw_event() -> Any:
    from stellwerk.triggers.model import OnEvent

    return OnEvent(event="caution")


def test_under_other_code_they_are_left_and_that_is_said_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the screen, in the ledger and where the run says for what it waits; a person can still go on with it."""
    run = waits(capsys, "later")
    clock(folder).set(NOON + timedelta(hours=2))
    (folder / "pipeline.py").write_text(FLOW.replace("return text", "return text.upper()"))
    first, said = once(capsys)
    second, silent = once(capsys)
    with sw.connect(".", actor="anna") as workspace:
        over = workspace.run_page(run).waits[0].over
        entries = list(workspace._caller.rooms.book.entries(kinds=["execution.passed-over"]))  # type: ignore[attr-defined]
    (folder / "pipeline.py").write_text(FLOW)

    assert (0, 0) == (first["continued"], first["failed"])
    assert "it began under other code" in " ".join(said.split())
    assert ("later" in said, "later" in silent, second["continued"]) == (True, False, 0)
    assert "the time has come; it began under other code, and so does not go on by itself" == over
    assert [(f"run:{run}", "time:2026-05-04T14:00:00.000000Z")] == [
        (one.subject, one.body["cause"]) for one in entries
    ]
    assert "waiting" == status(run)
    assert 0 == main(["resume", run])
    assert "done" == status(run)


def test_what_is_paused_or_of_another_project_is_left_alone(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """And so is a pipeline that this runner is not for."""
    run = waits(capsys, "later")
    clock(folder).set(NOON + timedelta(hours=2))
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "stellwerk.toml").write_text('[project]\npipeline = "other.py"\n')
    (elsewhere / "other.py").write_text(FLOW)
    others, _ = once(capsys, "--project", str(elsewhere))
    only, _ = once(capsys, "--only", "asked")
    with sw.connect(".", actor="anna") as workspace:
        workspace.steer(run, "pause")
    paused, _ = once(capsys)

    assert (0, 0, 0) == (others["continued"], only["continued"], paused["continued"])
    assert "waiting" == status(run)


def test_projects_with_files_of_the_same_name_go_on_with_their_own(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The runner of another project does not pass over an execution whose code it does not have."""
    (folder / "stellwerk.toml").write_text('[project]\nname = "ours"\npipeline = "pipeline.py"\n')
    run = waits(capsys, "later")
    clock(folder).set(NOON + timedelta(hours=2))
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "stellwerk.toml").write_text('[project]\nname = "theirs"\npipeline = "pipeline.py"\n')
    (elsewhere / "pipeline.py").write_text(FLOW.replace("return text", "return text.upper()"))
    others, said = once(capsys, "--project", str(elsewhere))
    ours, _ = once(capsys)

    assert (0, 1) == (others["continued"], ours["continued"])
    assert "later" not in said
    assert "done" == status(run)


def test_a_step_that_fails_afterwards_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what it said, and by the exit code; the refusal of a person is such a failure."""
    run = waits(capsys, "asked")
    with sw.connect(".", actor="anna") as workspace:
        workspace.decide(workspace.inbox()[0].id, "refuse")
    capsys.readouterr()

    assert 1 == main(["triggers", "run", "--once"])
    said = capsys.readouterr()
    assert "failed" in said.err
    assert "1 run, 1 of them went on, 1 failed" in said.out
    assert "failed" == status(run)
