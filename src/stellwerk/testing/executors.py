"""The contract of executors as a test suite. Subclass `ExecutorContract` and override the fixture `executor`.

The steps are loaded from a file, as a user's would be. Where values are stored is not tested here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.errors import Refused
from stellwerk.pipelines.loading import load, resolve
from stellwerk.pipelines.model import Attempt, Encoded, Failure, Outcome
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
'''

LONG = 60.0
ROOMY = 4 << 30


class ExecutorContract:
    """What every executor promises."""

    keeps_limits = True
    """Whether the executor can stop a step that uses too much time or memory."""

    @pytest.fixture
    def executor(self) -> Executor:
        raise NotImplementedError("override the fixture `executor`")

    @pytest.fixture
    def file(self, tmp_path: Path) -> str:
        """The pipeline file with the steps of this suite."""
        path = tmp_path / "contract_steps.py"
        path.write_text(STEPS, "utf-8")
        return str(path)

    def attempt(self, file: str, name: str, **facts: Any) -> Attempt:
        label = "contract_steps"
        return Attempt(node=name, function=f"{label}:{name}", file=file, **facts)

    def value(self, ended: Outcome | Failure, name: str = "value") -> Any:
        assert isinstance(ended, Outcome), ended
        return STANDARD.decode(ended.outputs[name])

    def failure(self, ended: Outcome | Failure) -> Failure:
        assert isinstance(ended, Failure), ended
        return ended

    def test_it_returns_the_value(self, executor: Executor, file: str) -> None:
        """What the step returns comes back encoded."""
        ended = executor.run(self.attempt(file, "double", params={"number": 21}))

        assert 42 == self.value(ended)

    def test_a_file_is_found_where_it_was_loaded(self, executor: Executor, file: str) -> None:
        """A reference to a loaded file means the same function everywhere."""
        module = load(file)

        ended = executor.run(self.attempt(file, "double", params={"number": 2}))

        assert resolve("contract_steps:double", file) is module.double.function
        assert 4 == self.value(ended)

    def test_a_float_stays_a_float(self, executor: Executor, file: str) -> None:
        """A parameter that is declared a float is one, although JSON writes 1.0 as 1."""
        ended = executor.run(self.attempt(file, "scale", params={"number": 1}))

        assert "float" == self.value(ended)

    def test_an_exception_is_a_failure(self, executor: Executor, file: str) -> None:
        """It is told with the frames of the user's code, and none of ours."""
        failed = self.failure(executor.run(self.attempt(file, "fails", params={"number": 7})))

        assert "step-failed" == failed.code
        assert "no flight 7" in failed.message
        assert "in fails" in failed.traceback
        assert "in inner" in failed.traceback
        assert failed.traceback.endswith("LookupError: no flight 7")
        assert "stellwerk/" not in failed.traceback
        assert failed.retryable

    def test_leaving_is_a_failure(self, executor: Executor, file: str) -> None:
        """A step that calls `sys.exit` fails; it does not take the executor with it."""
        failed = self.failure(executor.run(self.attempt(file, "leaves")))

        assert "step-failed" == failed.code

    def test_an_unknown_function_is_a_failure(self, executor: Executor, file: str) -> None:
        """It is not tried again."""
        failed = self.failure(executor.run(self.attempt(file, "missing")))

        assert "step-not-importable" == failed.code
        assert not failed.retryable

    def test_a_broken_file_is_a_failure(self, executor: Executor, tmp_path: Path) -> None:
        """What importing the user's file raises is told like what a step raises."""
        path = tmp_path / "broken_steps.py"
        path.write_text("import os\n\n1 / 0\n", "utf-8")

        failed = self.failure(executor.run(Attempt(node="any", function="broken_steps:any", file=str(path))))

        assert "step-failed" == failed.code
        assert "line 3" in failed.traceback
        assert failed.traceback.endswith("ZeroDivisionError: division by zero")

    def test_an_unsupported_value_is_a_failure(self, executor: Executor, file: str) -> None:
        """The message names the type, the step and what is supported; it is not tried again."""
        failed = self.failure(executor.run(self.attempt(file, "strange")))

        assert "unsupported-value" == failed.code
        assert "'strange'" in failed.message
        assert "object" in failed.message
        assert all(name in failed.message for name in STANDARD.names)
        assert not failed.retryable

    def test_prints_are_returned(self, executor: Executor, file: str, capfd: pytest.CaptureFixture[str]) -> None:
        """Both streams are kept as the log, and none reaches the streams of this process."""
        ended = executor.run(self.attempt(file, "prints"))

        assert isinstance(ended, Outcome)
        assert "to standard output" in ended.log
        assert "to standard error" in ended.log
        assert ("", "") == capfd.readouterr()

    def test_a_long_log_keeps_its_end(self, executor: Executor, file: str) -> None:
        """Six megabytes of prints become one, with a mark where some are missing."""
        ended = executor.run(self.attempt(file, "chatters"))

        assert isinstance(ended, Outcome)
        assert ended.log.startswith("[... earlier output was dropped ...]")
        assert ended.log.endswith("the end\n")
        assert len(ended.log) < (1 << 20) + 100

    def test_a_big_frame_passes(self, executor: Executor, file: str) -> None:
        """A million rows come back, and go into the next step."""
        made = executor.run(self.attempt(file, "frame", params={"rows": 1_000_000}))
        assert isinstance(made, Outcome)

        summed = executor.run(self.attempt(file, "total", inputs={"table": (made.outputs["value"],)}))

        assert 1_000_000 == self.value(made).height
        assert 499_999_500_000 == self.value(summed)

    def test_a_seed_makes_it_repeatable(self, executor: Executor, file: str) -> None:
        """The seed is passed and starts the global generators: same seed, same numbers; other seed, others."""
        first, again, other = (executor.run(self.attempt(file, "draws", seed=seed)) for seed in (1, 1, 2))

        assert self.value(first) == self.value(again)
        assert 1 == self.value(first)[0]
        assert self.value(first)[1] != self.value(other)[1]
        assert self.value(first)[2] != self.value(other)[2]

    def test_several_outputs_are_named(self, executor: Executor, file: str) -> None:
        """Each declared output is encoded for itself."""
        ended = executor.run(self.attempt(file, "parts", params={"size": 2}, outputs=("train", "gate")))

        assert [0, 1] == self.value(ended, "train")
        assert b"gate" == self.value(ended, "gate")

    def test_wrong_outputs_are_a_failure(self, executor: Executor, file: str) -> None:
        """A step returns what it declares, or it fails for good."""
        failed = self.failure(executor.run(self.attempt(file, "mistaken", outputs=("train", "gate"))))

        assert "wrong-outputs" == failed.code
        assert "train, test" in failed.message
        assert not failed.retryable

    def test_lists_are_put_together(self, executor: Executor, file: str) -> None:
        """`tables[0]`, `tables[1]` are one list, in the order of their numbers."""
        inputs = {f"tables[{n}]": (STANDARD.encode("x" * n),) for n in (10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)}

        ended = executor.run(self.attempt(file, "joins", inputs=inputs))

        assert list(range(11)) == self.value(ended)

    def test_seeds_arrive_as_a_list(self, executor: Executor, file: str) -> None:
        """The output of a step with seeds is a list, also if there is only one."""
        one = self.attempt(file, "joins", inputs={"tables": (STANDARD.encode("abc"),)}, listed=frozenset({"tables"}))

        assert [3] == self.value(executor.run(one))

    def test_a_file_keeps_its_name_and_content(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """A path passes as the content of its file."""
        source = tmp_path / "notes.txt"
        source.write_text("a\nb\n", "utf-8")

        ended = executor.run(self.attempt(file, "lines", inputs={"file": (STANDARD.encode(source),)}))

        assert ["notes.txt", ["a", "b"]] == self.value(ended)

    def test_an_unreadable_input_is_a_failure(self, executor: Executor, file: str) -> None:
        """Bytes that are not what their media type says never reach the step."""
        bad = Encoded(media="application/vnd.apache.parquet", data=b"not a table")

        failed = self.failure(executor.run(self.attempt(file, "total", inputs={"table": (bad,)})))

        assert "step-failed" == failed.code
        assert "unreadable-value" == failed.cause

    def test_a_timeout_stops_the_step(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """A step that hangs is stopped after its time, or refused by an executor that could not do that."""
        mark = tmp_path / "process"
        attempt = self.attempt(file, "hangs", params={"mark": str(mark)}, timeout=2.0)
        if not self.keeps_limits:
            return self.refuses(executor, attempt)

        failed = self.failure(executor.run(attempt))

        assert "step-timeout" == failed.code
        assert "2 seconds" in failed.message
        assert not _alive(int(mark.read_text()))
        return None

    def test_a_timeout_stops_what_the_step_started(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """Nothing survives, not even processes that ignore being asked."""
        mark = tmp_path / "process"
        attempt = self.attempt(file, "clings", params={"mark": str(mark)}, timeout=2.0)
        if not self.keeps_limits:
            return self.refuses(executor, attempt)

        failed = self.failure(executor.run(attempt))

        assert "step-timeout" == failed.code
        assert not _alive(int(mark.read_text()))
        return None

    def test_a_memory_limit_stops_the_step(self, executor: Executor, file: str) -> None:
        """A step that takes more than its limit fails; one within it does not."""
        attempt = self.attempt(file, "eats", memory=ROOMY)
        if not self.keeps_limits:
            return self.refuses(executor, attempt)

        failed = self.failure(executor.run(attempt))
        within = executor.run(self.attempt(file, "double", params={"number": 1}, memory=ROOMY, timeout=LONG))

        assert "step-memory" == failed.code
        assert 2 == self.value(within)
        return None

    def test_a_killed_step_is_a_failure(self, executor: Executor, file: str) -> None:
        """A step that is killed, or ends its process, fails; only its own process is lost."""
        if not self.keeps_limits:
            return

        killed = self.failure(executor.run(self.attempt(file, "dies")))
        ended = self.failure(executor.run(self.attempt(file, "ends")))

        assert "step-killed" == killed.code
        assert "SIGKILL" in killed.message
        assert "step-failed" == ended.code
        assert "status 7" in ended.message

    def refuses(self, executor: Executor, attempt: Attempt) -> None:
        """A limit that cannot be kept is never silently ignored."""
        with pytest.raises(Refused) as refused:
            executor.run(attempt)

        assert "limits-not-kept" == refused.value.code


def _alive(process: int) -> bool:
    """Whether a process runs; one that is dead but not yet collected does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False
