"""Notebooks in real kernels: recorded, executed as steps, and their cells as steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from stellwerk.tracking.rules import artifacts_of
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
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
    while list((tmp_path / ".stellwerk" / "outbox").glob("*.log")):  # the courier is slow where the machine is busy
        stellwerk(tmp_path, "runs", "--send")
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


PIPELINE = """
import polars as pl
import stellwerk as sw

@sw.step
def made() -> pl.DataFrame:
    return pl.DataFrame({"x": [1, 2, 3]})

@sw.step
def said(score: int, frame: pl.DataFrame) -> dict:
    return {"score": score, "rows": frame.height}

@sw.pipeline
def train(depth: int = 4):
    done = sw.notebook("nb/train.ipynb", params={"depth": depth}, inputs={"table": made()},
                       outputs=("score", "frame"), kind="train")
    return said(done["score"], done["frame"])
"""


def stellwerk(folder: Path, *arguments: str, code: int = 0) -> str:
    """A command in a folder; answers all that it says."""
    done = subprocess.run(
        [sys.executable, "-m", "stellwerk", *arguments], cwd=folder, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert code == done.returncode, done.stderr
    return done.stdout + done.stderr


def test_a_notebook_is_a_step(rooms: Rooms, tmp_path: Path) -> None:
    """Inputs are variables, modules and files come along, comments keep it cached, and errors show the cell."""
    (tmp_path / "nb").mkdir()
    (tmp_path / "pipeline.py").write_text(PIPELINE, "utf-8")
    (tmp_path / "nb" / "tools.py").write_text("def twice(x):\n    return 2 * x\n", "utf-8")
    (tmp_path / "nb" / "data.csv").write_text("y\n10\n20\n", "utf-8")
    texts = [
        "import polars as pl\nimport stellwerk as sw\nfrom tools import twice",
        "depth = 1",
        "more = pl.read_csv('data.csv')\nprint('depth', depth)\nscore = twice(depth) + int(table['x'].sum())",
        "sw.output('frame', more)",
    ]
    notebook = write(tmp_path / "nb" / "train.ipynb", *texts)

    stellwerk(tmp_path, "run")
    write(notebook, *texts[:-1], f"# a comment\n{texts[-1]}", markdown="# A title")
    assert "nothing had to be executed" in stellwerk(tmp_path, "run")

    first = rooms.runs.search(where="parent IS NULL", limit=10)[-1]
    assert {"score": 14, "rows": 2} == json.loads(rooms.blobs.get(first.outputs["result"]))
    (step,) = rooms.runs.search(where="name = 'train' AND kind = 'train' AND parent = '" + first.id + "'", limit=10)
    assert {"notebook": "nb/train.ipynb", "depth": 4} == {name: step.params[name] for name in ("notebook", "depth")}
    kept = json.loads(file_of(rooms, step, "notebook/train.ipynb"))
    assert [["depth 4\n"]] == [
        one["text"] for cell in kept["cells"] for one in cell.get("outputs", []) if "text" in one
    ]
    assert b"depth 4" in rooms.blobs.get(step.log)

    write(notebook, *texts[:2], "1 / 0")
    failed = stellwerk(tmp_path, "run", code=2)
    assert "cell 3 of nb/train.ipynb failed: ZeroDivisionError: division by zero\n    1 / 0\n" in failed
    assert "----> 1 1 / 0" in failed
    (failed_run,) = rooms.runs.search(where="status = 'failed' AND kind = 'train'", limit=10)
    assert "cell 3 of nb/train.ipynb failed" in failed_run.error


def test_files_are_run_as_what_they_are(rooms: Rooms, tmp_path: Path) -> None:
    """A notebook with its variables as parameters, a script recorded with options, a pipeline file as one."""
    write(tmp_path / "fit.ipynb", "import stellwerk as sw", "depth = 2", "sw.output('score', depth * 10)")
    (tmp_path / "plain.py").write_text(
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--depth', type=int)\n"
        "print(p.parse_args().depth)\n",
        "utf-8",
    )
    (tmp_path / "one.py").write_text(
        "import stellwerk as sw\n@sw.step\ndef a() -> int:\n    return 1\n@sw.pipeline\ndef one():\n    return a()\n",
        "utf-8",
    )

    stellwerk(tmp_path, "run", "fit.ipynb", "-p", "depth=4")
    assert "unknown (expected depth); did you mean 'depth'?" in stellwerk(
        tmp_path, "run", "fit.ipynb", "-p", "dept=4", code=2
    )
    assert "7\n" == stellwerk(tmp_path, "run", "plain.py", "-p", "depth=7")
    stellwerk(tmp_path, "run", "one.py")
    assert "there is no file 'no.py'" in stellwerk(tmp_path, "run", "no.py", code=4)

    runs = {one.name: one for one in rooms.runs.search(where="parent IS NULL AND kind = 'pipeline'", limit=10)}
    assert b"40" == rooms.blobs.get(runs["fit"].outputs["score"])
    assert b"1" == rooms.blobs.get(runs["one"].outputs["result"])
    (script,) = rooms.runs.search(where="kind = 'logged'", limit=10)
    assert "7" == script.params["depth"]


MARIMO = """
import marimo

app = marimo.App()


@app.cell
def _():
    depth = 2
    return (depth,)


@app.cell
def _(depth):
    score = depth * 10
    return (score,)
"""


@pytest.mark.skipif(find_spec("marimo") is None, reason="marimo is not installed")
def test_a_marimo_file_is_a_step(rooms: Rooms, tmp_path: Path) -> None:
    """With some of its variables given; it gives what it computes."""
    (tmp_path / "app.py").write_text(MARIMO, "utf-8")

    stellwerk(tmp_path, "run", "app.py", "-p", "depth=4")

    (run,) = rooms.runs.search(where="parent IS NULL", limit=10)
    assert 40 == json.loads(rooms.blobs.get(run.outputs["result"]))["score"]
