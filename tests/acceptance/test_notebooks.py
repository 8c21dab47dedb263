"""Notebooks in real kernels: recorded, executed as steps, and their cells as steps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from stellwerk.tracking.rules import artifacts_of
from stellwerk.workspace.rooms import Rooms, create
from stellwerk.workspace.settings import Settings

nbformat = pytest.importorskip("nbformat", reason="the extra `notebook` is not installed")
nbclient = pytest.importorskip("nbclient", reason="the extra `notebook` is not installed")
pytest.importorskip("ipykernel", reason="the extra `notebook` is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # those of Jupyter's own code


@pytest.fixture
def rooms(tmp_path: Path) -> Rooms:
    """A workspace in a folder."""
    return Rooms(create(tmp_path, Settings(actor="anna")), Settings(actor="anna"))


def write(path: Path, *cells: str, markdown: str = "") -> Path:
    """A notebook file of these cells."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    if markdown:
        made.cells.insert(0, nbformat.v4.new_markdown_cell(markdown))
    nbformat.write(made, path)
    return path


def execute(path: Path, **environment: str) -> Any:
    """Run a notebook in a kernel, in its folder, as a front end does; errors are answered in their cells."""
    made = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        made,
        timeout=120,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute(env={**os.environ, **environment})
    return made


def file_of(rooms: Rooms, run: Any, path: str) -> bytes:
    """A file that a run kept."""
    found = rooms.artifacts.get(f"{artifacts_of(run).removeprefix('mlflow-artifacts:/')}/{path}")
    assert found.digest is not None
    return rooms.blobs.get(found.digest)


def test_a_notebook_is_recorded(rooms: Rooms, tmp_path: Path) -> None:
    """Cells as they were executed, the notebook's file, the data; another depth that is measured is another run."""
    (tmp_path / "a.csv").write_text("x\n1\n", "utf-8")
    notebook = write(
        tmp_path / "try.ipynb",
        "import stellwerk.auto",
        "depth = 2\nopen('a.csv').read()",
        "from sklearn.metrics import accuracy_score\naccuracy_score([1, 0], [1, 0])",
        "1 / 0",
        "depth = 3\naccuracy_score([1, 0], [0, 0])",
    )

    made = execute(notebook, JPY_SESSION_NAME=str(notebook))

    assert "ZeroDivisionError" == made.cells[3].outputs[0].ename
    second, first = rooms.runs.search(limit=10)
    assert [("finished", "2"), ("finished", "3")] == [(one.status, one.params["depth"]) for one in (first, second)]
    assert [1.0, 0.5] == [rooms.logbook.get(one.id).metrics[0].value for one in (first, second)]
    assert ["a.csv"] == [one.name for one in first.datasets] == [one.name for one in second.datasets]
    assert notebook.read_bytes() == file_of(rooms, second, "notebook/try.ipynb")
    history = file_of(rooms, second, "notebook/cells.py").decode()
    assert "# %% [1]\nimport stellwerk.auto\n\n# %% [2]\ndepth = 2\nopen('a.csv').read()\n" in history
    assert "# %% [4] failed: ZeroDivisionError: division by zero\n1 / 0\n" in history
    assert first.id == second.tags["stellwerk.after"]
