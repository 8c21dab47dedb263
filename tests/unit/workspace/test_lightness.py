"""What executing a pipeline imports: nothing heavy that its steps do not ask for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HEAVY = {"numpy", "scipy", "polars", "sklearn", "optuna", "ray", "papermill", "starlette", "IPython"}
TABLES = {"sqlalchemy", "alembic"}
FLOW = """
import stellwerk as sw


@sw.step
def one(x: int = 0) -> int:
    return x + 1


@sw.pipeline
def twice():
    return one(one(0))
"""


def test_running_needs_nothing_heavy() -> None:
    """A hundred cached steps take a fraction of a second, most of which would be importing numpy."""
    script = (
        "import sys\n"
        "import stellwerk.cli.executing, stellwerk.workspace.facade, stellwerk.workspace.running\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )

    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "[]" == said.stdout.strip()


def test_an_unchanged_pipeline_asks_the_driver(tmp_path: Path) -> None:
    """Who finds everything known opens the book, asks and writes without what makes tables and complicated questions."""
    (tmp_path / "pipeline.py").write_text(FLOW)
    for words in (["init"], ["run"]):
        subprocess.run([sys.executable, "-m", "stellwerk", *words], cwd=tmp_path, capture_output=True, check=True)
    script = (
        "import sys\n"
        "from stellwerk.cli.main import main\n"
        "assert 0 == main(['--json', 'run'])\n"
        f"print(sorted({HEAVY | TABLES!r} & set(sys.modules)))"
    )

    said = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)

    report, loaded = said.stdout.rstrip().rsplit("\n", 1)
    assert json.loads(report)["cached"]
    assert "[]" == loaded
