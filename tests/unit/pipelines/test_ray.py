"""The executor on Ray keeps the contract on two nodes of one machine, and survives the loss of one."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.errors import Refused, Unavailable
from stellwerk.pipelines.model import Attempt, Outcome, Resources
from stellwerk.pipelines.ports import Executor
from stellwerk.pipelines.values import STANDARD
from stellwerk.testing.executors import ExecutorContract

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(find_spec("ray") is None, reason="the extra [ray] is not installed"),
]
LONG = 120.0


@pytest.fixture(scope="module", autouse=True)
def _left_as_it_was() -> Iterator[None]:
    """Ray replaces `print` and puts folders into the path, which steps of other tests must not see."""
    said, path = builtins.print, list(sys.path)
    yield
    builtins.print, sys.path[:] = said, path


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes: the second one has a licence."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1, resources={"licence": 1})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


QUICK = {
    "test_it_returns_the_value",
    "test_an_exception_is_a_failure",
    "test_prints_are_returned",
    "test_several_outputs_are_named",
    "test_lists_are_put_together",
    "test_a_file_keeps_its_name_and_content",
    "test_a_memory_limit_stops_the_step",
    "test_every_start_has_one_end",
    "test_as_many_run_at_once_as_there_is_room_for",
    "test_who_ends_first_comes_first",
    "test_what_runs_can_be_stopped",
    "test_an_edited_file_is_refused",
    "test_what_is_not_there_is_refused",
    "test_of_what_is_scarce_no_more_is_taken_than_there_is",
}


class TestRay(ExecutorContract):
    takes_variables = False
    at_once = False

    @pytest.fixture(autouse=True)
    def quick(self, request: pytest.FixtureRequest) -> None:
        """On the nodes runs the pool, which keeps the whole contract elsewhere."""
        if request.function.__name__ not in QUICK and os.environ.get("STELLWERK_TEST_RAY") != "all":
            pytest.skip("the whole contract on Ray runs with STELLWERK_TEST_RAY=all")

    @pytest.fixture
    def executor(self, cluster: Any) -> Iterator[Executor]:
        from stellwerk.pipelines.adapters.ray import Ray

        executor = Ray()
        yield executor
        executor.close()


def steps(folder: Path) -> str:
    """A pipeline file with a step that says where it runs, and one that waits there."""
    path = folder / "node_steps.py"
    path.write_text(
        "import os, pathlib, time\n\n\ndef node(mark=''):\n"
        "    if mark:\n        pathlib.Path(mark).write_text(str(os.getpid()))\n"
        "        while True:\n            time.sleep(60)\n"
        "    return 1\n",
        "utf-8",
    )
    return str(path)


def until_refused(executor: Executor, attempt: Attempt) -> str:
    """Ray needs a moment to notice; until then, what waits for the node comes out as lost."""
    while True:
        try:
            executor.start(attempt)
        except Refused as refused:
            return refused.code
        ended = executor.wait(LONG)
        assert ended is not None
        assert "worker-lost" == getattr(ended.outcome, "code", "")


def test_a_lost_node_is_told_and_the_other_goes_on(cluster: Any, tmp_path: Path) -> None:
    """An attempt whose node dies comes out as lost; what only that node had is then refused."""
    from stellwerk.pipelines.adapters.ray import Ray

    executor = Ray()
    file, mark = steps(tmp_path), tmp_path / "pipe"
    os.mkfifo(mark)
    licence = Resources(custom={"licence": 1})
    there = Attempt(
        id="there", node="n", function="node_steps:node", file=file, params={"mark": str(mark)}, resources=licence
    )
    executor.start(there)
    process = int(mark.read_text())

    cluster.remove_node(list(cluster.worker_nodes)[-1], allow_graceful=False)
    lost = executor.wait(LONG)
    again = Attempt(id="again", node="n", function="node_steps:node", file=file, resources=licence)
    refused = until_refused(executor, again)
    executor.start(Attempt(id="here", node="n", function="node_steps:node", file=file))
    here = executor.wait(LONG)
    executor.close()

    assert lost is not None
    assert "worker-lost" == getattr(lost.outcome, "code", "")
    assert "limits-not-kept" == refused
    assert here is not None
    assert isinstance(here.outcome, Outcome), here
    assert 1 == STANDARD.decode(here.outcome.outputs["value"])
    assert process > 0


PLAN = """
    from stellwerk import pipeline, step


    @step
    def part(number: int):
        total = 0
        for value in range(2_000_000):
            total = (total * 31 + value + number) % 1_000_003
        return total


    @step
    def whole(parts: list):
        return parts


    @pipeline
    def sums():
        return whole([part(number) for number in range(8)])
"""


def test_a_plan_survives_the_loss_of_a_node(cluster: Any, write: Any, desk: Any) -> None:
    """A node dies while it computes: the results are those of any other executor, each committed once."""
    from stellwerk.pipelines.adapters.ray import Ray

    second = cluster.add_node(num_cpus=1)
    plan = write(PLAN).sums.plan()
    expected = desk.values(desk.execute(plan))
    other = type(desk)()
    executor = Ray()
    assert 2 == executor.capacity().cpus

    def watch(event: Any) -> None:
        other.events.append(event)
        if event.kind == "node-finished" and second in cluster.worker_nodes:
            cluster.remove_node(second, allow_graceful=False)

    report = other.execute(plan, executor=executor, isolated=executor, watch=watch)
    executor.close()

    assert "done" == report.status
    assert expected == other.values(report)
    assert 9 == len(other.said("node-finished"))
    assert second not in cluster.worker_nodes


def test_no_cluster_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that is none is the user's to correct, and no trace of Ray's."""
    import ray

    from stellwerk.pipelines.adapters.ray import Ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    with pytest.raises(Unavailable) as told:
        Ray("127.0.0.1:1")

    assert "no-ray-cluster" == told.value.code


def test_a_cluster_that_is_started_here_has_what_was_declared() -> None:
    """In a process of its own: this one has a cluster already."""
    text = (
        "from stellwerk.pipelines.stock import Stock\n"
        "from stellwerk.workspace.executing import executor\n"
        "made = executor('ray', stock=Stock(custom={'licence': 2, 'none': 0}))\n"
        "print('has', made.capacity().custom)\n"
        "made.close()\n"
    )

    told = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)

    assert "has {'licence': 2.0}" in told.stdout.splitlines()
