"""Executors by the names that people give."""

from __future__ import annotations

from pathlib import Path

import pytest

import stellwerk as sw
from stellwerk.core.errors import Invalid, Unavailable
from stellwerk.pipelines.loading import find_pipelines, load
from stellwerk.pipelines.stock import Stock
from stellwerk.workspace.executing import executor
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

FLOW = """
import stellwerk as sw


@sw.step(resources=sw.Resources(custom={"licence": 1}))
def licensed(number: int) -> int:
    return 2 * number


@sw.step(resources=sw.Resources(memory="64GiB", custom={"licence": 1}))
def limited(number: int) -> int:
    return number + 1


@sw.pipeline
def flow():
    return limited(licensed(20))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create(tmp_path, Settings(actor="anna"))
    (tmp_path / "flow.py").write_text(FLOW)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind"), [("in-process", "InProcess"), ("subprocess:3", "Subprocess"), ("pool:3", "Pool")]
)
def test_names_mean_executors(name: str, kind: str) -> None:
    """A number says how many attempts run at the same time."""
    made = executor(name)

    assert kind == type(made).__name__
    assert (1 if kind == "InProcess" else 3) == made.capacity().cpus
    made.close()


@pytest.mark.parametrize(
    "name",
    ["", "in-process:2", "ray:", "pool:", "pool:0", "pool:-1", "pool:x", "pool:99999999", "pool:٣", "threads", "Ray"],
)
def test_other_names_are_refused(name: str) -> None:
    """The message says which there are."""
    with pytest.raises(Invalid) as told:
        executor(name)

    assert "unknown-executor" == told.value.code
    assert "pool:N" in told.value.message


@pytest.mark.parametrize("name", ["in-process", "subprocess:2", "pool:2", "sandbox:2"])
def test_what_was_declared_is_there(name: str) -> None:
    """Whichever executor of this machine it is; the rest of the machine is as it is seen."""
    try:
        bare = executor(name)
    except Unavailable:
        pytest.skip("this kernel has no Landlock or no seccomp")
    made = executor(name, stock=Stock(memory="3GiB", custom={"licence": 2}))
    bare.close()
    made.close()

    assert ("3GiB", {"licence": 2}) == (made.capacity().memory, made.capacity().custom)
    assert {} == bare.capacity().custom
    assert bare.capacity().gpus == made.capacity().gpus


@pytest.mark.parametrize("name", ["in-process", "subprocess:2", "pool:2"])
def test_the_project_file_declares_what_there_is(folder: Path, name: str) -> None:
    """Steps that take a licence run; with more memory than there is they take all of it."""
    (folder / "stellwerk.toml").write_text("[resources]\nlicence = 1\nmemory = '32GiB'\n")

    with sw.connect(folder, actor="anna") as workspace:
        ran = workspace.run(find_pipelines(load(folder / "flow.py"))["flow"].plan(), on=name)

    assert "done" == ran.status


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ("", "resources-not-there", "say what this machine has in [resources] of stellwerk.toml"),
        ("[resources]\nlicense = 1\n", "resources-not-there", "did you mean 'license'?"),
        ("[resources]\nlicence = 0.5\n", "resources-not-there", "[resources]"),
        ("[resources]\nlicence = 'one'\n", "invalid-project", "licence = 2"),
        ("[ressources]\nlicence = 1\n", "invalid-project", "did you mean 'resources'?"),
        ("resources = 3\n", "invalid-project", ""),
    ],
)
def test_what_is_not_declared_is_refused(folder: Path, text: str, code: str, hint: str) -> None:
    """Before a step runs; a file that declares nothing before anything is recorded."""
    (folder / "stellwerk.toml").write_text(text)

    with sw.connect(folder, actor="anna") as workspace, pytest.raises(Invalid) as refused:
        workspace.run(find_pipelines(load(folder / "flow.py"))["flow"].plan())
    with sw.connect(folder, actor="anna") as workspace:
        recorded = workspace.runs("status = 'failed'")

    assert code == refused.value.code
    assert hint in refused.value.hint
    assert (code == "resources-not-there") == bool(recorded)
