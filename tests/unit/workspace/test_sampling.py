"""What the machine does becomes metrics of a run, and the run never depends on it."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

import stellwerk
from stellwerk.core.errors import Invalid, Unavailable
from stellwerk.workspace import sampling, telling
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings, read

BOX = Path(".stellwerk") / "outbox"


class ByHand:
    """A tick that a test moves: `once` returns when the reading has been taken."""

    def __init__(self) -> None:
        self._orders: queue.Queue[bool] = queue.Queue()
        self._ready = threading.Semaphore(0)

    def wait(self) -> bool:
        self._ready.release()
        return self._orders.get()

    def stop(self) -> None:
        self._orders.put(False)

    def once(self) -> None:
        self._ready.acquire()
        self._orders.put(True)
        self._ready.acquire()
        self._ready.release()


class Counting:
    """A machine of which each look says how many there were before."""

    def __init__(self, fails_at: int = -1) -> None:
        self.looks, self._fails_at = 0, fails_at

    def look(self) -> dict[str, float]:
        if self.looks == self._fails_at:
            raise RuntimeError("the driver is gone")
        self.looks += 1
        return {"cpu_utilization_percentage": float(self.looks - 1)}


@pytest.fixture
def rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rooms:
    """A workspace in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STELLWERK_ROOT", raising=False)
    monkeypatch.delenv("STELLWERK_SYSTEM_METRICS", raising=False)
    return Rooms(create(tmp_path, Settings(actor="anna")), Settings(actor="anna"))


@pytest.fixture
def begin(rooms: Rooms) -> Callable[..., telling.ActiveRun]:
    """Begins a run on a machine and a tick."""
    return lambda machine, tick: telling.ActiveRun(".", experiment="delay", outbox=BOX, machine=machine, tick=tick)


def test_readings_are_metrics_of_the_run(rooms: Rooms, begin: Callable[..., telling.ActiveRun]) -> None:
    """Each has the next step of its own; those of the script are not disturbed, and the end takes one more."""
    tick = ByHand()
    with begin(Counting, tick) as run:
        run.log(loss=1.0)
        tick.once()
        run.log(loss=0.5)
        tick.once()

    history = rooms.logbook.history(run.id, "system/cpu_utilization_percentage")
    assert [(0, 0.0), (1, 1.0), (2, 2.0)] == [(point.step, point.value) for point in history]
    assert [0, 1] == [point.step for point in rooms.logbook.history(run.id, "loss")]


def test_a_machine_that_cannot_be_read_ends_no_run(
    rooms: Rooms, begin: Callable[..., telling.ActiveRun], caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once, what was read stays, and the script goes on."""
    tick = ByHand()
    with begin(partial(Counting, fails_at=1), tick) as run:
        tick.once()
        tick.stop()
        run.log(loss=1.0)

    assert 1 == caplog.text.count("cannot be read any more")
    assert 1 == len(rooms.logbook.history(run.id, "system/cpu_utilization_percentage"))
    assert "finished" == rooms.logbook.get(run.id).run.status


def test_a_machine_that_is_not_found_ends_no_run(
    rooms: Rooms, begin: Callable[..., telling.ActiveRun], caplog: pytest.LogCaptureFixture
) -> None:
    """The script is not told by an exception."""

    def broken() -> sampling.Machine:
        raise OSError("no driver")

    with begin(broken, ByHand()) as run:
        run.log(loss=1.0)
    assert "no driver" in caplog.text
    assert "finished" == rooms.logbook.get(run.id).run.status


def test_a_machine_that_hangs_does_not_hold_the_end(
    rooms: Rooms, begin: Callable[..., telling.ActiveRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends without the reading, and what comes too late is dropped."""
    monkeypatch.setattr(sampling, "STOP_SECONDS", 0.01)
    free = threading.Event()

    class Hanging:
        def look(self) -> dict[str, float]:
            free.wait()
            return {"cpu_utilization_percentage": 1.0}

    run = begin(Hanging, ByHand())
    assert run.finish()
    free.set()
    assert "finished" == rooms.logbook.get(run.id).run.status
    assert () == rooms.logbook.get(run.id).metrics


def test_a_process_that_is_forked_off_reads_nothing(rooms: Rooms, begin: Callable[..., telling.ActiveRun]) -> None:
    """Its end does not wait for a thread that it does not have, and the parent goes on."""
    tick = ByHand()
    run = begin(Counting, tick)
    child = os.fork()
    if child == 0:
        run.finish()
        os._exit(0)
    assert (child, 0) == os.waitpid(child, 0)
    tick.once()
    assert run.finish()
    assert 2 == len(rooms.logbook.history(run.id, "system/cpu_utilization_percentage"))


def test_the_real_machine(rooms: Rooms) -> None:
    """Is read under MLflow's names, and at least once even if the run is shorter than a tick."""
    pytest.importorskip("psutil")
    with stellwerk.run(system=True) as run:
        pass

    found = {one.key: one.value for one in rooms.logbook.get(run.id).metrics}
    assert {
        "system/cpu_utilization_percentage",
        "system/system_memory_usage_megabytes",
        "system/system_memory_usage_percentage",
        "system/disk_usage_percentage",
        "system/disk_usage_megabytes",
        "system/disk_available_megabytes",
    } <= set(found)
    assert 0 < found["system/system_memory_usage_percentage"] < 100
    assert 0 <= found["system/cpu_utilization_percentage"] <= 100


def test_cards_say_what_they_can() -> None:
    """Under MLflow's names; what a card cannot say is left out, the rest is there."""
    pytest.importorskip("psutil")
    from stellwerk.tracking.adapters.machine import Cards

    class NoAnswer(Exception):  # as the library calls its own
        pass

    def power(handle: int) -> int:
        if handle == 1:
            raise NoAnswer
        return 90_000

    library = SimpleNamespace(
        NVMLError=NoAnswer,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=20e9, total=80e9),
        nvmlDeviceGetUtilizationRates=lambda _: SimpleNamespace(gpu=97),
        nvmlDeviceGetPowerUsage=power,
        nvmlDeviceGetEnforcedPowerLimit=lambda _: 300_000,
    )

    said = dict(Cards(library).look())

    assert {
        "gpu_0_memory_usage_percentage": 25.0,
        "gpu_0_memory_usage_megabytes": 20_000.0,
        "gpu_0_utilization_percentage": 97.0,
        "gpu_0_power_usage_watts": 90.0,
        "gpu_0_power_usage_percentage": 30.0,
        "gpu_1_memory_usage_percentage": 25.0,
        "gpu_1_memory_usage_megabytes": 20_000.0,
        "gpu_1_utilization_percentage": 97.0,
    } == said


@pytest.mark.parametrize(
    ("asked", "setting", "expected"),
    [(None, 0, 0), (None, 5, 5), (True, 0, 10), (True, 5, 5), (False, 5, 0), (2, 5, 2), (0.5, 0, 0.5)],
)
def test_what_the_script_says_comes_first(asked: bool | float | None, setting: float, expected: float) -> None:
    """Then the environment; without both there is nothing."""
    assert expected == sampling.seconds(asked, setting=setting)


@pytest.mark.parametrize("asked", [0, -1, 0.01, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(asked: float) -> None:
    """At once."""
    with pytest.raises(Invalid, match=r"at least 0\.1"):
        sampling.seconds(asked, setting=0)


@pytest.mark.parametrize("text", ["often", "-1", "0.01", "1e3", "nan", "10s"])
def test_a_setting_that_is_no_time_is_refused(text: str) -> None:
    """With what was expected."""
    with pytest.raises(Invalid, match="STELLWERK_SYSTEM_METRICS"):
        read({"STELLWERK_SYSTEM_METRICS": text})


@pytest.mark.parametrize(("text", "expected"), [("", 0.0), ("0", 0.0), ("10", 10.0), ("0.5", 0.5)])
def test_the_setting_is_in_seconds(text: str, expected: float) -> None:
    """Nothing and 0 are off."""
    assert expected == read({"STELLWERK_SYSTEM_METRICS": text}).system_metrics


def test_without_psutil(rooms: Rooms, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A script that asks is told what to install; one that only the environment asks runs without."""
    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.delitem(sys.modules, "stellwerk.tracking.adapters.machine", raising=False)
    with pytest.raises(Unavailable) as refused:
        stellwerk.run(system=True)
    assert "needs-extra" == refused.value.code
    assert "stellwerk[system]" in refused.value.hint

    monkeypatch.setenv("STELLWERK_SYSTEM_METRICS", "1")
    with stellwerk.run() as run:
        run.log(loss=1.0)
    assert "stellwerk[system]" in caplog.text
    assert ["loss"] == [one.key for one in rooms.logbook.get(run.id).metrics]


def test_nothing_is_loaded_for_runs_that_do_not_ask(rooms: Rooms) -> None:
    """Neither psutil nor another thread."""
    script = (
        "import sys, threading, stellwerk\n"
        "with stellwerk.run(): print('psutil' in sys.modules, [t.name for t in threading.enumerate()][1:])"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("False ['stellwerk ")
    assert 1 == shown.count("stellwerk")
