"""Workers elsewhere: they pull attempts by lease, and what a worker says whose lease is over is no result."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import stellwerk as sw
from stellwerk.core.clock import ReplayClock
from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Conflict
from stellwerk.pipelines.adapters.in_process import InProcess
from stellwerk.pipelines.adapters.pool import forks
from stellwerk.pipelines.adapters.subprocess import Subprocess
from stellwerk.pipelines.loading import find_pipelines, load
from stellwerk.pipelines.model import Attempt, Encoded, Failure, Outcome, Resources
from stellwerk.pipelines.offers import LEASE, Offers
from stellwerk.pipelines.ports import Executor
from stellwerk.pipelines.values import STANDARD
from stellwerk.store import service as trees
from stellwerk.testing.executors import ExecutorContract
from stellwerk.testing.fakes import MemoryBlobs, StandingClock
from stellwerk.workspace import operations as ops
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings
from stellwerk.workspace.workers import forms
from stellwerk.workspace.workers.offering import AWAITED, Workers
from stellwerk.workspace.workers.working import Worker

FLOW = """
import helper
import stellwerk as sw


@sw.step
def numbers(count: int) -> list[int]:
    return list(range(count))


@sw.step(retries=1)
def square(x: int) -> int:
    print("squaring", x)
    return helper.times(x, x)


@sw.step
def total(values: list[int]) -> int:
    return sum(values)


@sw.step
def breaks(value: int) -> int:
    raise LookupError("no such flight")


@sw.pipeline
def squares(count: int = 4):
    with sw.each(numbers(count)) as n:
        one = square(n)
    return total(one)


@sw.step(resources=sw.Resources(cpus=0.5, custom={"licence": 1}))
def licensed(x: int) -> int:
    return x + 1


@sw.pipeline
def licences():
    with sw.each(numbers(3)) as n:
        one = licensed(n)
    return total(one)


@sw.pipeline
def broken():
    return breaks(total(numbers(2)))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create(tmp_path, Settings(actor="anna"))
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / "helper.py").write_text("def times(a, b):\n    return a * b\n")
    return tmp_path


@pytest.fixture
def worker(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """A worker that starts in an empty folder: what it needs comes from the workspace."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    process = subprocess.Popen(
        [sys.executable, "-m", "stellwerk", "-w", str(folder), "worker", "--on", "pool:2", "--resource", "licence=1"],
        cwd=elsewhere, env={**os.environ, "STELLWERK_ACTOR": "anna"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield process
    process.terminate()
    process.communicate()


WORKER = """
    import sys
    import threading

    import stellwerk as sw
    from stellwerk.pipelines.adapters.pool import Pool
    from stellwerk.pipelines.stock import Stock
    from stellwerk.workspace.workers.working import Worker

    def pause(seconds):
        threading.Event().wait(seconds / 50)

    with sw.connect(sys.argv[1], actor="anna") as workspace:
        pool = Pool(workers=2, grace=0.3, stock=Stock(custom={"licence": 1}))
        Worker(workspace._caller, pool, name="w", beat=0.1, pause=pause).work()
"""
"""A worker that looks and is heard of more often than others."""


@dataclass
class Place:
    """A workspace whose time stands still until it is moved, and a worker of it."""

    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        command = [sys.executable, "-c", textwrap.dedent(WORKER), str(self.folder)]
        self.processes.append(subprocess.Popen(command, cwd=elsewhere))

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("place"))
    create(made.folder, Settings(actor="anna"), clock="replay")
    made.start()
    yield made
    made.end()


class Runs(Workers):
    """The executor of a run for each attempt: the code is kept when it begins, and goes along."""

    def start(self, attempt: Attempt) -> None:
        files = {path.name: path.read_bytes() for path in Path(attempt.file).parent.glob("*.py")}
        self._sources = trees.put_files(self._caller.blobs, files)
        super().start(attempt)


@pytest.mark.skipif(not forks(), reason="this system has no fork server")
class TestWorkers(ExecutorContract):
    takes_folder = False
    takes_variables = False
    at_once = False

    @pytest.fixture
    def executor(self, place: Place) -> Iterator[Executor]:
        with sw.connect(place.folder, actor="anna") as workspace:
            executor = Runs(workspace._caller, f"e{next(self.ids)}", "", scarce=("licence",))
            self.place = place
            yield executor
            executor.close()

    def room(self, executor: Executor) -> int:
        return 2

    def licences(self, executor: Executor) -> int:
        return 1

    def lose(self, executor: Executor) -> bool:
        """The worker is killed, and the time of its lease goes by; another one comes."""
        self.place.end()
        clock = ReplayClock(self.place.folder / ".stellwerk" / "clock.json")
        clock.set(clock.now() + LEASE + timedelta(seconds=1))
        self.place.start()
        return True


def test_an_edited_file_changes_no_run_that_has_begun(place: Place, tmp_path: Path) -> None:
    """The code that goes along is that with which the run began."""
    file = tmp_path / "edited_steps.py"
    file.write_text("def step():\n    return 1\n", "utf-8")
    with sw.connect(place.folder, actor="anna") as workspace:
        sources = trees.put_files(workspace._caller.blobs, {file.name: file.read_bytes()})
        file.write_text("def step():\n    return 2\n", "utf-8")
        engine = Workers(workspace._caller, "edited", sources)
        engine.start(Attempt(id="a", node="step", function="edited_steps:step", file=str(file)))
        ended = engine.wait(60.0)
        engine.close()

    assert ended is not None
    assert isinstance(ended.outcome, Outcome), ended
    assert 1 == STANDARD.decode(ended.outcome.outputs["value"])


def plan(folder: Path, name: str) -> Any:
    return find_pipelines(load(folder / "flow.py"))[name].plan()


def test_steps_run_at_a_worker(folder: Path, worker: subprocess.Popen[str]) -> None:
    """With code, inputs and outputs from the store alone; the keys are those of this machine."""
    with sw.connect(folder, actor="anna") as workspace:
        there = workspace.run(plan(folder, "squares"), on="workers")
        here = workspace.run(plan(folder, "squares"))
        log = workspace._caller.blobs.get(workspace.runs("attributes.run_name = 'square[3]'")[-1].log)  # type: ignore[arg-type]

    assert b"squaring 3\n" == log
    assert ("done", "done") == (there.status, here.status)
    assert here.cached
    assert there.report.results == here.report.results


def test_a_step_that_takes_a_licence_runs_where_one_is(folder: Path, worker: subprocess.Popen[str]) -> None:
    """The engine needs none: what there is, the workers say."""
    with sw.connect(folder, actor="anna") as workspace:
        ran = workspace.run(plan(folder, "licences"), on="workers")

    assert "done" == ran.status


def test_a_step_that_fails_at_a_worker_fails_as_it_does_here(folder: Path, worker: subprocess.Popen[str]) -> None:
    """With the message and the frames of the user's own code."""
    seen: list[Any] = []
    with sw.connect(folder, actor="anna") as workspace, pytest.raises(sw.StellwerkError) as failed:
        workspace.run(plan(folder, "broken"), on="workers", watch=seen.append)

    assert "LookupError: no such flight" in failed.value.message
    traceback = next(event.failure.traceback for event in seen if event.kind == "node-failed")
    assert "in breaks" in traceback


@pytest.fixture
def offers(folder: Path) -> Iterator[tuple[Offers, StandingClock, Any]]:
    clock = StandingClock()
    with sw.connect(folder, actor="anna") as workspace:
        rooms = workspace._caller.rooms  # type: ignore[attr-defined]
        yield Offers(rooms.book, clock), clock, rooms.blobs.put(b"document")


def test_an_attempt_goes_to_one_worker(offers: tuple[Offers, StandingClock, Any]) -> None:
    """The most urgent first, then the oldest; never one that the worker has no room for."""
    shelf, clock, document = offers
    for name, priority in (("a", 0), ("b", 5), ("c", 0)):
        clock.advance(timedelta(seconds=1))
        shelf.offer("e", name, document=document, needs={"cpus": 1}, priority=priority)
    shelf.offer("e", "gpu", document=document, needs={"gpus": 1}, priority=9)

    claimed = [shelf.claim(worker, {"cpus": 1}) for worker in ("w1", "w2", "w1", "w2")]

    assert ["b", "a", "c", None] == [one and one.attempt for one in claimed]
    assert "gpu" == shelf.claim("w3", {"gpus": 1}).attempt  # type: ignore[union-attr]


def test_an_attempt_waits_for_a_worker_that_has_what_it_takes(offers: tuple[Offers, StandingClock, Any]) -> None:
    """Of memory and CPUs a worker may have less, and give all; of licences not."""
    shelf, _, document = offers
    shelf.offer("e", "a", document=document, needs={"cpus": 64, "memory": 2.0**40, "licence": 1})

    others = [shelf.claim("w1", {"cpus": 1}), shelf.claim("w2", {"cpus": 1, "memory": 1, "licence": 0.5})]

    assert [None, None] == others
    assert "a" == shelf.claim("w3", {"cpus": 1, "memory": 1, "licence": 1}).attempt  # type: ignore[union-attr]


def test_a_worker_that_is_not_heard_of_has_lost_its_attempt(offers: tuple[Offers, StandingClock, Any]) -> None:
    """The engine hears that it is lost, once; what the worker says later is refused."""
    shelf, clock, document = offers
    shelf.offer("e", "a", document=document, needs={})
    claimed = shelf.claim("w1", {})
    assert claimed is not None
    clock.advance(LEASE / 2)
    shelf.beat(claimed.id, claimed.epoch)
    clock.advance(LEASE)
    assert [] == shelf.collect("e")  # exactly as long as the lease is
    clock.advance(timedelta(seconds=1))

    lost = shelf.collect("e")

    assert [("a", "withdrawn", None)] == [(one.attempt, one.status, one.outcome) for one in lost]
    assert [] == shelf.collect("e")
    for late in (
        lambda: shelf.end(claimed.id, claimed.epoch, document),
        lambda: shelf.beat(claimed.id, claimed.epoch),
    ):
        with pytest.raises(Conflict) as refused:
            late()
        assert "lease-lost" == refused.value.code


def test_what_nobody_needs_is_taken_back(offers: tuple[Offers, StandingClock, Any]) -> None:
    """Offered or claimed; other executions keep theirs."""
    shelf, _, document = offers
    for execution, name in (("e", "a"), ("e", "b"), ("f", "a")):
        shelf.offer(execution, name, document=document, needs={})

    assert 1 == shelf.withdraw("e", ["b"])
    assert 1 == shelf.withdraw("e")
    assert "f" == shelf.claim("w", {}).execution  # type: ignore[union-attr]


def test_attempts_and_outcomes_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Values pass by digest; nothing of the engine's machine does."""
    blobs = MemoryBlobs()
    value = Encoded(media="application/json", data=b"[1]")
    value = Encoded(media=value.media, data=value.data, digest=blobs.put(value.data))
    attempt = Attempt(
        id="a@1", task="a", node="a", function="flow:total", file="/somewhere/flow.py", inputs={"values": (value,)}
    )
    (tmp_path / "flow.py").write_text("")

    document = forms.written(attempt, "sha256:" + "0" * 64)
    again = forms.read(document, blobs.get, tmp_path)

    assert b"/somewhere" not in document
    assert str(tmp_path / "flow.py") == again.file
    assert [(b"[1]", "application/json")] == [(one.data, one.media) for one in again.inputs["values"]]
    outcome = Outcome(outputs={"value": value}, log="hello", seconds=0.5)
    assert outcome == forms.heard(forms.told(outcome, blobs.put), blobs.get)
    failure = Failure(code="step-failed", message="no", traceback="…")
    assert failure == forms.heard(forms.told(failure, blobs.put), blobs.get)
    for wrong in (b"{}", b"[]", b'{"format":"stellwerk-attempt/1"}'):
        with pytest.raises(sw.Invalid):
            forms.heard(wrong, blobs.get)


@pytest.fixture
def standing(tmp_path: Path) -> Iterator[tuple[Any, ReplayClock]]:
    """The caller of a workspace whose time stands still, and its clock."""
    create(tmp_path, Settings(actor="anna"), clock="replay")
    with sw.connect(tmp_path, actor="anna") as workspace:
        yield workspace._caller, ReplayClock(tmp_path / ".stellwerk" / "clock.json")


@pytest.mark.parametrize("busy", [False, True])
def test_a_run_without_workers_is_told_once(standing: tuple[Any, ReplayClock], busy: bool) -> None:
    """When none was heard of for ten seconds; one that is busy with another execution is heard of."""
    caller, clock = standing
    told: list[str] = []
    if busy:
        caller.call(
            ops.offer_attempt, {"execution": "f", "attempt": "a", "document": caller.blobs.put(b"x"), "needs": {}}
        )
        caller.call(ops.claim_attempt, {"worker": "w", "capacity": {}})
    engine = Workers(caller, "e", "", alone=lambda: told.append("alone"))
    engine.start(Attempt(id="a", node="a", function="flow:total"))

    heard = []
    for _ in range(3):
        engine.wait(0.0)
        heard.append(len(told))
        clock.set(clock.now() + AWAITED)
    engine.close()

    assert ([0, 0, 0] if busy else [0, 1, 1]) == heard


def test_what_a_lost_engine_offered_is_withdrawn(standing: tuple[Any, ReplayClock]) -> None:
    """Whoever takes its execution over offers anew, and no worker takes on what nobody would collect."""
    caller, _ = standing
    document = caller.blobs.put(b"document")
    begun = {"pipeline": "flow", "plan": document, "code": document, "call": {}, "owner": ""}
    _, execution = caller.call(ops.begin_execution, begun)
    asked = {"execution": execution.id, "attempt": "a", "document": document, "needs": {}}
    caller.call(ops.offer_attempt, asked)
    claimed = caller.call(ops.claim_attempt, {"worker": "w", "capacity": {}})
    caller.call(ops.offer_attempt, {**asked, "attempt": "b"})

    caller.call(ops.take_execution, {"execution": execution.id, "owner": "another"})

    assert caller.call(ops.claim_attempt, {"worker": "w", "capacity": {}}) is None
    with pytest.raises(Conflict) as refused:
        caller.call(ops.beat_attempt, {"offer": claimed.id, "epoch": claimed.epoch})
    assert "lease-lost" == refused.value.code


class _Slow:
    """A caller whose store answers only once a worker has said that it lives, and one that is told of its end."""

    def __init__(self, caller: Any) -> None:
        self._caller, self.heard = caller, threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._caller, name)

    @property
    def blobs(self) -> Any:
        return self

    def get(self, digest: Any) -> bytes:
        assert self.heard.wait(20.0)
        return bytes(self._caller.blobs.get(digest))

    def put(self, data: bytes) -> Any:
        self.heard.clear()
        assert self.heard.wait(20.0)
        return self._caller.blobs.put(data)

    def call(self, operation: Any, arguments: dict[str, Any]) -> Any:
        answer = self._caller.call(operation, arguments)
        if operation is ops.beat_attempt:
            self.heard.set()
        return answer


def test_a_worker_lives_while_it_fetches_and_keeps(folder: Path) -> None:
    """Inputs and outputs that take longer than a lease lose no attempt."""
    params = {"argv": [sys.executable, "-c", "print(1)"], "params": {}, "outputs": {}, "environ": {}}
    attempt = Attempt(id="a", node="a", function="stellwerk.pipelines.commands:command", params=params)
    with sw.connect(folder, actor="anna") as workspace:
        caller = workspace._caller
        document = caller.blobs.put(forms.written(attempt, ""))
        asked = {"execution": "e", "attempt": "a", "document": document, "needs": {}}
        caller.call(ops.offer_attempt, asked)
        done = Worker(_Slow(caller), InProcess(), name="w", idle=0.6, beat=0.01).work()
        (ended,) = caller.call(ops.collect_attempts, {"execution": "e"})
        outcome = forms.heard(caller.blobs.get(ended.outcome), caller.blobs.get)

    assert (1, "ended", 1) == (done, ended.status, ended.epoch)
    assert isinstance(outcome, Outcome), outcome


class _Heard:
    """A caller that notes what a worker says it has free, with how many attempts it has."""

    def __init__(self, caller: Any) -> None:
        self._caller, self.said, self.has = caller, list[tuple[int, float]](), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._caller, name)

    def call(self, operation: Any, arguments: dict[str, Any]) -> Any:
        if operation is ops.claim_attempt:
            self.said.append((self.has, arguments["capacity"].get("licence", 0.0)))
        answer = self._caller.call(operation, arguments)
        self.has += (operation is ops.claim_attempt and answer is not None) - (operation is ops.end_attempt)
        return answer


def test_a_worker_takes_what_it_has_free(folder: Path) -> None:
    """With two licences it has two attempts that take one, though there are CPUs for eight: others may have the rest."""
    licence = Resources(custom={"licence": 1})
    params = {"argv": [sys.executable, "-c", "print(1)"], "params": {}, "outputs": {}, "environ": {}}
    with sw.connect(folder, actor="anna") as workspace:
        caller = _Heard(workspace._caller)
        for name in "abcd":
            function = "stellwerk.pipelines.commands:command"
            attempt = Attempt(id=name, node=name, function=function, params=params, resources=licence)
            document = caller.blobs.put(forms.written(attempt, ""))
            asked = {"execution": "e", "attempt": name, "document": document, "needs": licence.amounts()}
            caller.call(ops.offer_attempt, asked)
        executor = Subprocess(capacity=Resources(cpus=8, custom={"licence": 2}))
        done = Worker(caller, executor, name="w", idle=0.6).work()

    assert 4 == done
    assert {(0, 2.0), (1, 1.0), (2, 0.0)} == set(caller.said)


def test_what_is_offered_can_be_fetched_at_once(folder: Path) -> None:
    """Also what the engine made a moment ago, and would keep later together with other things."""
    value = STANDARD.encode([1, 2])
    given = Encoded(media=value.media, data=value.data, digest=of_bytes(value.data))
    with sw.connect(folder, actor="anna") as workspace:
        caller = workspace._caller
        before = caller.blobs.has(of_bytes(value.data))
        engine = Workers(caller, "e", "")
        engine.start(Attempt(id="a", node="a", function="flow:total", inputs={"values": (given,)}))
        after = caller.blobs.has(of_bytes(value.data))
        engine.close()

    assert (False, True) == (before, after)
