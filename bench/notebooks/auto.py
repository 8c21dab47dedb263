"""What `import stellwerk.auto` costs: the same scikit-learn notebook with and without it, in turn, each in a new kernel.

    python bench/notebooks/auto.py --rounds 7 --json auto.json

Measured inside the kernel, from before the import to the end of the last cell: wall clock and CPU of the kernel's
process. Besides that: the import alone, one fit, one cell. Needs the extra `notebook` and scikit-learn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

BEGIN = "import time, resource\n_t, _c = time.perf_counter(), time.process_time()"
AUTO = "import stellwerk.auto"
CELLS = [
    "import numpy as np\nimport polars as pl\nfrom sklearn.compose import make_column_transformer\n"
    "from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier\n"
    "from sklearn.linear_model import LogisticRegression\nfrom sklearn.metrics import log_loss, roc_auc_score\n"
    "from sklearn.model_selection import GridSearchCV, train_test_split\nfrom sklearn.pipeline import make_pipeline\n"
    "from sklearn.preprocessing import OneHotEncoder, StandardScaler",
    "depth = 8\ntrees = 120\nseed = 1",
    "table = pl.read_csv('table.csv')\ntable.describe()",
    "y = table['late'].to_numpy()\nframe = table.drop('late').to_pandas() if False else table.drop('late')\n"
    "numeric = [n for n in frame.columns if frame[n].dtype.is_numeric()]\nX = frame.select(numeric).to_numpy()\n"
    "X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=seed)",
    "simple = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))\nsimple.fit(X_train, y_train)\n"
    "roc_auc_score(y_test, simple.predict_proba(X_test)[:, 1])",
    "forest = RandomForestClassifier(n_estimators=trees, max_depth=depth, random_state=seed)\n"
    "forest.fit(X_train, y_train)\nroc_auc_score(y_test, forest.predict_proba(X_test)[:, 1])",
    "boosted = HistGradientBoostingClassifier(max_depth=depth, random_state=seed).fit(X_train, y_train)\n"
    "log_loss(y_test, boosted.predict_proba(X_test))",
    "search = GridSearchCV(LogisticRegression(max_iter=300), {'C': [0.1, 1.0, 10.0]}, cv=3)\n"
    "search.fit(X_train[:8000], y_train[:8000])\nsearch.score(X_test, y_test)",
    "for c in np.logspace(-3, 2, 30):\n    m = LogisticRegression(C=c, max_iter=50).fit(X_train[:2000], y_train[:2000])\n"
    "    m.score(X_test, y_test)",
    "order = np.argsort(forest.feature_importances_)[::-1]\n[numeric[i] for i in order]",
]
END = "import json\nprint(json.dumps({'wall': time.perf_counter() - _t, 'cpu': time.process_time() - _c}))"
SMALL = """
import json, time
began = time.perf_counter()
{auto}
imported = time.perf_counter() - began
import warnings; warnings.simplefilter("ignore")
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score
from IPython.core.interactiveshell import InteractiveShell
X, y = [[0], [1]] * 5, [0, 1] * 5
def each(count, do):
    do()
    began = time.perf_counter()
    for _ in range(count):
        do()
    return (time.perf_counter() - began) / count
shell = InteractiveShell.instance()
{listen}
fit = each(2000, lambda: DummyClassifier(strategy="prior").fit(X, y))
measure = each(2000, lambda: accuracy_score(y, y))
cell = each(300, lambda: shell.run_cell("a = 1\\nb = [a, 2]", store_history=True))
print(json.dumps({{"import": imported, "fit": fit, "measure": measure, "cell": cell}}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, asked.rows)
        found = {"notebook": notebook(folder, asked.rounds), "small": small(folder, asked.rounds)}
    print(json.dumps(found, indent=2))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2))


def prepare(folder: Path, rows: int) -> None:
    """A workspace and a table."""
    import numpy as np
    import polars as pl

    random = np.random.default_rng(1)
    columns = {f"x{n}": random.normal(size=rows) for n in range(12)}
    late = (columns["x0"] + columns["x1"] * columns["x2"] + random.normal(size=rows) > 0.4).astype(int)
    pl.DataFrame({**columns, "late": late}).write_csv(folder / "table.csv")
    subprocess.run([sys.executable, "-m", "stellwerk", "init"], cwd=folder, check=True, capture_output=True)


def notebook(folder: Path, rounds: int) -> dict[str, Any]:
    """The notebook, with and without in turn; the first round of each is not counted."""
    walls: dict[str, list[float]] = {"with": [], "without": []}
    cpus: dict[str, list[float]] = {"with": [], "without": []}
    for number in range(rounds + 1):
        for kind in ("with", "without") if number % 2 else ("without", "with"):
            said = execute(folder, [BEGIN, *([AUTO] if kind == "with" else []), *CELLS, END])
            if number:
                walls[kind].append(said["wall"])
                cpus[kind].append(said["cpu"])
    return {
        "wall": {kind: statistics.median(found) for kind, found in walls.items()},
        "cpu": {kind: statistics.median(found) for kind, found in cpus.items()},
        "wall_overhead": statistics.median(walls["with"]) / statistics.median(walls["without"]) - 1,
        "cpu_overhead": statistics.median(cpus["with"]) / statistics.median(cpus["without"]) - 1,
        "wall_rounds": walls,
        "cpu_rounds": cpus,
    }


def execute(folder: Path, cells: list[str]) -> dict[str, float]:
    """Run cells in a kernel of their own; answers what the last one prints."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    NotebookClient(made, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    answer: dict[str, float] = json.loads(made.cells[-1].outputs[0]["text"])
    return answer


def small(folder: Path, rounds: int) -> dict[str, Any]:
    """The import, a fit, a measure and a cell, in microseconds more than without."""
    said: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
    for _ in range(rounds):
        for kind, lines in (("with", AUTO), ("without", "")):
            listen = (
                "from stellwerk.workspace.recording import notebooks\n"
                "notebooks.listen(shell, stellwerk.auto.RECORDING.session)"
                if kind == "with"
                else ""
            )
            text = SMALL.format(auto=lines, listen=listen)
            done = subprocess.run(
                [sys.executable, "-c", text], cwd=folder, check=True, capture_output=True, text=True, env=os.environ
            )
            said[kind].append(json.loads(done.stdout.splitlines()[-1]))
    names = ("import", "fit", "measure", "cell")
    middle = {
        kind: {name: statistics.median(one[name] for one in found) for name in names} for kind, found in said.items()
    }
    return {name: 1e6 * (middle["with"][name] - middle["without"][name]) for name in names}


if __name__ == "__main__":
    main()
