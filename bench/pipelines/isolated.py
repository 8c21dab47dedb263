"""What a step in a process of its own costs: a warm pool against a fresh Python, and against a bare fork.

    python bench/pipelines/isolated.py [COUNT] [--heavy]

One no-op step after the other, COUNT times (100) in each of five rounds; the median round is printed. Wall time is
what the caller waits; CPU time is that of the caller and of everything it started. `--heavy` has the step's file
import numpy, polars and scikit-learn.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stellwerk.pipelines.adapters.in_process import InProcess
from stellwerk.pipelines.adapters.pool import Pool
from stellwerk.pipelines.adapters.subprocess import Subprocess
from stellwerk.pipelines.closure import closure
from stellwerk.pipelines.loading import resolve
from stellwerk.pipelines.model import Attempt, Outcome
from stellwerk.pipelines.ports import Executor

ROUNDS = 5
HEAVY = "import numpy\nimport polars\nimport sklearn.linear_model\n"
STEP = "\n\ndef nothing(number: int):\n    return number\n"


def main(arguments: list[str]) -> None:
    heavy = "--heavy" in arguments
    count = next((int(word) for word in arguments if word.isdigit()), 100)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "bench_steps.py"
        file.write_text((HEAVY if heavy else "") + STEP, "utf-8")
        print(f"{count} no-op steps, one after the other, {'heavy imports' if heavy else 'no imports'}")
        measure("bare fork and wait", fork, count)
        executors: list[tuple[str, Executor, int]] = [
            ("in process", InProcess(), count),
            ("warm pool", Pool(workers=1), count),
            ("fresh Python", Subprocess(), max(3, count // 20)),
        ]
        for label, executor, times in executors:
            measure(label, steps(executor, str(file)), times)
            executor.close()


def steps(executor: Executor, file: str) -> Callable[[int], None]:
    code = closure(resolve("bench_steps:nothing", file))

    def run(count: int) -> None:
        for number in range(count):
            params = {"number": number}
            executor.start(
                Attempt(id=str(number), node="n", function="bench_steps:nothing", file=file, code=code, params=params)
            )
            ended = executor.wait(None)
            assert ended is not None
            assert isinstance(ended.outcome, Outcome), ended

    return run


def fork(count: int) -> None:
    for _ in range(count):
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)


def measure(label: str, run: Callable[[int], None], count: int) -> None:
    run(2)
    rounds = []
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), spent()
        run(count)
        rounds.append(((time.perf_counter() - wall) * 1000 / count, (spent() - cpu) * 1000 / count))
    wall, cpu = statistics.median(w for w, _ in rounds), statistics.median(c for _, c in rounds)
    print(f"{label:<20} {wall:8.2f} ms wall   {cpu:8.2f} ms CPU   a step")


def spent() -> float:
    """CPU seconds of this process and of all below it that are still there or were waited for."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime + sum(_ticks(os.getpid()))


def _ticks(process: int) -> list[float]:
    """User and system time of ended and living descendants of a process."""
    per_second = os.sysconf("SC_CLK_TCK")
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        times = [int(text) / per_second for text in fields[11:15]]
        if int(path.name) == process:
            found += times[2:]
        elif int(fields[1]) == process:
            found += [*times, *[sum(_ticks(int(path.name))) - sum(times[2:])]]
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
