"""`import stellwerk.auto`: what is recorded of scripts and notebooks, and that it never stands in their way."""

from __future__ import annotations

import copy
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stellwerk.store.service import put_files  # noqa: F401  # the rooms are loaded once
from stellwerk.tracking.logbook import Found
from stellwerk.workspace import courier
from stellwerk.workspace.recording import cells, origin, sending
from stellwerk.workspace.recording.cells import Cell
from stellwerk.workspace.recording.files import Watch
from stellwerk.workspace.recording.session import Session, bare
from stellwerk.workspace.recording.training import Measure
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings


@pytest.fixture
def rooms(tmp_path: Path) -> Rooms:
    """A workspace in a folder."""
    return Rooms(create(tmp_path, Settings(actor="anna")), Settings(actor="anna"))


def run(folder: Path, text: str, *arguments: str, module: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a script in a folder, as Python does, or through `python -m stellwerk.auto`."""
    (folder / "fit.py").write_text(textwrap.dedent(text), "utf-8")
    how = ["-m", "stellwerk.auto"] if module else []
    return subprocess.run(
        [sys.executable, *how, "fit.py", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def only(rooms: Rooms) -> Found:
    """The one run that there is, with its metrics."""
    (one,) = rooms.runs.search(limit=10)
    return rooms.logbook.get(one.id)


FIT = """
    import stellwerk.auto
    import argparse
    from pathlib import Path
    import numpy, pickle, pandas, polars
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, make_scorer
    from sklearn.model_selection import GridSearchCV, cross_val_score

    rate = 0.5
    layers = [8, 4]
    api_key = "hunter2"
    parser = argparse.ArgumentParser()
    parser.add_argument("--depth", type=int)
    depth = parser.parse_args().depth

    first, second = pandas.read_csv("a.csv"), polars.read_csv("b.csv")
    Path("made.csv").write_text("x")
    Path("made.csv").read_text()
    X, y = numpy.array([[0.0], [1.0], [2.0], [3.0]] * 6), numpy.array([0, 0, 1, 1] * 6)
    model = LogisticRegression(C=rate).fit(X, y)
    accuracy_score(y, model.predict(X))
    assert model.score(X, y) == 1.0

    class Mine(LogisticRegression):
        pass

    search = GridSearchCV(Mine(), {"C": [1.0, 2.0]}, cv=2, n_jobs=2, scoring=make_scorer(accuracy_score)).fit(X, y)
    pickle.loads(pickle.dumps([accuracy_score, model]))
"""


def test_a_script_is_recorded(rooms: Rooms, tmp_path: Path) -> None:
    """Parameters of the file and the command line, estimators, measures by what they measured, inputs, environment,
    the script. What looks like a secret is not, nor is what the script made itself. It works as without."""
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(f"{name},n\n1,2\n", "utf-8")
    known = rooms.blobs.put((tmp_path / "a.csv").read_bytes())

    done = run(tmp_path, FIT, "--depth", "7")

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    found = only(rooms)
    said = found.run
    assert ("finished", "fit") == (said.status, rooms.experiments.get(said.experiment).name)
    params = {
        name: said.params[name] for name in ("rate", "layers", "depth", "LogisticRegression.C", "GridSearchCV.cv")
    }
    expected = {
        "rate": "0.5",
        "layers": "[8, 4]",
        "depth": "7",
        "LogisticRegression.C": "0.5",
        "GridSearchCV.cv": "2",
    }
    assert expected == params
    assert "hunter2" not in json.dumps(said.params)
    measured = {one.key: one.value for one in found.metrics}
    assert 1.0 == measured["accuracy_score/y"] == measured["LogisticRegression/score/X"]
    assert {"LogisticRegression/fit_seconds", "GridSearchCV/best_cv_score"} < measured.keys()
    assert {"a.csv", "b.csv"} == {one.name for one in said.datasets}
    assert {"a.csv": known} == said.inputs
    assert said.environment is not None
    assert b"scikit-learn==" in rooms.blobs.get(said.environment)
    kept = rooms.artifacts.get(f"{said.experiment}/{said.id}/artifacts/script/fit.py")
    assert kept.digest is not None
    assert (tmp_path / "fit.py").read_bytes() == rooms.blobs.get(kept.digest)


def test_a_script_that_fails_says_why(rooms: Rooms, tmp_path: Path) -> None:
    """The run failed, with the error; what Python prints and answers is what it prints and answers without."""
    text = "def f():\n    raise ValueError('no table')\nf()\n"

    done = run(tmp_path, text, module=True)

    plain = subprocess.run([sys.executable, "fit.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (plain.returncode, plain.stderr.replace(str(tmp_path) + "/", "")) == (
        done.returncode,
        done.stderr.replace(str(tmp_path) + "/", ""),
    )
    said = only(rooms).run
    assert ("failed", "ValueError: no table") == (said.status, said.error)


def test_a_script_that_is_killed_is_interrupted(rooms: Rooms, tmp_path: Path) -> None:
    """What it had noted arrives all the same, by the process that brings it."""
    done = run(
        tmp_path,
        f"""
        import stellwerk.auto, os, time
        from pathlib import Path
        from sklearn.metrics import accuracy_score
        depth = 3
        accuracy_score([1, 0], [1, 1])
        box = Path(".stellwerk/outbox") / f"{{stellwerk.auto.run()}}.log"
        while not box.exists() or b'"kind":"points"' not in box.read_bytes():
            time.sleep(0.01)
        os.kill(os.getpid(), {int(signal.SIGKILL)})
        """,
    )
    assert -signal.SIGKILL == done.returncode
    box = tmp_path / ".stellwerk" / "outbox"
    for _ in range(600):
        if not list(box.glob("*.log")):
            break
        subprocess.run(
            [sys.executable, "-m", "stellwerk", "runs", "--send"], cwd=tmp_path, check=True, capture_output=True
        )
    found = only(rooms)
    assert ("interrupted", {"depth": "3"}) == (found.run.status, found.run.params)
    assert [("accuracy_score", 0.5)] == [(one.key, one.value) for one in found.metrics]


def test_without_a_workspace_the_script_runs(tmp_path: Path) -> None:
    """One line says what to do."""
    done = run(tmp_path, "import stellwerk.auto\nprint(stellwerk.auto.run() == '')\n")

    assert (0, "True\n") == (done.returncode, done.stdout)
    assert (
        "stellwerk: nothing is recorded: there is no workspace here or above; `stellwerk init` makes one\n"
        == done.stderr
    )


def test_processes_of_a_script_are_part_of_it(rooms: Rooms, tmp_path: Path) -> None:
    """Workers that import the script again, and forks, record nothing; a program that it starts does, below it."""
    done = run(
        tmp_path,
        """
        import stellwerk.auto, multiprocessing, os, subprocess, sys, warnings

        # Python 3.12 and later say so of every process with threads, and what records has one.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

        def work(n):
            return n, stellwerk.auto.run()

        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                assert [(1, "")] == pool.map(work, [1])
            if not (child := os.fork()):
                assert not stellwerk.auto.RECORDING.session.on
                sys.exit(0)
            os.waitpid(child, 0)
            with open("other.py", "w") as file:
                file.write("import stellwerk.auto")
            subprocess.run([sys.executable, "other.py"], check=True)
            with stellwerk.run("block") as run:
                from sklearn.metrics import accuracy_score
                accuracy_score([1], [1])
        """,
    )
    assert (0, "") == (done.returncode, done.stderr)
    runs = {rooms.experiments.get(one.experiment).name: one for one in rooms.runs.search(limit=10)}
    assert {"fit", "other", "default"} == runs.keys()
    assert {runs["fit"].id} == {runs["other"].parent, runs["default"].parent}
    assert ["accuracy_score"] == [one.key for one in rooms.logbook.get(runs["default"].id).metrics]
    assert () == rooms.logbook.get(runs["fit"].id).metrics


# Rules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "depth = 4\nrate: float = -0.5\nname = 'a'\nnone = None",
            {"depth": 4, "rate": -0.5, "name": "a", "none": None},
        ),
        ("a = b = 2\na = f()", {"b": 2}),
        ("layers = (8, 4)\nnested = [[1]]\ntable = {'a': 1}", {"layers": [8, 4]}),
        ("_hidden = 1\npassword = 'x'\ndb = 'postgresql://u:p@h/d'\nfor i in []:\n    j = 1", {}),
        ("%matplotlib inline\na = 1", {}),
        ("a = 1e400\nb = '\\x00'", {"a": float("inf")}),
    ],
)
def test_constants_are_parameters(text: str, expected: dict[str, Any]) -> None:
    """Plain values that the top level gives to names, but no secrets."""
    assert expected == cells.constants(text)


def test_files_of_the_project_count_and_data_elsewhere(tmp_path: Path) -> None:
    """No code, nothing hidden, nothing installed."""
    told: list[tuple[str, bool]] = []
    watch = Watch((str(tmp_path),), lambda path, writes: told.append((path, writes)))
    here = str(tmp_path)
    good = [f"{here}/a.csv", f"{here}/sub/model.bin", "/data/other.parquet"]
    bad = [f"{here}/a.py", f"{here}/.git/x.csv", "/home/x/.cache/f.json", "/etc/passwd", "/proc/1/stat.txt"]
    bad += [str(Path(os.__file__).parent / "x.csv"), "", f"{here}/pyproject.toml"]

    for path in [*good, *bad, *good]:
        watch.opened(path, "rb", os.O_RDONLY)
    watch.opened(good[0], "wb", os.O_WRONLY)
    watch.opened(3, "rb", 0)

    assert [*((path, False) for path in good), (good[0], True)] == told


def test_a_front_end_says_which_notebook_it_is(tmp_path: Path) -> None:
    """By VS Code's variable, Jupyter's session, below a root that the kernel does not know; a lie is no answer."""
    (tmp_path / "work").mkdir()
    file = tmp_path / "work" / "a.ipynb"
    file.write_text("{}", "utf-8")
    here = tmp_path / "work"

    assert file == origin.notebook({"__vsc_ipynb_file__": str(file)}, {}, here)
    assert file == origin.notebook({}, {"JPY_SESSION_NAME": "work/a.ipynb"}, here)
    assert file == origin.notebook({"__session__": "/root/elsewhere/a.ipynb"}, {}, here)
    assert origin.notebook({"__session__": "3f2b-uuid", "__vsc_ipynb_file__": 7}, {}, here) is None


def test_a_kernel_that_vanishes_between_cells_was_done() -> None:
    """One that vanishes in a cell was interrupted; the history of its cells is made from what it said."""
    ran: list[sending.Record] = [
        ({"kind": "begin"}, b""),
        ({"kind": "cell", "number": 1}, b"a = 1"),
        ({"kind": "ran", "number": 1, "status": "finished", "error": ""}, b""),
    ]
    (file, end) = sending.missing(ran)
    assert (b"# %% [1]\na = 1\n", "finished") == (file[1], end[0]["status"])
    (_, end) = sending.missing([*ran, ({"kind": "cell", "number": 2}, b"while True: pass")])
    assert "interrupted" == end[0]["status"]
    assert [] == sending.missing([*ran, ({"kind": "end"}, b"")])


def test_addresses_are_kept_without_credentials() -> None:
    """Neither who asks nor a signature."""
    assert "s3://bucket/a.csv" == bare("s3://key:secret@bucket/a.csv?X-Amz-Signature=abc#x")


class _Pen:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def write(self, run: str, says: dict[str, Any], data: bytes = b"") -> None:
        self.said.append((run, says))

    def point(self, run: str, key: str, value: float, step: int) -> None:
        self.said.append((run, {"kind": "point", "key": key, "value": value, "step": step}))


def test_another_value_of_a_parameter_is_another_run() -> None:
    """From the next measure on; the new run has read and executed what the one before had."""
    pen = _Pen()
    session = Session(pen, origin.Origin(shell=SimpleNamespace()), b"{}")  # type: ignore[arg-type]
    session.opened("/data/a.csv", False)
    for number, text in enumerate(["depth = 2", "depth = 4", "depth = 8\nrate = 1"], 1):
        session.cell(number, text)
        session.ran(number, "finished")
        if number > 1:
            session.measured("auc", 0.5, "")
    session.end(session.state)

    first, second = session.runs
    params = [(run, says["params"]) for run, says in pen.said if says["kind"] == "log"]
    assert [(first, {"depth": "4"}), (second, {"depth": "8", "rate": "1"})] == params
    ends = [(run, says["status"]) for run, says in pen.said if says["kind"] == "end"]
    assert [(first, "finished"), (second, "finished")] == ends
    again = [says["kind"] for run, says in pen.said if run == second]
    assert (1, 3) == (again.count("read"), again.count("cell"))


def test_notes_never_raise() -> None:
    """Whatever estimators and libraries do."""

    class Broken:
        def get_params(self, deep: bool = True) -> dict[str, Any]:
            raise RuntimeError("no")

    session = Session(_Pen(), origin.Origin(), b"{}")  # type: ignore[arg-type]
    session.fitted(Broken(), 1.0)
    session.measured("a", object(), "")
    session.used(object())
    session.parameters({"a b/../c": 1, "x": float("nan")})
    assert ["RuntimeError: no"] == session.problems


def test_a_coat_stays_where_it_was_put_on() -> None:
    """Copied or pickled, the function goes without it."""
    coated = Measure(os.path.basename, lambda function, given, more: ("noted", function(*given, **more)))
    assert ("noted", "b") == coated("/a/b")
    assert os.path.basename is copy.copy(coated) is pickle.loads(pickle.dumps(coated))


def test_history_shows_what_failed() -> None:
    """As cells that editors know."""
    told = cells.history(
        [Cell(number=1, text="a", status="finished"), Cell(number=3, text="b", status="failed", error="X: y")]
    )
    assert "# %% [1]\na\n\n# %% [3] failed: X: y\nb\n" == told


def test_what_is_said_at_once_is_heard() -> None:
    """However slowly the courier starts, lines that came with the first one are none the less read."""
    reading, writing = os.pipe()
    os.write(writing, b'{"place": "."}\nrun-a\nrun-b\nrun')
    os.write(writing, b"-c\n")
    os.close(writing)

    first, rest = courier._first(reading)
    said = [run for runs in courier._lines(reading, rest) for run in runs]
    os.close(reading)

    assert b'{"place": "."}' == first
    assert ["run-a", "run-b", "run-c"] == said
