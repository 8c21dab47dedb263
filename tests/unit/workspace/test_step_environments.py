"""Steps that declare an environment run in it, and in no other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stellwerk.core import canonical
from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Invalid, NotFound, Refused
from stellwerk.pipelines.adapters.environments import Environments
from stellwerk.pipelines.adapters.in_process import InProcess
from stellwerk.pipelines.adapters.step_environments import StepEnvironments
from stellwerk.pipelines.adapters.subprocess import Subprocess
from stellwerk.pipelines.keys import environment_key
from stellwerk.pipelines.model import Attempt, Environment
from stellwerk.testing.wheels import wheel

FLOW = """
import stellwerk as sw
from helper import double

OWN = sw.Environment(lock="alpha.txt")


@sw.step(environment=OWN)
def inside(n: int) -> list[str]:
    import stw_alpha

    return [stw_alpha.version, str(double(n))]


@sw.step
def outside(found: list[str]) -> list[str]:
    try:
        import stw_alpha
    except ImportError:
        return [*found, "not here"]
    return [*found, stw_alpha.version]


@sw.pipeline
def flow(n: int = 2):
    return outside(inside(n))
"""
RUN = """
import sys

import stellwerk as sw
from flow import flow
from stellwerk.core import canonical

with sw.connect() as workspace:
    ran = workspace.run(flow())
    value = canonical.loads(workspace._caller.blobs.get(ran.report.results["result"][0].digest))
    print(canonical.dumps([value, [task.status for task in ran.report.tasks], list(sys.modules)]).decode())
"""


def run(home: Path) -> tuple[list[str], list[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=home,
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(home / "cache")},
    )
    answer = canonical.loads(done.stdout.strip().encode()) if done.returncode == 0 else [[], [], ""]
    return answer[0], answer[1], done.stderr


def lock(home: Path, version: str) -> None:
    found = wheel(home / "wheels", "stw_alpha", version)
    (home / "alpha.txt").write_text(f"--no-index\n--find-links wheels\nstw-alpha=={version} --hash=sha256:{found}\n")


def test_a_step_runs_in_the_environment_of_its_lock(tmp_path: Path) -> None:
    """It sees what the lock names and the project's code; another lock executes it again, the same one does not."""
    (tmp_path / "wheels").mkdir()
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / "helper.py").write_text("def double(n):\n    return 2 * n\n")
    init = "from stellwerk.cli.main import main; main(['init'])"
    subprocess.run([sys.executable, "-c", init], cwd=tmp_path, check=True, capture_output=True)
    lock(tmp_path, "1.0")
    first = run(tmp_path)
    again = run(tmp_path)
    lock(tmp_path, "2.0")
    second = run(tmp_path)

    assert (["1.0", "4", "not here"], ["done", "done"], "") == first
    assert (["1.0", "4", "not here"], ["cached", "cached"], "") == again
    assert (["2.0", "4", "not here"], ["done", "done"], "") == second


@pytest.mark.parametrize(
    ("environment", "code", "kind"),
    [
        (Environment(image="registry/x@sha256:00"), "needs-containers", Refused),
        (Environment(lock="nothing.txt"), "no-such-file", NotFound),
        (Environment(lock="../secret.txt"), "no-such-file", NotFound),
        (Environment(lock="loose.txt"), "not-a-lock", Invalid),
        (Environment(extra="gpu"), "no-lock", Invalid),
        (Environment(extra="gpu", lock="loose.txt"), "no-lock", Invalid),
    ],
)
def test_what_cannot_be_made_is_said(tmp_path: Path, environment: Environment, code: str, kind: type) -> None:
    """Before any step runs, with what would do."""
    home = tmp_path / "project"
    home.mkdir()
    (tmp_path / "secret.txt").write_text("a==1\n")
    (home / "loose.txt").write_text("polars\n")
    with pytest.raises(kind) as caught:
        StepEnvironments(home, Environments(tmp_path / "cache")).interpreter(environment)

    assert code == caught.value.code


def test_executors_that_cannot_give_it_refuse() -> None:
    """A step is never run in another environment than it declares."""
    attempt = Attempt(node="x", function="x:x", environment=Environment(python="3.12"))
    for made in (InProcess(), Subprocess()):
        with pytest.raises(Refused) as caught:
            made.start(attempt)

        assert "limits-not-kept" == caught.value.code


def test_the_key_is_that_of_the_own_lock() -> None:
    """And not of what is installed beside the engine; an image needs nothing of this machine."""
    one, two = of_bytes(b"1"), of_bytes(b"2")
    own = Environment(lock="a.txt")

    assert environment_key(one, own, {"a.txt": one}) == environment_key(two, own, {"a.txt": one})
    assert environment_key(one, own, {"a.txt": one}) != environment_key(one, own, {"a.txt": two})
    assert environment_key(one, Environment(python="3.12"), {}) != environment_key(
        two, Environment(python="3.12"), {}
    )
    assert environment_key(one, None, {}) == one
