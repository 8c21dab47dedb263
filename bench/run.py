"""Measures what this edition promises, as ratios to an empty interpreter and as sizes. Prints one JSON document.

Run it on a quiet machine: `make bench`. Times are CPU seconds of whole processes, the median of several runs.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUNS = 9
LIMITS = {"help_ratio": 16.0, "import_ratio": 8.0, "cached_rerun_wall_seconds": 2.0, "base_install_mb": 65.0}


def cpu(command: list[str], cwd: Path = ROOT) -> float:
    """Median CPU seconds of a process and its children."""
    seconds = []
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=cwd)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(seconds)


def start_up() -> dict[str, float]:
    """`import stellwerk` and `stellwerk --help` against `python -c pass`."""
    empty = cpu([sys.executable, "-c", "pass"])
    imported = cpu([sys.executable, "-c", "import stellwerk"])
    helped = cpu([str(Path(sys.executable).parent / "stellwerk"), "--help"])
    return {
        "empty_interpreter_seconds": round(empty, 4),
        "import_ratio": round(imported / empty, 2),
        "help_ratio": round(helped / empty, 2),
    }


def cached_rerun() -> dict[str, float]:
    """Wall seconds of `stellwerk run` when every step is in the cache, on the flights workspace of `make demo`."""
    folder = ROOT / "examples" / "flights"
    if not (folder / ".stellwerk").exists():
        return {}
    command = [str(Path(sys.executable).parent / "stellwerk"), "-w", str(folder), "run"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    walls = []
    for _ in range(5):
        before = os.times().elapsed
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        walls.append(os.times().elapsed - before)
    return {"cached_rerun_wall_seconds": round(statistics.median(walls), 2)}


def base_install() -> dict[str, float]:
    """Megabytes and distributions of `pip install stellwerk` without extras, in an environment of its own."""
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "venv"
        venv.create(environment, with_pip=True)
        python = environment / "bin" / "python"
        packages = next((environment / "lib").glob("python*")) / "site-packages"
        before, known = size(packages), len(list(packages.glob("*.dist-info")))
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile", ROOT],
                       check=True)  # fmt: skip
        return {
            "base_install_mb": round((size(packages) - before) / 1e6, 1),
            "base_distributions": len(list(packages.glob("*.dist-info"))) - known,
        }


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(
        file.stat().st_size for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts
    )


def main() -> int:
    """Measure everything; answer 1 when a limit is exceeded."""
    found: dict[str, float] = {**start_up(), **cached_rerun(), **base_install()}
    over = {name: limit for name, limit in LIMITS.items() if found.get(name, 0.0) > limit}
    print(json.dumps({"measured": found, "limits": LIMITS, "exceeded": sorted(over)}, indent=1))
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
