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


def printed(made: Any, place: int) -> str:
    """What a cell of an executed notebook printed."""
    return "".join(one.get("text", "") for one in made.cells[place].outputs)


def test_cells_are_given_the_commands_and_become_steps(rooms: Rooms, tmp_path: Path) -> None:
    """`%stellwerk` is the command line; a promoted cell is a step of a file, with the same result in a pipeline."""
    notebook = write(
        tmp_path / "try.ipynb",
        "%load_ext stellwerk",
        "import polars as pl\nfactor = 3",
        "def scale(column):\n    return column * factor_of(1)\n\ndef factor_of(n):\n    return n * 2",
        "table = pl.DataFrame({'x': [1, 2, 3]})",
        "%%stellwerk step scaled --kind features\n# twice as much\n"
        "bigger = table.with_columns(scale(pl.col('x')) * factor)",
        "%%stellwerk step total\nsaid = int(bigger['x'].sum())",
        "%%stellwerk step bad\n!ls\nx = 1",
        "open('pipeline.py', 'w').write('''import stellwerk as sw\nfrom steps import scaled, total\n"
        "import polars as pl\n@sw.step\ndef made() -> pl.DataFrame:\n    return pl.DataFrame({'x': [1, 2, 3]})\n"
        "@sw.pipeline\ndef sums(factor: int = 3):\n    return total(scaled(made(), factor))\n''')\nprint(said)",
        "%stellwerk run -p factor=3",
        "%stellwerk runs --experiment sums",
        "%stellwerk compare 1 2",
        "%stellwerk up",
    )

    made = execute(notebook)

    assert [] == [one.ename for cell in made.cells for one in cell.outputs if one.output_type == "error"]
    assert (
        '# steps.py\n@sw.step(kind="features")\ndef scaled(table, factor: int = 3):\n    # twice as much\n'
        in printed(made, 4)
    )
    assert "line 1 is for IPython and not Python: '!ls'" in printed(made, 6)
    assert "36\n" == printed(made, 7)
    assert "finished" in printed(made, 9)
    assert "error" in printed(made, 10)
    assert "goes on until it is stopped" in printed(made, 11)
    (run,) = rooms.runs.search(where="parent IS NULL", limit=10)
    assert b"36" == rooms.blobs.get(run.outputs["result"])
    kinds = {one.name: one.kind for one in rooms.runs.search(parent=run.id, limit=10)}
    assert {"made": "step", "scaled": "features", "total": "step"} == kinds
