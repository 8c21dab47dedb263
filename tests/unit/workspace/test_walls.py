"""A sandboxed step computes as any other, by the contract of executors, and can do nothing else."""

from __future__ import annotations

import os
import signal
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.errors import Unavailable
from stellwerk.pipelines.adapters.pool import Pool
from stellwerk.pipelines.model import Attempt, Failure, Outcome
from stellwerk.pipelines.ports import Executor
from stellwerk.pipelines.stock import Stock
from stellwerk.pipelines.values import STANDARD
from stellwerk.testing.executors import ExecutorContract
from stellwerk.workspace import walls
from stellwerk.workspace.executing import executor


def _walls() -> bool:
    try:
        walls.demand()
    except Unavailable:
        return False
    return True


pytestmark = pytest.mark.skipif(not _walls(), reason="this kernel has no Landlock or no seccomp")

FREE = """
    import helper
    import numpy
    import polars


    def step(file):
        table = polars.DataFrame({"a": range(1000)})
        return [helper.NAME, int(table["a"].sum()), float((numpy.eye(3) @ numpy.eye(3)).sum()), file.read_text()]
"""

TRIES = {
    "read a hidden file of the project": "return open(HOME + '/.stellwerk/key').read()",
    "read a file of the machine": "return open('/etc/passwd').read()",
    "write beside its folder": "open(HOME + '/there', 'w').write('x')",
    "connect": "import socket; socket.create_connection(('127.0.0.1', 9), timeout=5)",
    "start a program": "import subprocess; subprocess.run(['true'])",
    "fork": "import os; os.fork()",
    "signal its parent": "import os; os.kill(os.getppid(), 9)",
}


class TestSandbox(ExecutorContract):
    takes_variables = False
    walled = True
    source = "from stellwerk.workspace.executing import executor as named; executor = named('sandbox:1')"

    @pytest.fixture
    def executor(self) -> Iterator[Executor]:
        sandbox = Pool(workers=3, grace=0.3, walls=walls.REFERENCE, stock=Stock(custom={"licence": 2}))
        yield sandbox
        sandbox.close()

    def lose(self, executor: Executor) -> bool:
        assert isinstance(executor, Pool)
        assert executor.server is not None
        os.kill(executor.server, signal.SIGKILL)
        return True


def run(folder: Path, text: str, **facts: Any) -> Outcome | Failure:
    (folder / "walled_steps.py").write_text(textwrap.dedent(text), "utf-8")
    (folder / "helper.py").write_text("NAME = 'helper'\n", "utf-8")
    sandbox = executor("sandbox:1")
    sandbox.start(
        Attempt(id="a", node="s", function="walled_steps:step", file=str(folder / "walled_steps.py"), **facts)
    )
    ended = sandbox.wait(60.0)
    sandbox.close()
    assert ended is not None
    return ended.outcome


def test_a_walled_step_computes(tmp_path: Path) -> None:
    """It reads the project's modules and its inputs, and what is installed works."""
    note = tmp_path / "note.txt"
    note.write_text("an input", "utf-8")

    ended = run(tmp_path, FREE, inputs={"file": (STANDARD.encode(note),)}, memory=4 << 30, timeout=60.0)

    assert isinstance(ended, Outcome), ended
    assert ["helper", 499_500, 3.0, "an input"] == STANDARD.decode(ended.outputs["value"])


@pytest.mark.parametrize("what", TRIES)
def test_it_can_do_nothing_else(tmp_path: Path, what: str) -> None:
    """Whatever is not its business is denied by the kernel, while it is loaded and while it runs."""
    (tmp_path / ".stellwerk").mkdir()
    (tmp_path / ".stellwerk" / "key").write_text("secret", "utf-8")

    failed = run(tmp_path, f"HOME = {str(tmp_path)!r}\n\n\ndef step():\n    {TRIES[what]}\n")

    assert isinstance(failed, Failure), failed
    assert "step-failed" == failed.code
    assert "PermissionError" in failed.traceback
    assert not (tmp_path / "there").exists()


def test_it_does_not_see_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens and passwords of the caller are not there."""
    monkeypatch.setenv("A_TOKEN", "secret")

    ended = run(tmp_path, "import os\n\n\ndef step():\n    return sorted(os.environ)\n")

    assert isinstance(ended, Outcome), ended
    names = set(STANDARD.decode(ended.outputs["value"]))
    assert {"HOME", "TMPDIR"} <= names <= {*walls.KEPT, "HOME", "TMPDIR"}
    assert "A_TOKEN" in os.environ
