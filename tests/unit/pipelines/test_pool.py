"""What only the pool promises: files are kept warm where that is safe, and nothing of an attempt stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stellwerk.pipelines.adapters.pool import Pool, forks
from stellwerk.pipelines.model import Attempt, Failure, Outcome, Resources
from stellwerk.pipelines.values import STANDARD
from stellwerk.testing.executors import alive

pytestmark = pytest.mark.skipif(not forks(), reason="this system has no fork server")

Run = Callable[..., Outcome | Failure]


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool(capacity=Resources(cpus=2, gpus=1), grace=0.3)
    yield pool
    pool.close()


@pytest.fixture
def run(pool: Pool, tmp_path: Path) -> Run:
    """Run a step called `step` of a file with this text."""
    file = tmp_path / "warm_steps.py"

    def call(text: str, **facts: Any) -> Outcome | Failure:
        text = textwrap.dedent(text)
        if not file.exists() or file.read_text("utf-8") != text:
            file.write_text(text, "utf-8")
        pool.start(Attempt(id="a", node="step", function="warm_steps:step", file=str(file), **facts))
        ended = pool.wait(60.0)
        assert ended is not None
        return ended.outcome

    return call


def value(ended: Outcome | Failure) -> Any:
    assert isinstance(ended, Outcome), ended
    return STANDARD.decode(ended.outputs["value"])


def test_a_file_is_loaded_once(run: Run, tmp_path: Path) -> None:
    """Attempts share what was loaded, each has its own copy of it, and each log has what loading printed."""
    text = f"""
        import pathlib

        with pathlib.Path({str(tmp_path / "loads")!r}).open("a") as file:
            file.write("loaded ")
        print("loading")
        SEEN = []


        def step():
            SEEN.append(1)
            return len(SEEN)
    """

    ended = [run(text) for _ in range(3)]

    assert [1, 1, 1] == [value(one) for one in ended]
    assert ["loading\n"] * 3 == [one.log for one in ended]
    assert "loaded " == (tmp_path / "loads").read_text()


UNSAFE = {
    "a thread": "import threading; THING = threading.Event(); threading.Thread(target=THING.wait, daemon=True).start()",
    "an open file": "THING = open(__file__)",
    "a connection": "import socket; THING = socket.socketpair()",
    "a process": "import subprocess; THING = subprocess.Popen(['sleep', '60'])",
}


@pytest.mark.parametrize("what", UNSAFE)
def test_what_would_not_survive_a_fork_is_loaded_by_each(run: Run, tmp_path: Path, what: str) -> None:
    """A file that has more than memory when it is loaded is never forked."""
    text = f"""
        import os
        import threading
        {UNSAFE[what]}
        LOADED = os.getpid()


        def step():
            return [LOADED == os.getpid(), threading.active_count()]
    """

    first, second = run(text), run(text)

    assert [True, 2 if what == "a thread" else 1] == value(first) == value(second)


def test_libraries_work_in_what_was_forked(run: Run) -> None:
    """Those that have threads of their own are loaded once, too, and compute in parallel afterwards."""
    text = """
        import os

        import numpy
        import polars

        LOADED = os.getpid()


        def step():
            table = polars.DataFrame({"a": range(50_000)}).with_columns(k=polars.col("a") % 7)
            sums = table.lazy().group_by("k").agg(polars.col("a").sum()).sort("k").collect()
            square = numpy.ones((300, 300)) @ numpy.ones((300, 300))
            return [LOADED != os.getpid(), sums.height, int(sums["a"].sum()), float(square.sum())]
    """

    ended = [value(run(text, timeout=60.0)) for _ in range(3)]

    assert [[True, 7, 1_249_975_000, 27_000_000.0]] * 3 == ended


def test_a_file_that_ends_its_process_is_a_failure(run: Run) -> None:
    """It is told as that of the step, whatever process loads it."""
    failed = run("import os\nos._exit(3)\n")

    assert isinstance(failed, Failure)
    assert "step-failed" == failed.code
    assert "status 3" in failed.message


def test_a_file_that_hangs_is_stopped(run: Run) -> None:
    """Loading counts; the next file has nothing to do with it."""
    failed = run("import time\nwhile True:\n    time.sleep(60)\n", timeout=1.0)
    after = run("def step():\n    return 1\n")

    assert isinstance(failed, Failure)
    assert "step-timeout" == failed.code
    assert 1 == value(after)


def test_many_attempts_at_once_all_come(tmp_path: Path) -> None:
    """More messages than the system keeps for one socket wait until the server has read some."""
    (tmp_path / "many_steps.py").write_text("def step():\n    return 1\n", "utf-8")
    pool = Pool(workers=300)
    try:
        for number in range(300):
            file = str(tmp_path / "many_steps.py")
            pool.start(Attempt(id=str(number), node="step", function="many_steps:step", file=file))
        ended = [pool.wait(60.0) for _ in range(300)]
    finally:
        pool.close()

    assert {str(number) for number in range(300)} == {one.attempt for one in ended if one is not None}
    assert [1] * 300 == [value(one.outcome) for one in ended if one is not None]


def test_what_left_its_group_is_ended(run: Run) -> None:
    """A process that made itself independent of the step does not outlive it."""
    text = """
        import os
        import time


        def step():
            reading, writing = os.pipe()
            if not os.fork():
                os.setsid()
                pid = os.fork()
                if pid:
                    os.write(writing, str(pid).encode())
                    os._exit(0)
                while True:
                    time.sleep(60)
            return int(os.read(reading, 20))
    """

    assert not alive(value(run(text)))


def test_a_gpu_is_never_forked(run: Run) -> None:
    """Steps that ask for one have a Python of their own."""
    text = """
        import sys


        def step():
            return hasattr(sys.modules["__main__"], "_Server")
    """

    forked, fresh = run(text), run(text, resources=Resources(gpus=1))

    assert [True, False] == [value(forked), value(fresh)]


def test_nothing_of_a_killed_parent_goes_on(tmp_path: Path) -> None:
    """Not even what a step started, which ignores being asked to end; no file of it is left, either."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    file = tmp_path / "left_steps.py"
    file.write_text(
        textwrap.dedent(
            f"""
            import os, pathlib, signal, time


            def step():
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                child = os.fork()
                if child:
                    pathlib.Path({str(pipe)!r}).write_text(f"{{os.getpid()}} {{child}}")
                while True:
                    time.sleep(60)
            """
        ),
        "utf-8",
    )
    script = textwrap.dedent(
        f"""
        from stellwerk.pipelines.adapters.pool import Pool
        from stellwerk.pipelines.model import Attempt

        pool = Pool(workers=1)
        pool.start(Attempt(id="s", node="s", function="left_steps:step", file={str(file)!r}))
        pool.wait(None)
        """
    )

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen([sys.executable, "-c", script], env=environment) as running:
        processes = [int(word) for word in pipe.read_text().split()]
        running.send_signal(signal.SIGKILL)
        running.wait()

    assert 2 == len(processes)
    assert all(any(not alive(process) for _ in range(1_000_000)) for process in processes)
    assert any(not list(scratch.iterdir()) for _ in range(1_000_000))


def test_a_stray_that_may_not_be_ended_is_left(tmp_path: Path) -> None:
    """A process of somebody else, which a step began and lost, keeps nobody waiting; it is reaped when it ends."""
    script = tmp_path / "stray.py"
    script.write_text(
        textwrap.dedent("""
        import os, socket, subprocess, sys
        from stellwerk.pipelines.adapters import fork_server

        server = fork_server._Server(socket.socketpair()[0])
        stray = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

        def refused(*_):
            raise PermissionError

        os.kill = refused
        server._end_strays()
        print("left" if stray.poll() is None else "ended", flush=True)
        stray.stdin.close()
        os.waitid(os.P_PID, stray.pid, os.WEXITED | os.WNOWAIT)
        server._end_strays()
        print("reaped" if not fork_server._children() else "there")
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True)

    assert ["left", "reaped"] == done.stdout.split()
