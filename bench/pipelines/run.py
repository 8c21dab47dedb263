"""A chain and a fan of no-op steps, whole processes: ours and peers in turn, in one run.

    python bench/pipelines/run.py [--steps 100] [--rounds 3] [--peer joblib=PYTHON] [--peer luigi=PYTHON]
                                  [--peer snakemake=PYTHON] [--peer dvc=PYTHON] [--peer dagster=PYTHON]
                                  [--peer prefect=PYTHON] [--peer zenml=PYTHON] [--peer metaflow=PYTHON]

Each round takes every tool in turn: once in a fresh folder (cold), once more with nothing changed (again); Metaflow
knows no unchanged steps, so there the second time is a `resume`. Peers live in environments of their own, named by
their interpreters. Each tool runs a few steps first, so that nobody's bytecode is compiled while it is measured. Prints
one JSON object: medians of seconds and of processor seconds by tool and shape, and their ratios to ours. `--grow`
measures ours at 1, 10 and 100 times the steps instead, and prints the exponent of growth.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

OURS = """
import stellwerk as sw


@sw.step
def one(x: int = 0, n: int = 0) -> int:
    return x + n


@sw.step
def gather(xs: list[int]) -> int:
    return sum(xs)


@sw.pipeline
def chain():
    x = 0
    for n in range({steps}):
        x = one(x, n=n)
    return x


@sw.pipeline
def fan():
    return gather([one(0, n=n) for n in range({steps} - 1)])
"""
JOBLIB = """
import sys
from joblib import Memory

memory = Memory("cache", verbose=0)


@memory.cache
def one(x, n):
    return x + n


@memory.cache
def gather(xs):
    return sum(xs)


if sys.argv[1] == "chain":
    x = 0
    for n in range({steps}):
        x = one(x, n)
else:
    gather([one(0, n) for n in range({steps} - 1)])
"""
LUIGI = """
import sys
import luigi


class One(luigi.Task):
    n = luigi.IntParameter()
    chained = luigi.BoolParameter()

    def requires(self):
        return [One(n=self.n - 1, chained=True)] if self.chained and self.n else []

    def output(self):
        return luigi.LocalTarget(f"out/{{self.n}}-{{self.chained}}.txt")

    def run(self):
        before = sum(int(one.open().read()) for one in self.input())
        with self.output().open("w") as file:
            file.write(str(before + self.n))


class Gather(luigi.Task):
    def requires(self):
        return [One(n=n, chained=False) for n in range({steps} - 1)]

    def output(self):
        return luigi.LocalTarget("out/sum.txt")

    def run(self):
        with self.output().open("w") as file:
            file.write(str(sum(int(one.open().read()) for one in self.input())))


task = One(n={steps} - 1, chained=True) if sys.argv[1] == "chain" else Gather()
luigi.build([task], local_scheduler=True, log_level="WARNING")
"""
SNAKEMAKE = {
    "chain": """
rule all:
    input: "out/{last}.txt"

rule first:
    output: "out/0.txt"
    shell: "echo 0 > {{output}}"

rule one:
    input: lambda w: f"out/{{int(w.n) - 1}}.txt"
    output: "out/{{n,[1-9][0-9]*}}.txt"
    shell: "echo $(( $(cat {{input}}) + 1 )) > {{output}}"
""",
    "fan": """
rule all:
    input: "sum.txt"

rule one:
    output: "out/{{n}}.txt"
    shell: "echo {{wildcards.n}} > {{output}}"

rule gather:
    input: expand("out/{{n}}.txt", n=range({last}))
    output: "sum.txt"
    shell: "cat {{input}} | awk '{{{{{{{{ sum += $1 }}}}}}}} END {{{{{{{{ print sum }}}}}}}}' > {{output}}"
""",
}
DAGSTER = """
import os
import sys
from dagster import DagsterInstance, In, job, op


@op
def zero():
    return 0


@op
def one(x):
    return x + 1


@op
def gather(xs):
    return sum(xs)


@job
def chain():
    x = zero()
    for _ in range({steps} - 1):
        x = one(x)


@job
def fan():
    start = zero()
    gather([one.alias(f"one_{{n}}")(start) for n in range({steps} - 2)])


os.makedirs("dagster", exist_ok=True)
(chain if sys.argv[1] == "chain" else fan).execute_in_process(instance=DagsterInstance.local_temp("dagster"))
"""
PREFECT = """
import sys
from prefect import flow, task
from prefect.cache_policies import INPUTS


@task(cache_policy=INPUTS, persist_result=True)
def one(x, n):
    return x + n


@task(cache_policy=INPUTS, persist_result=True)
def gather(xs):
    return sum(xs)


@flow
def chain():
    x = 0
    for n in range({steps}):
        x = one(x, n)


@flow
def fan():
    gather([one(0, n) for n in range({steps} - 1)])


(chain if sys.argv[1] == "chain" else fan)()
"""
ZENML = """
import sys
from zenml import pipeline, step


@step
def zero() -> int:
    return 0


@step
def one(x: int, n: int) -> int:
    return x + n


@step
def gather() -> int:
    return 0


@pipeline(enable_cache=True)
def chain():
    x = zero()
    for n in range({steps} - 1):
        x = one(x, n)


@pipeline(enable_cache=True)
def fan():
    start = zero()
    for n in range({steps} - 2):
        one(start, n, id=f"one_{{n}}")
    gather(after=[f"one_{{n}}" for n in range({steps} - 2)])


(chain if sys.argv[1] == "chain" else fan)()
"""
QUIET = {
    "PREFECT_HOME": ".prefect", "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true", "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "ZENML_CONFIG_PATH": ".zenml", "ZENML_ANALYTICS_OPT_IN": "false", "ZENML_LOGGING_VERBOSITY": "CRITICAL",
    "METAFLOW_USER": "bench", "METAFLOW_HOME": ".metaflowconfig", "METAFLOW_DATASTORE_SYSROOT_LOCAL": ".",
}  # fmt: skip
"""What keeps peers inside of their folder, and silent."""


class Tool:
    """One tool: how its project is written into a folder, and the command that executes it."""

    def __init__(
        self,
        python: str,
        write: Callable[[Path, str, int], None],
        command: Callable[[str, str], list[str]],
        again: Callable[[str, str], list[str]] | None = None,
    ):
        self.python, self.write, self.commands = python, write, (command, again or command)

    def round(self, shape: str, steps: int) -> list[tuple[float, float]]:
        """Seconds and processor seconds, cold and again."""
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            self.write(folder, shape, steps)
            return [timed(command(self.python, shape), folder) for command in self.commands]


def timed(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """One command to its end; it must succeed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    place = {name: str(folder / value) if value.startswith(".") else value for name, value in QUIET.items()}
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | place
    done = subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ours(folder: Path, shape: str, steps: int) -> None:
    (folder / "pipeline.py").write_text(OURS.format(steps=steps))
    subprocess.run([sys.executable, "-m", "stellwerk", "init"], cwd=folder, check=True, capture_output=True)


def script(text: str) -> Callable[[Path, str, int], None]:
    """A tool that is a script."""
    return lambda folder, shape, steps: (folder / "flow.py").write_text(text.format(steps=steps)) and None


def snakefile(folder: Path, shape: str, steps: int) -> None:
    (folder / "Snakefile").write_text(SNAKEMAKE[shape].format(last=steps - 1))


def flow(folder: Path, shape: str, steps: int) -> None:
    """A flow of Metaflow, whose steps are methods."""
    said = ["from metaflow import FlowSpec, step", "", "", "class Flow(FlowSpec):"]

    def method(name: str, *lines: str, joins: bool = False) -> None:
        said.extend(
            ["    @step", f"    def {name}(self{', inputs' if joins else ''}):", *(f"        {x}" for x in lines), ""]
        )

    if shape == "chain":
        method("start", "self.x = 0", f"self.next(self.{'s1' if steps > 2 else 'end'})")
        for n in range(1, steps - 1):
            method(f"s{n}", "self.x += 1", f"self.next(self.{f's{n + 1}' if n < steps - 2 else 'end'})")
        method("end", "pass")
    else:
        method("start", f"self.items = list(range({steps - 3}))", "self.next(self.one, foreach='items')")
        method("one", "self.x = self.input", "self.next(self.gather)")
        method("gather", "self.x = sum(one.x for one in inputs)", "self.next(self.end)", joins=True)
        method("end", "pass")
    (folder / "flow.py").write_text("\n".join([*said, "", "if __name__ == '__main__':", "    Flow()", ""]))


def stages(python: str) -> Callable[[Path, str, int], None]:
    """A dvc.yaml in a Git repository."""

    def write(folder: Path, shape: str, steps: int) -> None:
        (folder / "one.py").write_text(
            "import sys\nopen(sys.argv[1], 'w').write(str(sum(int(open(one).read()) for one in sys.argv[2:]) + 1))\n"
        )
        made: dict[str, dict[str, object]] = {}
        for n in range(steps):
            needs = [f"{n - 1}.txt"] if shape == "chain" and n else []
            if shape == "fan" and n == steps - 1:
                needs = [f"{m}.txt" for m in range(steps - 1)]
            command = " ".join(["python3", "one.py", f"{n}.txt", *needs])
            made[f"s{n}"] = {"cmd": command, "deps": ["one.py", *needs], "outs": [f"{n}.txt"]}
        (folder / "dvc.yaml").write_text(json.dumps({"stages": made}))
        for argv in (["git", "init", "-q"], [str(Path(python).with_name("dvc")), "init", "-q"]):
            subprocess.run(argv, cwd=folder, check=True)

    return write


def tools(peers: dict[str, str]) -> dict[str, Tool]:
    plain: Callable[[str, str], list[str]] = lambda python, shape: [python, "flow.py", shape]  # noqa: E731
    known = {
        "joblib": lambda python: Tool(python, script(JOBLIB), plain),
        "luigi": lambda python: Tool(python, script(LUIGI), plain),
        "dagster": lambda python: Tool(python, script(DAGSTER), plain),
        "prefect": lambda python: Tool(python, script(PREFECT), plain),
        "zenml": lambda python: Tool(python, script(ZENML), plain),
        "metaflow": lambda python: Tool(
            python,
            flow,
            lambda python, _: [python, "flow.py", "--quiet", "run", "--max-workers", "2"],
            lambda python, _: [python, "flow.py", "--quiet", "resume", "--max-workers", "2"],
        ),
        "snakemake": lambda python: Tool(
            python, snakefile, lambda python, _: [str(Path(python).with_name("snakemake")), "-c", "2", "-q", "all"]
        ),
        "dvc": lambda python: Tool(
            python, stages(python), lambda python, _: [str(Path(python).with_name("dvc")), "repro", "-q"]
        ),
    }
    mine = Tool(sys.executable, ours, lambda python, shape: [python, "-m", "stellwerk", "run", shape])
    return {"stellwerk": mine, **{name: known[name](python) for name, python in peers.items()}}


def compared(peers: dict[str, str], steps: int, rounds: int) -> dict[str, object]:
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    all_tools = tools(peers)
    for tool in all_tools.values():
        tool.round("fan", 5)
    limit = [timed([sys.executable, "-c", "pass"], Path.cwd())[0] for _ in range(5)]
    for _ in range(rounds):
        for shape in ("chain", "fan"):
            for name, tool in all_tools.items():
                cold, again = tool.round(shape, steps)
                print(f"{name}, {shape}: {cold[0]:.2f} s, again {again[0]:.2f} s", file=sys.stderr, flush=True)
                of_tool = found.setdefault(name, {})
                of_tool.setdefault(f"{shape}, cold", []).append(cold)
                of_tool.setdefault(f"{shape}, again", []).append(again)
    medians = {
        name: {
            what: [statistics.median(column) for column in zip(*times, strict=True)] for what, times in some.items()
        }
        for name, some in found.items()
    }
    mine = medians["stellwerk"]
    return {
        "steps": steps,
        "python -c pass": round(statistics.median(limit), 4),
        "seconds, processor seconds": {
            name: {what: [round(one, 3) for one in both] for what, both in some.items()}
            for name, some in medians.items()
        },
        "times ours": {
            name: {what: round(both[0] / mine[what][0], 2) for what, both in some.items()}
            for name, some in medians.items()
            if name != "stellwerk"
        },
    }


def grown(steps: int) -> dict[str, object]:
    """Ours at 1, 10 and 100 times the steps, by processor seconds, less what starting takes."""
    tool = tools({})["stellwerk"]
    found: dict[str, object] = {}
    for shape in ("chain", "fan"):
        times = [tool.round(shape, count) for count in (steps, 10 * steps, min(9_999, 100 * steps))]
        base = tool.round(shape, 2)
        for index, what in enumerate(("cold", "again")):
            net = [max(1e-3, one[index][1] - base[index][1]) for one in times]
            exponent = math.log(net[2] / net[1]) / math.log(min(9_999, 100 * steps) / (10 * steps))
            found[f"{shape}, {what}"] = {
                "processor seconds": [round(one, 2) for one in net],
                "exponent from the second to the third": round(exponent, 3),
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="append", default=[], metavar="TOOL=PYTHON")
    parser.add_argument("--grow", action="store_true")
    given = parser.parse_args()
    peers = dict(one.split("=", 1) for one in given.peer)
    print(json.dumps(grown(given.steps) if given.grow else compared(peers, given.steps, given.rounds), indent=1))


if __name__ == "__main__":
    main()
