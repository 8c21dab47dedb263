"""Both executors keep the contract that ships with the package."""

from __future__ import annotations

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
from stellwerk.pipelines.adapters.in_process import InProcess
from stellwerk.pipelines.adapters.pool import Pool, forks
from stellwerk.pipelines.adapters.subprocess import Subprocess
from stellwerk.pipelines.adapters.turns import here
from stellwerk.pipelines.model import Attempt, Failure, Outcome
from stellwerk.pipelines.ports import Executor
from stellwerk.pipelines.stock import Stock
from stellwerk.pipelines.values import STANDARD
from stellwerk.testing.executors import ExecutorContract

STOCK = Stock(custom={"licence": 2})


def opened(executor: Executor) -> Iterator[Executor]:
    yield executor
    executor.close()


def alone(executor: Executor, attempt: Attempt) -> Outcome | Failure:
    """Run one attempt to its end, and close the executor."""
    executor.start(attempt)
    ended = executor.wait(None)
    executor.close()
    assert ended is not None
    return ended.outcome


class TestInProcess(ExecutorContract):
    keeps_limits = False

    @pytest.fixture
    def executor(self) -> Iterator[Executor]:
        yield from opened(InProcess(stock=STOCK))


def test_an_interrupt_stays_one_whatever_is_raised_over_it(tmp_path: Path) -> None:
    """Ctrl-C while a lock is given back makes the lock complain: what it was is told, and no failure of the step."""
    (tmp_path / "locked_steps.py").write_text(
        textwrap.dedent(
            """
            def waits():
                try:
                    raise KeyboardInterrupt
                finally:
                    raise RuntimeError("release unlocked lock")
            """
        ),
        "utf-8",
    )
    executor = InProcess()
    executor.start(Attempt(node="s", function="locked_steps:waits", file=str(tmp_path / "locked_steps.py")))

    with pytest.raises(KeyboardInterrupt):
        executor.wait(None)


class TestSubprocess(ExecutorContract):
    source = "from stellwerk.pipelines.adapters.subprocess import Subprocess; executor = Subprocess()"

    @pytest.fixture
    def executor(self) -> Iterator[Executor]:
        yield from opened(Subprocess(grace=0.3, capacity=here(2, STOCK)))


@pytest.mark.skipif(not forks(), reason="this system has no fork server")
class TestPool(ExecutorContract):
    source = "from stellwerk.pipelines.adapters.pool import Pool; executor = Pool()"

    @pytest.fixture
    def executor(self) -> Iterator[Executor]:
        yield from opened(Pool(workers=3, grace=0.3, stock=STOCK))

    def lose(self, executor: Executor) -> bool:
        assert isinstance(executor, Pool)
        assert executor.server is not None
        os.kill(executor.server, signal.SIGKILL)
        return True


def test_builtin_steps_are_given_by_the_composition_root() -> None:
    """They are called with their inputs and parameters, and their own errors keep code and hint."""

    def contract(table: list[int], name: str) -> list[object]:
        if not table:
            raise Refused("empty", code="contract-broken", hint="send rows")
        return [name, *table]

    executor = InProcess(builtins={"contract": contract})
    given = {"table": (STANDARD.encode([1]),)}
    empty = {"table": (STANDARD.encode([]),)}

    def run(attempt: Attempt) -> Any:
        executor.start(attempt)
        ended = executor.wait(None)
        return ended and ended.outcome

    kept = run(Attempt(node="c", function="builtin:contract", inputs=given, params={"name": "flights"}))
    broken = run(Attempt(node="c", function="builtin:contract", inputs=empty, params={"name": "flights"}))
    missing = run(Attempt(node="e", function="builtin:evaluate"))

    assert isinstance(kept, Outcome)
    assert ["flights", 1] == STANDARD.decode(kept.outputs["value"])
    assert isinstance(broken, Failure)
    assert ("step-failed", "contract-broken", "send rows") == (broken.code, broken.cause, broken.hint)
    assert isinstance(missing, Failure)
    assert "step-not-importable" == missing.code


def test_the_subprocess_executor_has_no_builtin_steps() -> None:
    """They need the workspace, which a child has not."""
    with pytest.raises(Refused) as refused:
        Subprocess().start(Attempt(node="e", function="builtin:evaluate"))

    assert "limits-not-kept" == refused.value.code


def test_a_session_without_file_cannot_have_a_child() -> None:
    """A step of an interactive session has no file that a child could import."""
    failed = alone(Subprocess(), Attempt(node="s", function="__main__:s"))

    assert isinstance(failed, Failure)
    assert "step-not-importable" == failed.code


def test_a_registered_codec_reaches_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Types that only the composition root knows pass through a child by the codec's reference."""
    (tmp_path / "model_codec.py").write_text(
        textwrap.dedent(
            """
            from stellwerk.pipelines.values import Codec


            class Model:
                def __init__(self, depth):
                    self.depth = depth


            CODEC = Codec(
                name="Model",
                media_type="application/x-model",
                accepts=lambda value: isinstance(value, Model),
                encode=lambda value: str(value.depth).encode(),
                decode=lambda data: Model(int(data)),
            )
            """
        ),
        "utf-8",
    )
    (tmp_path / "model_steps.py").write_text(
        "from model_codec import Model\n\n\ndef deeper(model):\n    return Model(model.depth + 1)\n", "utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    executor = Subprocess(codecs=("model_codec:CODEC",))
    from model_codec import CODEC, Model  # type: ignore[import-not-found]  # written above

    codecs = STANDARD.with_first(CODEC)
    attempt = Attempt(
        node="deeper",
        function="model_steps:deeper",
        file=str(tmp_path / "model_steps.py"),
        inputs={"model": (codecs.encode(Model(6)),)},
    )

    ended = alone(executor, attempt)

    assert isinstance(ended, Outcome)
    assert 7 == codecs.decode(ended.outputs["value"]).depth


def test_native_code_without_memory_is_told_apart_from_a_crash(tmp_path: Path) -> None:
    """A library that aborts because it gets no memory is out of memory, not just killed."""
    file = tmp_path / "native_steps.py"
    file.write_text("import polars\n\n\ndef eats():\n    return polars.zeros(1 << 33, eager=True).sum()\n", "utf-8")

    failed = alone(
        Subprocess(), Attempt(node="eats", function="native_steps:eats", file=str(file), memory=3 << 30, timeout=60.0)
    )

    assert isinstance(failed, Failure)
    assert "step-memory" == failed.code


def test_interrupting_stops_the_child(tmp_path: Path) -> None:
    """Ctrl-C while a step runs ends the step's process and everything it started."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "slow_steps.py").write_text(
        textwrap.dedent(
            f"""
            import os, pathlib, time


            def slow():
                pathlib.Path({str(pipe)!r}).write_text(str(os.getpid()))
                while True:
                    time.sleep(60)
            """
        ),
        "utf-8",
    )
    script = textwrap.dedent(
        f"""
        from stellwerk.pipelines.adapters.subprocess import Subprocess
        from stellwerk.pipelines.model import Attempt

        try:
            executor = Subprocess(grace=0.2)
            file = {str(tmp_path / "slow_steps.py")!r}
            executor.start(Attempt(node="s", function="slow_steps:slow", file=file, timeout=50.0))
            executor.wait(None)
        except KeyboardInterrupt:
            executor.close()
            print("interrupted")
        """
    )

    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as running:
        step = int(pipe.read_text())  # waits until the step runs
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=20)

    assert "interrupted\n" == said
    assert _gone(step)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends children with their parent")
def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """When the executing process is killed, no step goes on unseen."""
    mark = tmp_path / "mark"
    (tmp_path / "orphan_steps.py").write_text(
        textwrap.dedent(
            f"""
            import os, pathlib, signal, time


            def orphan():
                pathlib.Path({str(mark)!r}).write_text(str(os.getpid()))
                os.kill(os.getppid(), signal.SIGKILL)
                while True:
                    time.sleep(60)
            """
        ),
        "utf-8",
    )
    script = textwrap.dedent(
        f"""
        from stellwerk.pipelines.adapters.subprocess import Subprocess
        from stellwerk.pipelines.model import Attempt

        file = {str(tmp_path / "orphan_steps.py")!r}
        executor = Subprocess()
        executor.start(Attempt(node="o", function="orphan_steps:orphan", file=file))
        executor.wait(None)
        """
    )

    # The orphan inherits the log pipe, so that reading it to its end is waiting for the orphan's.
    done = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, timeout=60, check=False)

    assert -signal.SIGKILL == done.returncode
    assert _gone(int(mark.read_text()))


def _gone(process: int) -> bool:
    for _ in range(1_000_000):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in {"Z", "X"}:
            return True
    return False


def test_a_script_without_guard_does_not_run_itself_again(tmp_path: Path) -> None:
    """A child that imports a script which executes its plan at the top is refused, not started without end."""
    file = tmp_path / "unguarded.py"
    file.write_text(
        textwrap.dedent(
            """
            from stellwerk.pipelines.model import Plan
            from stellwerk.pipelines.service import execute


            def once():
                return 1


            execute(Plan(name="p"), blobs=None, journal=None, resolver=None, executor=None,
                    isolated=None, environment="", clock=None)
            """
        ),
        "utf-8",
    )

    failed = alone(Subprocess(), Attempt(node="once", function="unguarded:once", file=str(file)))

    assert isinstance(failed, Failure)
    assert ("step-failed", "nested-run") == (failed.code, failed.cause)
    assert "__main__" in failed.hint
