"""Executions that wait or are paused: what is said of them everywhere, and to whom."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import stellwerk as sw
from stellwerk.cli.main import main
from stellwerk.core.clock import ReplayClock
from stellwerk.core.errors import Conflict, Invalid, StellwerkError
from stellwerk.pipelines import engine
from stellwerk.pipelines.loading import find_pipelines, load
from stellwerk.pipelines.model import flat
from stellwerk.testing.worlds import served
from stellwerk.web.app import application
from stellwerk.workspace import operations as ops
from stellwerk.workspace.layout import find
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

FLOW = """
import stellwerk as sw


@sw.step
def note(text: str) -> str:
    return text


@sw.pipeline
def asked():
    return note(sw.wait_for_person("May it go?", about=note("this"), queue="editors", deadline="3d"))


@sw.pipeline
def outer(text: str = "this"):
    return note(asked()), note(text)


@sw.step
def gives_up() -> str:
    with sw.connect(".", actor="anna") as workspace:
        workspace.steer(workspace.executions(pipeline="ended")[0].id, "cancel")
    return "over"


@sw.pipeline
def ended():
    return note(gives_up())


@sw.pipeline
def later():
    return note(sw.wait_until("2h"))


@sw.pipeline
def told():
    return note(sw.wait_for_event("dataset.*", subject="dataset:flights"))


@sw.pipeline
def both():
    first = sw.wait_until("1h")
    return note(sw.wait_until("2h", after=first))
"""
GONE = 2**22 + 1
"""A number that no process has."""
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create(tmp_path, Settings(actor="anna"), clock="replay")
    (tmp_path / "pipeline.py").write_text(FLOW)
    clock(tmp_path).set(NOON)
    return tmp_path


def clock(folder: Path) -> ReplayClock:
    return ReplayClock(folder / ".stellwerk" / "clock.json")


def plan(folder: Path, name: str, **params: Any) -> Any:
    return find_pipelines(load(folder / "pipeline.py"))[name].plan(**params)


def listed(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[Any]:
    capsys.readouterr()
    assert 0 == main(["-w", str(folder), "--json", "runs", *words])
    found: list[Any] = json.loads(capsys.readouterr().out)
    return found


def test_what_waits_is_not_shown_as_running(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the answer of the command, in the list, and by whichever status one asks for."""
    with sw.connect(folder, actor="anna") as workspace:
        ran = workspace.run(plan(folder, "asked"))

    assert "waiting" == ran.run.status
    assert ["waiting"] == [one["status"] for one in listed(folder, capsys)]
    assert [ran.run.id] == [one["id"] for one in listed(folder, capsys, "--where", "status = 'waiting'")]
    assert [] == listed(folder, capsys, "--where", "status = 'running'")


def test_what_began_before_plans_knew_calls_goes_on(folder: Path) -> None:
    """From which calls of pipelines its steps come does not make another plan; another parameter does."""
    with sw.connect(folder, actor="anna") as workspace:
        ran = workspace.run(flat(plan(folder, "outer")))
        workspace.decide(workspace.inbox()[0].id, "approve")
        with pytest.raises(Invalid, match="began with another plan"):
            workspace.resume(ran.run.id, plan(folder, "outer", text="that"))
        ended = workspace.resume(ran.run.id, plan(folder, "outer")).run.status

    assert "finished" == ended


def test_what_is_paused_is_shown_as_paused_and_then_as_finished(folder: Path) -> None:
    """And again as running while it goes on."""
    with sw.connect(folder, actor="anna") as workspace:
        rooms = workspace._caller.rooms  # type: ignore[attr-defined]
        ran = workspace.run(plan(folder, "asked"))
        taken, _ = rooms.executions.take(ran.run.id, code=None, owner="", alive=lambda _owner: False)
        running = workspace.runs(f"run_id = '{ran.run.id}'")[0].status
        rooms.executions.leave(ran.run.id, taken.epoch, "paused")
        paused = workspace.runs("status = 'paused'")[0].status
        workspace.decide(workspace.inbox()[0].id, "approve")
        ended = workspace.resume(ran.run.id, plan(folder, "asked")).run.status

    assert ("running", "paused", "finished") == (running, paused, ended)


def test_a_cancelled_run_is_no_success(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what was done, and then that it was cancelled: a script does not go on."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(engine, "LOOK", 0.0)

    assert 5 == main(["run", "ended", "--json"])
    said = capsys.readouterr()
    assert "cancelled" == json.loads(said.out)["status"]
    assert "execution-cancelled" in said.err


def test_only_what_a_person_decides_leads_to_the_inbox(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a time or an event there is nothing to decide."""
    monkeypatch.chdir(folder)
    said = {}
    for name in ("asked", "later", "told"):
        assert 0 == main(["run", name])
        said[name] = "stellwerk inbox" in capsys.readouterr().err

    assert {"asked": True, "later": False, "told": False} == said


def test_what_lost_its_engine_is_cancelled_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what was under way inside it; an engine that works is asked, and ends it itself."""
    with sw.connect(folder, actor="anna") as workspace:
        rooms = workspace._caller.rooms  # type: ignore[attr-defined]
        ran = workspace.run(plan(folder, "asked"))
        executions, machine = rooms.executions, platform.node()
        executions.take(ran.run.id, code=None, owner=f"{machine}:{os.getpid()}", alive=lambda _owner: False)
        asked = workspace.steer(ran.run.id, "cancel")
        gone = rooms.runs.start(experiment="asked", name="note", kind="step", parent=ran.run.id)
        executions.take(ran.run.id, code=None, owner=f"{machine}:{GONE}", alive=lambda _owner: False)
        ended = workspace.steer(ran.run.id, "cancel")
        states = [workspace.runs(f"run_id = '{one}'")[0].status for one in (ran.run.id, gone.id)]

    assert ("running", "cancel") == (asked.status, asked.request)
    assert ("cancelled", "", "") == (ended.status, ended.request, ended.owner)
    assert ["interrupted", "interrupted"] == states
    assert 5 == main(["-w", str(folder), "cancel", ran.run.id])
    assert "execution-over" in capsys.readouterr().err


def test_a_run_says_for_what_it_waits(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The question with its case and deadline, the time, the entry of the ledger; and that it has come."""
    with sw.connect(folder, actor="anna") as workspace:
        runs = {name: workspace.run(plan(folder, name)).run.id for name in ("asked", "later", "told")}
        case = workspace.inbox()[0].id
        waits = {name: workspace.run_page(run).waits[0] for name, run in runs.items()}
        clock(folder).set(NOON + timedelta(hours=3))
        workspace.decide(case, "approve")
        over = [workspace.run_page(run).waits[0].over for run in runs.values()]

    assert ("person", "May it go?", case, "editors") == (
        waits["asked"].kind, waits["asked"].text, waits["asked"].case, waits["asked"].asked,
    )  # fmt: skip
    assert NOON + timedelta(days=3) == waits["asked"].until
    assert ("time", NOON + timedelta(hours=2)) == (waits["later"].kind, waits["later"].until)
    assert ("event", "dataset.* of dataset:flights", None) == (
        waits["told"].kind, waits["told"].text, waits["told"].until,
    )  # fmt: skip
    assert ["anna decided 'approve'", "the time has come", ""] == over
    capsys.readouterr()
    assert 0 == main(["-w", str(folder), "runs", runs["later"]])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "waits for wait-until a time until 2026-05-04 14:00 it is over: the time has come" in lines


def test_what_came_out_is_waited_for_no_more(folder: Path) -> None:
    """Of two waits in a row the second is told, once the first is over; of an execution that ended none."""
    with sw.connect(folder, actor="anna") as workspace:
        run = workspace.run(plan(folder, "both")).run.id
        clock(folder).set(NOON + timedelta(hours=1))
        again = workspace.resume(run, plan(folder, "both"))
        waits = [one.task for one in workspace.run_page(run).waits]
        clock(folder).set(NOON + timedelta(hours=4))
        workspace.resume(run, plan(folder, "both"))
        left = workspace.run_page(run).waits

    assert "waiting" == again.status
    assert ["wait-until-2"] == waits
    assert () == left


def test_the_same_question_is_told_of_every_execution_that_asks_it(folder: Path) -> None:
    """It is one case, whichever execution asked first."""
    with sw.connect(folder, actor="anna") as workspace:
        first, second = (workspace.run(plan(folder, "asked")).run.id for _ in range(2))
        waits = [workspace.run_page(run).waits[0] for run in (first, second)]

    assert waits[0] == waits[1]


def late(folder: Path, workspace: Any) -> tuple[str, str]:
    """A run whose question nobody decided in time, and its case."""
    run = workspace.run(plan(folder, "asked")).run.id
    case = workspace.inbox()[0].id
    clock(folder).set(NOON + timedelta(days=3))
    return run, case


def closed(workspace: Any, kind: str) -> list[tuple[str, Any]]:
    """What the ledger says of cases that nobody decides any more: which, and why."""
    entries = workspace._caller.rooms.book.entries(kinds=[kind])
    return [(one.subject, one.body["cause"]) for one in entries]


def test_nobody_decides_or_hands_on_after_the_deadline(folder: Path) -> None:
    """Until its last moment one does."""
    with sw.connect(folder, actor="anna") as workspace:
        _, case = late(folder, workspace)
        refused = []
        for change in (lambda: workspace.decide(case, "approve"), lambda: workspace.delegate(case, queue="others")):
            with pytest.raises(Conflict) as found:
                change()
            refused.append(found.value.code)
        clock(folder).set(NOON + timedelta(days=3, seconds=-1))
        decided = workspace.decide(case, "approve")

    assert ["case-overdue", "case-overdue"] == refused
    assert "2026-05-07T12:00:00" in found.value.message
    assert "decided" == decided.status


def test_what_is_overdue_is_not_open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can decide it, so nobody is asked; it is listed as expired, before and after somebody closes it."""
    monkeypatch.setattr("stellwerk.reviews.service.PORTION", 1)
    with sw.connect(folder, actor="anna") as workspace:
        _, case = late(folder, workspace)
        before = ([one.id for one in workspace.inbox()], [one.id for one in workspace.inbox(status="expired")])
        workspace.run(plan(folder, "asked"))
        after = ([one.id for one in workspace.inbox()], [one.id for one in workspace.inbox(status="expired")])
        status = workspace.inbox(status="expired")[0].status

    assert ([], [case]) == before
    assert ([f"{case}-2"], [case]) == after
    assert "expired" == status


def test_a_new_execution_asks_anew_after_the_deadline(folder: Path) -> None:
    """What was asked before stays refused for whoever asked it, however often it is resumed; its case is closed."""
    with sw.connect(folder, actor="anna") as workspace:
        first, old = late(folder, workspace)
        second = workspace.run(plan(folder, "asked"))
        opened = [case.id for case in workspace.inbox()]
        over = [workspace.run_page(run).waits[0] for run in (first, second.run.id)]
        failures = []
        for _ in range(2):
            with pytest.raises(StellwerkError) as failed:
                workspace.resume(first, plan(folder, "asked"))
            failures.append(failed.value.message)
        workspace.decide(opened[0], "approve")
        ended = workspace.resume(second.run.id, plan(folder, "asked")).run.status
        entries = closed(workspace, "case.expired")

    assert [f"{old}-2"] == opened
    assert ("waiting", "finished") == (second.status, ended)
    assert ([old, f"{old}-2"], [True, False]) == ([one.case for one in over], [bool(one.over) for one in over])
    assert NOON + timedelta(days=6) == over[1].until
    assert all(f"nobody decided case {old} by" in failure for failure in failures)
    assert [(f"case:{old}", f"run:{second.run.id}")] == entries


def test_what_failed_at_its_deadline_leaves_the_inbox(folder: Path) -> None:
    """Once it is resumed; and so it does where the question was asked again and again."""
    with sw.connect(folder, actor="anna") as workspace:
        run, case = late(folder, workspace)
        with pytest.raises(StellwerkError):
            workspace.resume(run, plan(folder, "asked"))
        left, entries = workspace.inbox(), closed(workspace, "case.expired")
        workspace.run(plan(folder, "asked"))
        clock(folder).set(NOON + timedelta(days=7))
        workspace.run(plan(folder, "asked"))
        again = [one.id for one in workspace.inbox()]

    assert ((), [(f"case:{case}", f"run:{run}")]) == (left, entries)
    assert [f"{case}-3"] == again


def test_what_is_cancelled_asks_nobody_any_more(folder: Path) -> None:
    """Unless another execution waits for the same; whoever executes the pipeline afterwards asks anew."""
    with sw.connect(folder, actor="anna") as workspace:
        first, second = (workspace.run(plan(folder, "asked")).run.id for _ in range(2))
        case = workspace.inbox()[0].id
        workspace.steer(first, "cancel")
        kept = [one.id for one in workspace.inbox()]
        workspace.steer(second, "cancel")
        left, entries = workspace.inbox(), closed(workspace, "case.withdrawn")
        with pytest.raises(Conflict) as refused:
            workspace.decide(case, "approve")
        third = workspace.run(plan(folder, "asked")).run.id
        workspace.decide(workspace.inbox()[0].id, "approve")
        ended = workspace.resume(third, plan(folder, "asked")).run.status

    assert ([case], ()) == (kept, left)
    assert [(f"case:{case}", f"run:{second}")] == entries
    assert "case-withdrawn" == refused.value.code
    assert "finished" == ended


def test_an_engine_that_is_cancelled_withdraws_its_cases(folder: Path) -> None:
    """As its execution ends in its own hands."""
    with sw.connect(folder, actor="anna") as workspace:
        rooms = workspace._caller.rooms  # type: ignore[attr-defined]
        run = workspace.run(plan(folder, "asked")).run.id
        taken, _ = rooms.executions.take(run, code=None, owner="", alive=lambda _owner: False)
        arguments = {"execution": run, "epoch": taken.epoch, "status": "cancelled"}
        workspace._caller.call(ops.leave_execution, arguments)
        left = workspace.inbox()

    assert () == left


def test_clients_of_mlflow_see_that_it_runs(folder: Path) -> None:
    """Their protocol knows nothing else; what they say in its words changes nothing."""
    with sw.connect(folder, actor="anna") as workspace:
        run = workspace.run(plan(folder, "asked")).run
        rooms: Rooms = workspace._caller.rooms  # type: ignore[attr-defined]
        client = TestClient(application(rooms, {}), base_url="http://localhost")
        root = "/api/2.0/mlflow/runs"
        found = {
            words: [
                one["info"]["status"]
                for one in client.post(
                    f"{root}/search",
                    json={"experiment_ids": [run.experiment], "filter": f"{words} AND kind = 'pipeline'"},
                ).json()["runs"]
            ]
            for words in ("status = 'RUNNING'", "status != 'RUNNING'", "status IN ('RUNNING', 'FAILED')")
        }
        client.post(f"{root}/update", json={"run_id": run.id, "status": "RUNNING"})
        page = client.get(f"/runs/{run.id}").text

    assert [["RUNNING"], [], ["RUNNING"]] == list(found.values())
    assert "waiting" == workspace_status(folder, run.id)
    assert "May it go?" in page
    assert "/cases/wait-" in page


def workspace_status(folder: Path, run: str) -> str:
    with sw.connect(folder, actor="anna") as workspace:
        return workspace.runs(f"run_id = '{run}'")[0].status


@pytest.mark.parametrize("status", ["waiting", "paused", "running", "scheduled"])
def test_no_client_ends_a_run_as_one_that_goes_on(folder: Path, status: str) -> None:
    """A run ends as finished, failed or interrupted; anything else is refused, and it stays open."""
    rooms = Rooms(find(folder), Settings(actor="anna"))
    try:
        with served(rooms) as address, sw.connect(address) as workspace:
            call = workspace._caller.call
            run = call(ops.start_run, {"experiment": "e", "name": "n", "kind": "step"})
            with pytest.raises(Invalid) as refused:
                call(ops.finish_run, {"run": run.id, "status": status})
            assert "running" == call(ops.get_run, {"run": run.id}).status
    finally:
        rooms.close()
    assert "status is not" in refused.value.message
