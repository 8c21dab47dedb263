"""Logging from a script: what was made durable arrives, once, whatever happens to the script or the workspace."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import stellwerk
from stellwerk.core.errors import Conflict, Invalid, NotFound, Unavailable
from stellwerk.testing import worlds
from stellwerk.tracking.adapters.outbox import Outbox, held
from stellwerk.workspace import telling
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

BOX = Path(".stellwerk") / "outbox"


@pytest.fixture
def rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rooms:
    """A workspace in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STELLWERK_ACTOR", "anna")
    monkeypatch.delenv("STELLWERK_ROOT", raising=False)
    return Rooms(create(tmp_path, Settings(actor="anna")), Settings(actor="anna"))


def test_a_script_logs_a_run(rooms: Rooms) -> None:
    """Metrics with and without steps, parameters, tags, the end; nothing stays behind on this machine."""
    with stellwerk.run("fit", experiment="delay", params={"depth": 6, "rate": 0.1}, tags={"team": "risk"}) as run:
        for step in range(3):
            stellwerk.log(loss=1 / (step + 1))
        run.log({"val/loss": math.nan}, step=7)
        run.tag(note="good")
    found = rooms.logbook.get(run.id)
    assert ("fit", "finished", "delay") == (
        found.run.name,
        found.run.status,
        rooms.experiments.get(found.run.experiment).name,
    )
    assert {"depth": "6", "rate": "0.1"} == found.run.params
    assert ("risk", "good") == (found.run.tags["team"], found.run.tags["note"])
    assert [(0, 1.0), (1, 0.5), (2, 1 / 3)] == [(p.step, p.value) for p in rooms.logbook.history(run.id, "loss")]
    assert [7] == [point.step for point in rooms.logbook.history(run.id, "val/loss")]
    assert [] == held(BOX)
    assert rooms.book.entries(subject=f"run:{run.id}")[-1].body["rows"]


def test_a_run_that_fails_says_so(rooms: Rooms) -> None:
    """By the exception that ended it."""
    for error, status in ((ValueError, "failed"), (KeyboardInterrupt, "interrupted")):
        with pytest.raises(error), stellwerk.run() as run:
            raise error
        assert status == rooms.logbook.get(run.id).run.status


def test_bad_input_is_said_at_once(rooms: Rooms) -> None:
    """Names and values are judged where they are given, and no run is not a run."""
    with pytest.raises(Invalid, match="there is no run to log to"):
        stellwerk.log(loss=1.0)
    with stellwerk.run() as run:
        with pytest.raises(Invalid):
            run.log({"../loss": 1.0})
        with pytest.raises(ValueError, match="could not convert"):
            run.log(loss="low")  # type: ignore[arg-type]
        with pytest.raises(Invalid):
            run.tag(**{"a//b": "c"})
    assert not rooms.logbook.get(run.id).metrics
    with pytest.raises(NotFound):
        stellwerk.run(workspace="/")


def test_what_contradicts_itself_is_kept_and_told(rooms: Rooms, caplog: pytest.LogCaptureFixture) -> None:
    """A parameter said twice: the rest arrives, the file stays for people to look at."""
    run = stellwerk.run(params={"depth": 6})
    run.params(depth=7)
    run.log(loss=1.0)
    assert not run.finish()
    assert "Changing param values" in caplog.text
    assert [f"{run.id}.rejected"] == sorted(path.name for path in BOX.iterdir())
    assert ({"depth": "6"}, 1) == (rooms.logbook.get(run.id).run.params, len(rooms.logbook.history(run.id, "loss")))


def test_offline_and_later(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent until it is asked for, and then once."""
    monkeypatch.setenv("STELLWERK_OFFLINE", "1")
    with stellwerk.run("away") as run:
        run.log(loss=1.0)
    with pytest.raises(NotFound):
        rooms.logbook.get(run.id)
    assert [run.id] == held(BOX)
    assert {run.id: 3} == telling.send()
    assert {} == telling.send()
    assert "finished" == rooms.logbook.get(run.id).run.status


def test_a_server_that_is_away(rooms: Rooms, caplog: pytest.LogCaptureFixture) -> None:
    """The script goes on and ends; what it logged is sent when the server is there."""
    gone = "http://127.0.0.1:9"
    run = telling.ActiveRun(gone, experiment="delay", outbox=Path("box"))
    run.log(loss=1.0)
    assert not run.finish(seconds=0.5)
    assert "stellwerk runs --send" in caplog.text
    with pytest.raises(Unavailable):
        telling.send(gone, outbox=Path("box"))
    with worlds.served(rooms) as url:
        telling.send(url, outbox=Path("box"))
        with telling.ActiveRun(url, experiment="delay", outbox=Path("box")) as second:
            second.log(loss=0.5)
    assert [1.0] == [point.value for point in rooms.logbook.history(run.id, "loss")]
    assert [0.5] == [point.value for point in rooms.logbook.history(second.id, "loss")]
    assert [] == held(Path("box"))


SCRIPT = """
import sys, stellwerk
run = stellwerk.run("fit")
print(run.id, flush=True)
step = 0
while True:
    for _ in range(50):
        run.log(loss=float(step), step=step)
        step += 1
    run.flush()
    print(step, flush=True)
"""


@pytest.mark.parametrize("rounds", [1, 7, 40])
def test_a_script_that_is_killed_loses_nothing_durable(rooms: Rooms, rounds: int) -> None:
    """Every point that `flush` acknowledged is there once, and the run is ended as interrupted."""
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(SCRIPT)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    run = process.stdout.readline().strip()
    for _ in range(rounds):
        acknowledged = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    telling.send()
    steps = [point.step for point in rooms.logbook.history(run, "loss")]
    assert steps == list(range(len(steps)))
    assert len(steps) >= acknowledged
    assert "interrupted" == rooms.logbook.get(run).run.status
    assert [] == held(BOX)


def test_a_torn_record_is_cut_off(tmp_path: Path) -> None:
    """What a power cut leaves half-written was never acknowledged; what came before is read, and what comes after."""
    box = Outbox(tmp_path, "run")
    box.append({"kind": "log", "tags": {"a": "b"}}, b"\x00\xff")
    box.close()
    with (tmp_path / "run.log").open("ab") as file:
        file.write(b"\x00\x00\x01\x00torn")
    box = Outbox(tmp_path, "run")
    box.append({"kind": "end"})
    assert [({"kind": "log", "tags": {"a": "b"}}, b"\x00\xff"), ({"kind": "end"}, b"")] == list(box.waiting())
    box.acknowledge()
    box.close()
    again = Outbox(tmp_path, "run")
    assert [({"kind": "end"}, b"")] == list(again.waiting())
    again.close()


def test_what_was_left_behind_is_sent_by_one_of_many(rooms: Rooms) -> None:
    """Many may look for it at once: nobody fails, nothing is ended twice, and nothing is left."""
    runs = []
    for number in range(24):
        run = stellwerk.run(f"left {number}", offline=True)
        run.log(loss=1.0)
        run.finish()
        runs.append(run.id)

    with ThreadPoolExecutor(6) as pool:
        sent = list(pool.map(lambda _: telling.send(), range(6)))

    assert sorted(runs) == sorted(run for one in sent for run in one)
    assert {"finished"} == {rooms.logbook.get(run).run.status for run in runs}
    assert [] == list(BOX.iterdir())


def test_what_has_been_sent_is_not_begun_again(tmp_path: Path) -> None:
    """Who comes too late makes no empty file of it; a new one is held from the moment at which others find it."""
    with pytest.raises(Conflict, match="has been sent"):
        Outbox(tmp_path, "run", begun=True)
    assert [] == list(tmp_path.iterdir())

    box = Outbox(tmp_path, "run")
    with pytest.raises(Conflict, match="at this moment"):
        Outbox(tmp_path, "run", begun=True)
    box.discard()
    box.close()
    assert [] == list(tmp_path.iterdir())


def test_a_full_disk_costs_nothing(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What could not be written waits, is told, and is written when there is room."""
    run = stellwerk.run("full", offline=True)
    real, full = Outbox.append, [True]

    def append(box: Outbox, says: dict[str, object], data: bytes = b"") -> None:
        if full[0]:
            raise Unavailable("the disk is full", code="disk-full")
        real(box, says, data)

    monkeypatch.setattr(Outbox, "append", append)
    run.log(loss=1.0)
    with pytest.raises(Unavailable):
        run.flush()
    full[0] = False
    run.log(loss=2.0)
    run.finish()
    telling.send()
    assert [1.0, 2.0] == [point.value for point in rooms.logbook.history(run.id, "loss")]


@pytest.mark.parametrize("step", [1.0, "1", 2**63, None])
def test_a_step_is_an_integer(rooms: Rooms, step: object) -> None:
    """Said at once, and the rest goes on."""
    with stellwerk.run() as run:
        run.log(loss=1.0)
        if step is not None:
            with pytest.raises(Invalid):
                run.log(loss=2.0, step=step)  # type: ignore[arg-type]
        run.log(loss=3.0)
    assert [1.0, 3.0] == [point.value for point in rooms.logbook.history(run.id, "loss")]


def test_a_run_that_has_ended_takes_nothing_more(rooms: Rooms) -> None:
    """Whoever goes on logging is told, and nothing is lost in silence."""
    with stellwerk.run("short") as run:
        run.log(loss=1.0)
    for late in (lambda: run.log(loss=2.0), lambda: run.params(depth=6), lambda: run.tag(note="late")):
        with pytest.raises(Conflict, match="'short' has already ended"):
            late()
    assert [1.0] == [point.value for point in rooms.logbook.history(run.id, "loss")]


def test_a_process_that_is_forked_off_leaves_the_run_alone(rooms: Rooms) -> None:
    """It neither logs nor ends it, and its end does not wait."""
    with stellwerk.run() as run:
        run.log(loss=1.0)
        child = os.fork()
        if child == 0:
            run.log(loss=9.0)
            run.flush()
            run.finish()
            os._exit(0)
        assert (child, 0) == os.waitpid(child, 0)
        run.log(loss=2.0)
    assert [1.0, 2.0] == [point.value for point in rooms.logbook.history(run.id, "loss")]


def test_an_experiment_in_the_bin_keeps_nobody_else_waiting(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that cannot begin is kept as rejected, and the others are sent."""
    monkeypatch.setenv("STELLWERK_OFFLINE", "1")
    binned = rooms.experiments.create("binned").id
    rooms.experiments.delete(binned)
    runs = []
    for experiment in ("binned", "fine"):
        with stellwerk.run(experiment=experiment) as run:
            run.log(loss=1.0)
        runs.append(run.id)
    telling.send()
    assert 1 == len(rooms.logbook.history(runs[1], "loss"))
    assert [f"{runs[0]}.rejected"] == sorted(path.name for path in BOX.glob("*.rejected"))
    assert [] == held(BOX)
