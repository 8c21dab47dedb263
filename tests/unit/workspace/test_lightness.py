"""What executing a pipeline imports: nothing heavy that its steps do not ask for."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"numpy", "scipy", "polars", "sklearn", "optuna", "ray", "papermill", "starlette", "IPython"}


def test_running_needs_nothing_heavy() -> None:
    """A hundred cached steps take a fraction of a second, most of which would be importing numpy."""
    script = (
        "import sys\n"
        "import stellwerk.cli.executing, stellwerk.workspace.facade, stellwerk.workspace.running\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )

    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "[]" == said.stdout.strip()
