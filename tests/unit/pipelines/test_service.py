"""What executing a plan promises."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Invalid, NotFound, Unavailable
from stellwerk.pipelines.adapters.in_process import InProcess
from stellwerk.pipelines.model import Attempt, Builtin, Ended, Outcome, StepResult
from stellwerk.pipelines.service import must_have
from stellwerk.pipelines.values import STANDARD

Write = Callable[..., ModuleType]

FLOW = """
from stellwerk.pipelines.authoring import contract, dataset, evaluate, pipeline, step
from stellwerk.pipelines.model import Resources

CALLS = []

@step(kind="data")
def months(first: int, last: int):
    CALLS.append("months")
    print("reading")
    return list(range(first, last))

@step(kind="train", seeds=3)
def train(table, seed: int, depth: int = 6):
    CALLS.append(f"train {seed}")
    return sum(table) + seed + depth

@step(kind="evaluate")
def best(models, table):
    CALLS.append("best")
    return max(models)

@pipeline
def delay(first: int = 1, last: int = 4, depth: int = 6):
    table = months(first, last)
    return best(train(table, depth), table)

@pipeline
def governed():
    table = contract("flights")(dataset("flights"))
    return evaluate(train(table), table)
"""


def stateless(text: str) -> str:
    """Without the list of calls, which is a global that changes while steps run."""
    return "\n".join(line for line in text.splitlines() if "CALLS" not in line)


def test_a_plan_is_executed(write: Write, desk: Any) -> None:
    """Each step once, in order, once per seed; the result is stored."""
    module = write(FLOW)

    report = desk.execute(module.delay())

    assert ["months", "train 0", "train 1", "train 2", "best"] == module.CALLS
    assert "done" == report.status
    assert [14] == desk.values(report)
    assert ["months", "train#0", "train#1", "train#2", "best"] == [task.task for task in report.tasks]
    assert module.delay().digest == report.plan
    assert report.started < report.ended
    log = report.tasks[0].result.log
    assert b"reading\n" == desk.blobs.get(log)


def test_an_unchanged_plan_is_not_executed_again(write: Write, desk: Any) -> None:
    """Everything comes from the step cache, with the same keys and results."""
    module = write(stateless(FLOW))
    first = desk.execute(module.delay())
    second = desk.execute(module.delay())

    assert 5 == first.count("done")
    assert 5 == second.count("cached")
    assert first.results == second.results
    assert [task.key for task in first.tasks] == [task.key for task in second.tasks]


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"plan": {"depth": 7}}, ["train#0", "train#1", "train#2", "best"]),
        ({"plan": {"last": 5}}, ["months", "train#0", "train#1", "train#2", "best"]),
        ({"text": ("seeds=3", "seeds=4")}, ["train#3", "best"]),
        ({"text": ("+ seed + depth", "+ seed - depth")}, ["train#0", "train#1", "train#2", "best"]),
        ({"text": ("+ seed + depth", "+ depth + seed")}, ["train#0", "train#1", "train#2"]),
        ({"text": ('kind="train"', 'kind="tune"')}, ["train#0", "train#1", "train#2"]),
        ({"text": ("return max(models)", "return min(models)")}, ["best"]),
        ({"text": ("return max(models)", "# the best\n    return max( models )")}, []),
        ({"text": ("seeds=3", "seeds=3, retries=2, timeout='10m'")}, []),
        ({"environment": of_bytes(b"other")}, ["months", "train#0", "train#1", "train#2", "best"]),
    ],
)
def test_only_what_changed_is_executed_again(
    write: Write, desk: Any, change: dict[str, Any], again: list[str]
) -> None:
    """What depends on it too, unless its result came out the same."""
    text = stateless(FLOW)
    desk.execute(write(text).delay())
    desk.events.clear()
    changes = {"environment": change["environment"]} if "environment" in change else {}

    desk.execute(write(text.replace(*change.get("text", ("", "")))).delay(**change.get("plan", {})), **changes)

    assert [f"node-finished {task}" for task in again] == desk.said("node-finished")


def test_datasets_and_builtin_steps(write: Write, desk: Any) -> None:
    """Datasets are resolved first; built-in steps are called with pinned parameters; a list goes in for seeds."""
    module = write(stateless(FLOW))
    desk.datasets["flights"] = desk.keep([1, 2])
    desk.pins["contract"] = 4
    seen: list[Any] = []
    desk.builtins = {
        "contract": lambda table, name, version: seen.append((name, version)) or table,
        "evaluate": lambda model, table: {"models": model},
    }

    report = desk.execute(module.governed())

    assert [("flights", 4)] == seen
    assert {"dataset:flights": desk.datasets["flights"]} == report.inputs
    assert [{"models": [9, 10, 11]}] == desk.values(report)
    assert "input-resolved dataset:flights" == desk.said()[0]


def test_what_a_builtin_step_reads_is_in_its_key(write: Write, desk: Any) -> None:
    """A new version of the contract, of the built-in step or of the data retires the cached results."""
    module = write(stateless(FLOW))
    desk.datasets["flights"] = desk.keep([1, 2])
    desk.pins["contract"] = 1
    desk.builtins = {"contract": lambda table, **_: table, "evaluate": lambda model, table: 1}
    plan = module.governed()
    newer = [Builtin(name="contract", version=2), Builtin(name="evaluate", version=1)]

    first = desk.execute(plan)
    same = desk.execute(plan)
    desk.pins["contract"] = 2
    pinned = desk.execute(plan)
    version = desk.execute(plan, builtins=newer)
    desk.datasets["flights"] = desk.keep([1, 2, 3])
    data = desk.execute(plan, builtins=newer)

    def status(report: Any) -> list[str]:
        return [task.status for task in report.tasks]

    assert ["done"] * 5 == status(first)
    assert ["cached"] * 5 == status(same)
    assert ["done", *["cached"] * 4] == status(pinned) == status(version)
    assert ["done"] * 5 == status(data)


def test_a_step_that_is_not_there_is_not_found(write: Write) -> None:
    """Wherever a step is named, with the nearest one."""
    plan = write(stateless(FLOW)).delay()

    must_have(plan, [node.id for node in plan.nodes])
    with pytest.raises(NotFound, match="did you mean") as caught:
        must_have(plan, [plan.nodes[0].id + "x"])

    assert "unknown-step" == caught.value.code


def test_unknown_names_end_the_execution_before_it_begins(write: Write, desk: Any) -> None:
    """A missing dataset, or a built-in step that is not there, is an error and not a failed step."""
    module = write(stateless(FLOW))

    with pytest.raises(Invalid) as unknown:
        desk.execute(module.governed())
    desk.builtins = {"contract": len, "evaluate": len}
    with pytest.raises(NotFound):
        desk.execute(module.governed())

    assert "invalid-plan" == unknown.value.code
    assert [] == desk.events


FAILING = """
from stellwerk.pipelines.authoring import pipeline, step

LEFT = [2]

@step(retries={retries})
def shaky():
    LEFT[0] -= 1
    if LEFT[0] >= 0:
        raise OSError("not yet")
    return "there"

@step
def after(value): return value

@step
def aside(): return 1

@step(retries=5)
def wrong(): return object()

@pipeline
def flow(): return {{"after": after(after(shaky())), "aside": after(aside())}}

@pipeline
def final(): return wrong()
"""


def test_a_failed_step_is_tried_again(write: Write, desk: Any) -> None:
    """After growing pauses, as often as it declares."""
    report = desk.execute(write(FAILING.format(retries=2)).flow())

    assert "done" == report.status
    assert [1.0, 2.0] == desk.pauses
    assert 3 == report.tasks[0].attempts
    assert [
        "node-started shaky",
        "node-retried shaky",
        "node-started shaky",
        "node-retried shaky",
        "node-started shaky",
        "node-finished shaky",
    ] == [said for said in desk.said() if said.endswith("shaky")]
    assert None is report.tasks[0].failure


def test_failure_skips_what_waits_for_it(write: Write, desk: Any) -> None:
    """And nothing else; the report says why, and the result that is there is there."""
    report = desk.execute(write(FAILING.format(retries=1)).flow())

    assert "failed" == report.status
    assert {"shaky": "failed", "after": "skipped", "after-2": "skipped", "aside": "done", "after-3": "done"} == {
        task.task: task.status for task in report.tasks
    }
    assert ["shaky"] == [task.task for task in report.failures]
    assert "step-failed" == report.failures[0].failure.code
    assert "not yet" in report.failures[0].failure.error().message
    assert {"shaky"} == {task.because for task in report.tasks if task.status == "skipped"}
    assert {"aside"} == report.results.keys()
    assert [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)] == [
        (e.done, e.total) for e in desk.events if e.kind == "progress"
    ]


def test_a_failed_run_is_resumed(write: Write, desk: Any) -> None:
    """Executing again runs what is missing, and nothing that is there."""
    module = write(FAILING.format(retries=0))
    desk.execute(module.flow())
    desk.events.clear()
    module.LEFT[0] = 0

    desk.execute(module.flow())

    assert ["node-finished shaky", "node-finished after"] == desk.said("node-finished")
    # `after-2` does with the same value what `after` did.
    assert ["node-cached aside", "node-cached after-3", "node-cached after-2"] == desk.said("node-cached")


def test_hopeless_failures_are_not_tried_again(write: Write, desk: Any) -> None:
    """A value that cannot pass will not pass next time."""
    report = desk.execute(write(FAILING.format(retries=0)).final())

    assert 1 == report.tasks[0].attempts
    assert [] == desk.pauses
    assert "unsupported-value" == report.tasks[0].failure.code


def test_the_first_result_is_the_result(write: Write, desk: Any) -> None:
    """A step that was executed twice at once has one result, and what follows uses that one."""
    module = write(stateless(FLOW))
    other = desk.keep([100])

    class Late(type(desk.memory)):  # type: ignore[misc]
        """Another worker commits between our look-up and our commit."""

        def write(self, events: Any) -> Any:
            for event in events:
                if event.kind == "node-finished" and not self:
                    self[event.key] = StepResult(outputs={"value": other})
            return super().write(events)

    report = desk.execute(module.delay(), journal=Late())

    assert other == report.tasks[0].result.outputs["value"]
    assert [108] == desk.values(report)


def test_limited_steps_run_isolated(write: Write, desk: Any) -> None:
    """Those that declare a timeout or memory go to the executor that keeps limits, the others do not."""
    seen: list[tuple[str, str, Any, Any]] = []

    class Noting(InProcess):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name, self.ended = name, []

        def start(self, attempt: Attempt) -> None:
            seen.append((self.name, attempt.node, attempt.timeout, attempt.memory))
            self.ended.append(Ended(attempt=attempt.id, outcome=Outcome(outputs={"value": STANDARD.encode(1)})))

        def wait(self, timeout: float | None) -> Ended | None:
            return self.ended.pop() if self.ended else None

    text = stateless(FLOW).replace('kind="data"', 'kind="data", timeout="10m"')
    text = text.replace('kind="evaluate"', 'kind="evaluate", resources=Resources(memory="1GB", cpus=2)')

    desk.execute(
        write(text.replace(", seeds=3", "").replace(", seed: int", "").replace("+ seed", "")).delay(),
        executor=Noting("here"),
        isolated=Noting("there"),
    )

    assert [("there", "months", 600.0, None), ("here", "train", None, None), ("there", "best", None, 10**9)] == seen


def test_a_limited_pipeline_runs_for_real(write: Write, desk: Any) -> None:
    """In children, with the same keys and results as in this process."""
    limited = stateless(FLOW).replace("seeds=3", "seeds=3, timeout='5m'")

    here = desk.execute(write(stateless(FLOW)).delay())
    there = type(desk)().execute(write(limited).delay())

    assert here.results == there.results
    assert [task.key for task in here.tasks] == [task.key for task in there.tasks]


@pytest.mark.parametrize("how", ["edited", "set"])
def test_a_child_runs_the_code_that_the_key_names(write: Write, desk: Any, how: str) -> None:
    """A file that is edited while a plan is executed, or a global that a child would not see, poisons no cache."""
    module = write(
        """
        import pathlib
        from stellwerk.pipelines.authoring import pipeline, step

        SIZE = 1

        @step
        def edits(text: str):
            if text:
                pathlib.Path(__file__).write_text(text)
            return 1

        @step(timeout="5m")
        def limited(value):
            return value + SIZE

        @pipeline
        def flow(text: str):
            return limited(edits(text))
        """
    )
    text = Path(str(module.__file__)).read_text().replace("SIZE = 1", "SIZE = 22")
    if how == "set":
        module.SIZE = 2

    report = desk.execute(module.flow(text if how == "edited" else ""))

    assert ["done", "failed"] == [task.status for task in report.tasks]
    assert "source-changed" == report.tasks[1].failure.code
    assert "pipeline:SIZE changed" in report.tasks[1].failure.message
    assert 1 == len(desk.memory)


def test_interrupting_leaves_no_half_state(write: Write, desk: Any) -> None:
    """What was committed stays, the interrupted step left nothing, and executing again finishes."""
    module = write(
        """
        from stellwerk.pipelines.authoring import pipeline, step

        STOP = [True]

        @step
        def one(): return 1

        @step
        def two(value):
            if STOP.pop():
                raise KeyboardInterrupt
            return value + 1

        @pipeline
        def flow(): return two(one())
        """
    )
    stop = module.STOP

    with pytest.raises(KeyboardInterrupt):
        desk.execute(module.flow())
    events = desk.said("node-finished", "cancelled", "node-failed")
    kept = len(desk.memory)
    stop.append(False)
    report = desk.execute(module.flow())

    assert ["node-finished one", "cancelled"] == events
    assert 1 == kept
    assert ["cached", "done"] == [task.status for task in report.tasks]
    assert [2] == desk.values(report)


@pytest.mark.parametrize("broken", ["put_many", "lookup", "write"])
def test_a_broken_port_ends_the_execution(write: Write, desk: Any, broken: str) -> None:
    """Nothing happens unrecorded or unstored, and no result is named whose bytes are not there."""
    module = write(stateless(FLOW))

    class Full:
        def __init__(self, inner: Any) -> None:
            self._inner = inner
            self._left = 3

        def __getattr__(self, name: str) -> Any:
            if name == broken:
                self._left -= 1
                if self._left < 0:
                    raise Unavailable("full")
            return getattr(self._inner, name)

    with pytest.raises(Unavailable):
        desk.execute(module.delay(), blobs=Full(desk.blobs), journal=Full(desk.memory))

    assert all(desk.blobs.has(out.digest) for result in desk.memory.values() for out in result.outputs.values())
    assert [14] == desk.values(desk.execute(module.delay()))


CRASHING = """
import json, os, pathlib, sys
from stellwerk.core.clock import SystemClock
from stellwerk.core.digest import of_bytes
from stellwerk.pipelines.adapters.in_process import InProcess
from stellwerk.pipelines.loading import load
from stellwerk.pipelines.model import StepResult, Stored
from stellwerk.pipelines.service import execute

root = pathlib.Path(sys.argv[2])

class Disk:
    def put_many(self, items):
        for data in items:
            self.save(root / of_bytes(data)[7:], data)
    def get(self, digest):
        return (root / digest[7:]).read_bytes()
    def save(self, path, data):
        path.with_suffix(".new").write_bytes(data)
        path.with_suffix(".new").replace(path)
    def lookup(self, key):
        path = root / (key[7:] + ".json")
        if not path.exists():
            return None
        return StepResult(outputs={n: Stored(**s) for n, s in json.loads(path.read_text()).items()})
    def write(self, events):
        for event in events:
            if event.kind == "node-finished":
                body = {n: {"digest": s.digest, "media": s.media} for n, s in event.result.outputs.items()}
                self.save(root / (event.key[7:] + ".json"), json.dumps(body).encode())
            if event.kind in {"node-finished", "node-cached"}:
                print(event.kind, event.task, flush=True)
        return {}
    def request(self):
        return ""

disk = Disk()
report = execute(load(sys.argv[1]).delay(), blobs=disk, journal=disk, resolver=disk, patience=0.0,
                 executor=InProcess(), isolated=InProcess(), environment=of_bytes(b""), clock=SystemClock())
print(report.status, disk.get(report.results["result"][0].digest))
"""


@pytest.mark.parametrize("failpoint", ["step-stored", "step-committed"])
@pytest.mark.parametrize("nth", [1, 3, 5])
def test_killed_at_any_durable_step_it_goes_on(write: Write, tmp_path: Path, failpoint: str, nth: int) -> None:
    """Kill -9 around a commit loses no committed result and repeats none."""
    file = str(write(stateless(FLOW)).__file__)
    store = tmp_path / "store"
    store.mkdir()
    command = [sys.executable, "-c", CRASHING, file, str(store)]
    environment = {"PYTHONPATH": ":".join(sys.path)}

    killed = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "STELLWERK_FAIL": f"{failpoint}:kill:{nth}"},
    )
    resumed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)

    committed = nth if failpoint == "step-committed" else nth - 1
    tasks = ["months", "train#0", "train#1", "train#2", "best"]
    assert -9 == killed.returncode
    assert [
        *(f"node-cached {task}" for task in tasks[:committed]),
        *(f"node-finished {task}" for task in tasks[committed:]),
        "done b'14'",
    ] == resumed.stdout.splitlines()


def test_a_cached_plan_imports_nothing_heavy(tmp_path: Path) -> None:
    """A hundred cached nodes, whose values are frames and arrays, need neither numpy nor polars to be executed."""
    steps = "\n\n".join(
        f"@step\ndef step_{n}(table=None):\n    import numpy, polars\n"
        f"    return polars.DataFrame({{'n': [{n}]}}) if {n} % 2 else numpy.zeros({n})\n"
        for n in range(100)
    )
    calls = "\n".join(f"    value = step_{n}(value)" for n in range(100))
    (tmp_path / "hundred.py").write_text(
        f"from stellwerk.pipelines.authoring import pipeline, step\n\n{steps}\n\n"
        f"@pipeline\ndef flow():\n    value = None\n{calls}\n    return value\n"
    )
    script = textwrap.dedent(
        """
        import sys
        from stellwerk.core.clock import SystemClock
        from stellwerk.core.digest import of_bytes
        from stellwerk.pipelines.adapters.in_process import InProcess
        from stellwerk.pipelines.adapters.subprocess import Subprocess
        from stellwerk.pipelines.environment import current
        from stellwerk.pipelines.loading import load
        from stellwerk.pipelines.model import StepResult, Stored
        from stellwerk.pipelines.service import execute

        class Full:
            def lookup(self, key):
                return StepResult(outputs={"value": Stored(digest=key, media="application/vnd.apache.parquet")})
            def write(self, events):
                return {}
            def request(self):
                return ""

        full = Full()
        report = execute(load(sys.argv[1]).flow(), blobs=full, journal=full, resolver=full,
                         executor=InProcess(), isolated=Subprocess(), environment=current().digest,
                         clock=SystemClock())
        print(report.count("cached"), sorted({"numpy", "polars", "scipy", "pydantic"} & set(sys.modules)))
        """
    )

    said = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "hundred.py")], capture_output=True, text=True, check=True
    )

    assert "100 []\n" == said.stdout
