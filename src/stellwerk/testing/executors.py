"""The contract of executors as a test suite. Subclass `ExecutorContract` and override the fixture `executor`.

The steps are loaded from a file, as a user's would be. Where values are stored is not tested here.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.errors import Refused
from stellwerk.pipelines.closure import closure
from stellwerk.pipelines.loading import load, resolve
from stellwerk.pipelines.model import Attempt, Encoded, Failure, Outcome, Resources
from stellwerk.pipelines.ports import Executor
from stellwerk.pipelines.values import STANDARD

STEPS = '''
import os
import pathlib
import random
import sys
import time

from stellwerk.pipelines.authoring import step


@step
def double(number: int):
    return 2 * number


@step
def scale(number: float):
    return type(number).__name__


@step
def fails(number: int):
    return inner(number)


def inner(number):
    raise LookupError(f"no flight {number}")


@step
def leaves():
    sys.exit(3)


@step
def hangs(mark: str):
    pathlib.Path(mark).write_text(str(os.getpid()))
    while True:
        time.sleep(60)


@step
def clings(mark: str):
    """Ignores the request to end, and starts a child that does, too."""
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()
    if child:
        pathlib.Path(mark).write_text(str(child))
    while True:
        time.sleep(60)


@step
def eats():
    return len(bytearray(1 << 34))


@step
def dies():
    os.kill(os.getpid(), 9)


@step
def ends():
    os._exit(7)


@step
def strange():
    return object()


@step
def prints():
    print("to standard output")
    print("to standard error", file=sys.stderr)
    return 1


@step
def chatters():
    for number in range(60_000):
        print(f"{number:>99}")
    print("the end")


@step
def frame(rows: int):
    import polars

    return polars.DataFrame({"row": range(rows)}).with_columns(half=polars.col("row") / 2)


@step
def total(table):
    return int(table["row"].sum())


@step(seeds=3)
def draws(seed: int):
    import numpy

    return [seed, random.random(), float(numpy.random.random())]


@step(outputs=("train", "gate"))
def parts(size: int):
    return {"train": list(range(size)), "gate": b"gate"}


@step(outputs=("train", "gate"))
def mistaken():
    return {"train": 1, "test": 2}


@step
def joins(tables: list):
    return [len(table) for table in tables]


@step
def lines(file):
    return [file.name, file.read_text().splitlines()]


@step
def nothing(seed=None):
    return None


@step
def waits(gate: str):
    """Ends when somebody writes to a pipe."""
    return pathlib.Path(gate).read_text()


@step
def meets(folder: str, name: str, count: int):
    """Comes, waits until so many have come, and says how many were here at the same time."""
    place = pathlib.Path(folder)
    (place / f"here-{name}").touch()
    (place / f"came-{name}").touch()
    while len(list(place.glob("came-*"))) < count:
        time.sleep(0.001)
    here = len(list(place.glob("here-*")))
    (place / f"here-{name}").unlink()
    return here


@step
def random_numbers():
    import numpy

    return [random.random(), float(numpy.random.random())]


@step
def where():
    return os.getcwd(), os.environ.get("CONTRACT_TEST", "")
'''

LONG = 60.0
ROOMY = 4 << 30


class ExecutorContract:
    """What every executor promises."""

    keeps_limits = True
    """Whether the executor can stop a step that uses too much time or memory; it then has processes of its own."""

    source = ""
    """Python that makes such an executor under the name `executor`, in another process. Empty: it has none to lose."""

    takes_along = True
    """Whether folder and environment variables of this process are those of the steps, too."""

    at_once = True
    """Whether what was stopped is gone when the executor says so; otherwise it goes a moment later."""

    ids = itertools.count(1)

    @pytest.fixture
    def executor(self) -> Iterator[Executor]:
        raise NotImplementedError("override the fixture `executor`")

    def lose(self, executor: Executor) -> bool:
        """Make the machine or process that runs attempts disappear. False if there is none besides the attempts'."""
        return False

    @pytest.fixture
    def file(self, tmp_path: Path) -> str:
        """The pipeline file with the steps of this suite."""
        path = tmp_path / "contract_steps.py"
        path.write_text(STEPS, "utf-8")
        return str(path)

    def attempt(self, file: str, name: str, **facts: Any) -> Attempt:
        label = "contract_steps"
        number = next(self.ids)
        return Attempt(node=name, id=f"a{number}", task=name, function=f"{label}:{name}", file=file, **facts)

    def run(self, executor: Executor, attempt: Attempt) -> Outcome | Failure:
        """Start one attempt and wait for its end."""
        executor.start(attempt)
        ended = executor.wait(LONG)
        assert ended is not None
        assert attempt.id == ended.attempt
        return ended.outcome

    def ended(self, process: int) -> bool:
        """Whether a process that was stopped is gone."""
        return not alive(process) if self.at_once else _gone(process)

    def value(self, ended: Outcome | Failure, name: str = "value") -> Any:
        assert isinstance(ended, Outcome), ended
        return STANDARD.decode(ended.outputs[name])

    def failure(self, ended: Outcome | Failure) -> Failure:
        assert isinstance(ended, Failure), ended
        return ended

    def test_it_returns_the_value(self, executor: Executor, file: str) -> None:
        """What the step returns comes back encoded."""
        ended = self.run(executor, self.attempt(file, "double", params={"number": 21}))

        assert 42 == self.value(ended)

    def test_a_file_is_found_where_it_was_loaded(self, executor: Executor, file: str) -> None:
        """A reference to a loaded file means the same function everywhere."""
        module = load(file)

        ended = self.run(executor, self.attempt(file, "double", params={"number": 2}))

        assert resolve("contract_steps:double", file) is module.double.function
        assert 4 == self.value(ended)

    def test_a_float_stays_a_float(self, executor: Executor, file: str) -> None:
        """A parameter that is declared a float is one, although JSON writes 1.0 as 1."""
        ended = self.run(executor, self.attempt(file, "scale", params={"number": 1}))

        assert "float" == self.value(ended)

    def test_an_exception_is_a_failure(self, executor: Executor, file: str) -> None:
        """It is told with the frames of the user's code, and none of ours."""
        failed = self.failure(self.run(executor, self.attempt(file, "fails", params={"number": 7})))

        assert "step-failed" == failed.code
        assert "no flight 7" in failed.message
        assert "in fails" in failed.traceback
        assert "in inner" in failed.traceback
        assert failed.traceback.endswith("LookupError: no flight 7")
        assert "stellwerk/" not in failed.traceback
        assert failed.retryable

    def test_leaving_is_a_failure(self, executor: Executor, file: str) -> None:
        """A step that calls `sys.exit` fails; it does not take the executor with it."""
        failed = self.failure(self.run(executor, self.attempt(file, "leaves")))

        assert "step-failed" == failed.code

    def test_an_unknown_function_is_a_failure(self, executor: Executor, file: str) -> None:
        """It is not tried again."""
        failed = self.failure(self.run(executor, self.attempt(file, "missing")))

        assert "step-not-importable" == failed.code
        assert not failed.retryable

    def test_a_broken_file_is_a_failure(self, executor: Executor, tmp_path: Path) -> None:
        """What importing the user's file raises is told like what a step raises."""
        path = tmp_path / "broken_steps.py"
        path.write_text("import os\n\n1 / 0\n", "utf-8")

        failed = self.failure(
            self.run(executor, Attempt(node="any", id="a", function="broken_steps:any", file=str(path)))
        )

        assert "step-failed" == failed.code
        assert "line 3" in failed.traceback
        assert failed.traceback.endswith("ZeroDivisionError: division by zero")

    def test_an_unsupported_value_is_a_failure(self, executor: Executor, file: str) -> None:
        """The message names the type, the step and what is supported; it is not tried again."""
        failed = self.failure(self.run(executor, self.attempt(file, "strange")))

        assert "unsupported-value" == failed.code
        assert "'strange'" in failed.message
        assert "object" in failed.message
        assert all(name in failed.message for name in STANDARD.names)
        assert not failed.retryable

    def test_prints_are_returned(self, executor: Executor, file: str, capfd: pytest.CaptureFixture[str]) -> None:
        """Both streams are kept as the log, and none reaches the streams of this process."""
        ended = self.run(executor, self.attempt(file, "prints"))

        assert isinstance(ended, Outcome)
        assert "to standard output" in ended.log
        assert "to standard error" in ended.log
        assert ("", "") == capfd.readouterr()

    def test_a_long_log_keeps_its_end(self, executor: Executor, file: str) -> None:
        """Six megabytes of prints become one, with a mark where some are missing."""
        ended = self.run(executor, self.attempt(file, "chatters"))

        assert isinstance(ended, Outcome)
        assert ended.log.startswith("[... earlier output was dropped ...]")
        assert ended.log.endswith("the end\n")
        assert len(ended.log) < (1 << 20) + 100

    def test_a_big_frame_passes(self, executor: Executor, file: str) -> None:
        """A million rows come back, and go into the next step."""
        made = self.run(executor, self.attempt(file, "frame", params={"rows": 1_000_000}))
        assert isinstance(made, Outcome)

        summed = self.run(executor, self.attempt(file, "total", inputs={"table": (made.outputs["value"],)}))

        assert 1_000_000 == self.value(made).height
        assert 499_999_500_000 == self.value(summed)

    def test_a_seed_makes_it_repeatable(self, executor: Executor, file: str) -> None:
        """The seed is passed and starts the global generators: same seed, same numbers; other seed, others."""
        first, again, other = (self.run(executor, self.attempt(file, "draws", seed=seed)) for seed in (1, 1, 2))

        assert self.value(first) == self.value(again)
        assert 1 == self.value(first)[0]
        assert self.value(first)[1] != self.value(other)[1]
        assert self.value(first)[2] != self.value(other)[2]

    def test_several_outputs_are_named(self, executor: Executor, file: str) -> None:
        """Each declared output is encoded for itself."""
        ended = self.run(executor, self.attempt(file, "parts", params={"size": 2}, outputs=("train", "gate")))

        assert [0, 1] == self.value(ended, "train")
        assert b"gate" == self.value(ended, "gate")

    def test_wrong_outputs_are_a_failure(self, executor: Executor, file: str) -> None:
        """A step returns what it declares, or it fails for good."""
        failed = self.failure(self.run(executor, self.attempt(file, "mistaken", outputs=("train", "gate"))))

        assert "wrong-outputs" == failed.code
        assert "train, test" in failed.message
        assert not failed.retryable

    def test_lists_are_put_together(self, executor: Executor, file: str) -> None:
        """`tables[0]`, `tables[1]` are one list, in the order of their numbers."""
        inputs = {f"tables[{n}]": (STANDARD.encode("x" * n),) for n in (10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)}

        ended = self.run(executor, self.attempt(file, "joins", inputs=inputs))

        assert list(range(11)) == self.value(ended)

    def test_seeds_arrive_as_a_list(self, executor: Executor, file: str) -> None:
        """The output of a step with seeds is a list, also if there is only one."""
        one = self.attempt(file, "joins", inputs={"tables": (STANDARD.encode("abc"),)}, listed=frozenset({"tables"}))

        assert [3] == self.value(self.run(executor, one))

    def test_a_file_keeps_its_name_and_content(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """A path passes as the content of its file."""
        source = tmp_path / "notes.txt"
        source.write_text("a\nb\n", "utf-8")

        ended = self.run(executor, self.attempt(file, "lines", inputs={"file": (STANDARD.encode(source),)}))

        assert ["notes.txt", ["a", "b"]] == self.value(ended)

    def test_an_unreadable_input_is_a_failure(self, executor: Executor, file: str) -> None:
        """Bytes that are not what their media type says never reach the step."""
        bad = Encoded(media="application/vnd.apache.parquet", data=b"not a table")

        failed = self.failure(self.run(executor, self.attempt(file, "total", inputs={"table": (bad,)})))

        assert "step-failed" == failed.code
        assert "unreadable-value" == failed.cause

    def test_a_timeout_stops_the_step(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """A step that hangs is stopped after its time, or refused by an executor that could not do that."""
        mark = tmp_path / "process"
        attempt = self.attempt(file, "hangs", params={"mark": str(mark)}, timeout=2.0)
        if not self.keeps_limits:
            return self.refuses(executor, attempt)

        failed = self.failure(self.run(executor, attempt))

        assert "step-timeout" == failed.code
        assert "2 seconds" in failed.message
        assert not alive(int(mark.read_text()))
        return None

    def test_a_timeout_stops_what_the_step_started(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """Nothing survives, not even processes that ignore being asked."""
        mark = tmp_path / "process"
        attempt = self.attempt(file, "clings", params={"mark": str(mark)}, timeout=2.0)
        if not self.keeps_limits:
            return self.refuses(executor, attempt)

        failed = self.failure(self.run(executor, attempt))

        assert "step-timeout" == failed.code
        assert not alive(int(mark.read_text()))
        return None

    def test_a_memory_limit_stops_the_step(self, executor: Executor, file: str) -> None:
        """A step that takes more than its limit fails; one within it does not."""
        attempt = self.attempt(file, "eats", memory=ROOMY)
        if not self.keeps_limits:
            return self.refuses(executor, attempt)

        failed = self.failure(self.run(executor, attempt))
        within = self.run(executor, self.attempt(file, "double", params={"number": 1}, memory=ROOMY, timeout=LONG))

        assert "step-memory" == failed.code
        assert 2 == self.value(within)
        return None

    def test_a_killed_step_is_a_failure(self, executor: Executor, file: str) -> None:
        """A step that is killed, or ends its process, fails; only its own process is lost."""
        if not self.keeps_limits:
            return

        killed = self.failure(self.run(executor, self.attempt(file, "dies")))
        ended = self.failure(self.run(executor, self.attempt(file, "ends")))

        assert "step-killed" == killed.code
        assert "SIGKILL" in killed.message
        assert "step-failed" == ended.code
        assert "status 7" in ended.message

    def test_it_is_told_what_was_used(self, executor: Executor, file: str) -> None:
        """Time, processor time and memory of the attempt come with its outcome."""
        ended = self.run(executor, self.attempt(file, "frame", params={"rows": 1000}))

        assert isinstance(ended, Outcome)
        assert ended.seconds > 0
        assert ended.cpu_seconds > 0
        assert ended.peak_memory > 1 << 20

    def test_nothing_under_way_is_nothing_to_wait_for(self, executor: Executor) -> None:
        """Who waits for nothing gets an answer at once."""
        assert executor.wait(None) is None

    def test_every_start_has_one_end(self, executor: Executor, file: str) -> None:
        """All attempts come out once, whatever the order."""
        attempts = [self.attempt(file, "double", params={"number": number}) for number in range(7)]
        for attempt in attempts:
            executor.start(attempt)

        ended = [executor.wait(LONG) for _ in attempts]

        values = {one.attempt: self.value(one.outcome) for one in ended if one is not None}
        assert {attempt.id: 2 * number for number, attempt in enumerate(attempts)} == values
        assert executor.wait(None) is None

    def test_as_many_run_at_once_as_there_is_room_for(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """The capacity is used, and never exceeded."""
        room = int(executor.capacity().cpus)
        place = tmp_path / "meeting"
        place.mkdir()
        for name in range(2 * room + 1):
            params = {"folder": str(place), "name": str(name), "count": room}
            executor.start(self.attempt(file, "meets", params=params))

        ended = [executor.wait(LONG) for _ in range(2 * room + 1)]

        assert room == max(self.value(one.outcome) for one in ended if one is not None)

    def test_who_ends_first_comes_first(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """A long attempt holds up nobody, where there is room for two."""
        if executor.capacity().cpus < 2:
            return
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        long, short = self.attempt(file, "waits", params={"gate": str(gate)}), self.attempt(file, "nothing")
        executor.start(long)
        executor.start(short)

        first, none = executor.wait(LONG), executor.wait(0.01)
        gate.write_text("go")
        second = executor.wait(LONG)

        assert first is not None
        assert second is not None
        assert none is None
        assert (short.id, long.id) == (first.attempt, second.attempt)
        assert "go" == self.value(second.outcome)

    def test_what_waits_can_be_stopped(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """An attempt that has not begun never does."""
        mark = tmp_path / "mark"
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        room = int(executor.capacity().cpus)
        before = [self.attempt(file, "waits", params={"gate": str(gate)}) for _ in range(room if room > 1 else 0)]
        last = self.attempt(file, "hangs", params={"mark": str(mark)})
        for attempt in [*before, last]:
            executor.start(attempt)

        executor.stop(last.id)
        ended = executor.wait(LONG)
        for attempt in before:
            executor.stop(attempt.id)
        others = [executor.wait(LONG) for _ in before]

        assert ended is not None
        assert last.id == ended.attempt
        assert "step-cancelled" == self.failure(ended.outcome).code
        assert not mark.exists()
        assert {"step-cancelled"} == {self.failure(one.outcome).code for one in [ended, *others] if one is not None}
        assert executor.wait(None) is None

    def test_what_runs_can_be_stopped(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """The attempt and all it started end, and it comes out as cancelled."""
        if not self.keeps_limits:
            return
        mark = _pipe(tmp_path)
        attempt = self.attempt(file, "clings", params={"mark": str(mark)})
        executor.start(attempt)
        process = int(mark.read_text())

        executor.stop(attempt.id)
        ended = executor.wait(LONG)
        executor.stop(attempt.id)

        assert ended is not None
        assert "step-cancelled" == self.failure(ended.outcome).code
        assert self.ended(process)
        assert 4 == self.value(self.run(executor, self.attempt(file, "double", params={"number": 2})))

    def test_closing_leaves_nothing_running(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """What runs is ended, what waits never begins, and nothing comes out any more."""
        if not self.keeps_limits:
            return
        mark = _pipe(tmp_path)
        executor.start(self.attempt(file, "clings", params={"mark": str(mark)}))
        for number in range(int(executor.capacity().cpus)):
            executor.start(self.attempt(file, "hangs", params={"mark": str(tmp_path / f"other-{number}")}))
        process = int(mark.read_text())

        executor.close()

        assert self.ended(process)
        assert executor.wait(None) is None

    def test_what_is_not_there_is_refused(self, executor: Executor, file: str) -> None:
        """A step that needs what the executor has not never waits for it in vain."""
        attempt = self.attempt(file, "nothing", resources=Resources(custom={"oscilloscope": 1}))

        self.refuses(executor, attempt)

    def test_more_cpus_than_there_are_is_all_there_are(self, executor: Executor, file: str) -> None:
        """A step that could use more CPUs runs with those there are."""
        attempt = self.attempt(file, "double", params={"number": 1}, resources=Resources(cpus=1000))

        assert 2 == self.value(self.run(executor, attempt))

    def test_an_edited_file_is_refused(self, executor: Executor, file: str) -> None:
        """A result is never recorded under the key of other code."""
        if not self.keeps_limits:
            return
        code = closure(resolve("contract_steps:double", file))
        before = self.run(executor, self.attempt(file, "double", params={"number": 4}, code=code))
        text = Path(file).read_text("utf-8")

        Path(file).write_text(text.replace("return 2 * number", "return 3 * number + 0"), "utf-8")
        failed = self.failure(self.run(executor, self.attempt(file, "double", params={"number": 4}, code=code)))

        assert 8 == self.value(before)
        assert "source-changed" == failed.code
        assert "contract_steps:double changed" in failed.message
        assert not failed.retryable

    def test_an_edited_file_is_loaded_anew(self, executor: Executor, file: str) -> None:
        """What was loaded for an earlier attempt is not used for a later one when the file is another."""
        if not self.keeps_limits:
            return
        before = self.run(executor, self.attempt(file, "double", params={"number": 4}))
        text = Path(file).read_text("utf-8")

        Path(file).write_text(text.replace("return 2 * number", "return 3 * number + 0"), "utf-8")
        after = self.run(executor, self.attempt(file, "double", params={"number": 4}))

        assert [8, 12] == [self.value(before), self.value(after)]

    def test_attempts_do_not_share_randomness(self, executor: Executor, file: str) -> None:
        """Steps without a seed draw other numbers each time, whatever they were started from."""
        first, second = (self.value(self.run(executor, self.attempt(file, "random_numbers"))) for _ in range(2))

        assert first[0] != second[0]
        assert first[1] != second[1]

    def test_the_environment_is_that_of_now(
        self, executor: Executor, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Folder and environment variables are those at the time of the start, not those of an earlier one."""
        if not self.takes_along:
            return
        self.run(executor, self.attempt(file, "where"))

        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("CONTRACT_TEST", "kept")
        ended = self.run(executor, self.attempt(file, "where"))

        assert [str(tmp_path), "kept"] == self.value(ended)

    def test_a_lost_worker_is_told(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """What ran the attempt is gone: it comes out as such, may be run again, and the executor goes on."""
        mark = _pipe(tmp_path)
        attempt = self.attempt(file, "hangs", params={"mark": str(mark)})
        if not self.source:
            return
        executor.start(attempt)
        process = int(mark.read_text())
        if not self.lose(executor):
            executor.stop(attempt.id)
            return

        ended = executor.wait(LONG)
        again = self.run(executor, self.attempt(file, "double", params={"number": 2}))

        assert ended is not None
        assert "worker-lost" == self.failure(ended.outcome).code
        assert self.failure(ended.outcome).retryable
        assert _gone(process)
        assert 4 == self.value(again)

    def test_nothing_outlives_a_killed_parent(self, file: str, tmp_path: Path) -> None:
        """When the process that has the executor is killed, its steps end, too."""
        if not self.source:
            return
        mark = _pipe(tmp_path)
        script = f"""
            import os
            from stellwerk.pipelines.model import Attempt
            {self.source}
            function, params = "contract_steps:hangs", {{"mark": {str(mark)!r}}}
            attempt = Attempt(node="h", id="h", function=function, file={file!r}, params=params)
            executor.start(attempt)
            executor.wait(None)
        """
        with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)]) as running:
            process = int(mark.read_text())  # waits until the step runs
            running.send_signal(signal.SIGKILL)
            running.wait()

        assert _gone(process)

    def refuses(self, executor: Executor, attempt: Attempt) -> None:
        """A limit that cannot be kept is never silently ignored."""
        with pytest.raises(Refused) as refused:
            executor.start(attempt)

        assert "limits-not-kept" == refused.value.code


def alive(process: int) -> bool:
    """Whether a process runs; one that is dead but not yet collected does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def _gone(process: int) -> bool:
    """Whether a process that should end does so; being told takes the system a moment."""
    return any(not alive(process) for _ in range(1_000_000))


def _pipe(folder: Path) -> Path:
    """A named pipe through which a step says that it runs."""
    path = folder / "pipe"
    os.mkfifo(path)
    return path
