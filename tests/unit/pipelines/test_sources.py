"""The files that a plan needs to be executed again elsewhere."""

import subprocess
import sys
from pathlib import Path

from stellwerk.pipelines import sources

PROJECT = {
    "flow.py": """
import json
import stellwerk as sw
import tools
from parts import cut
from parts.deep import Thing

@sw.step
def one() -> int:
    import late
    return tools.double(1) + cut() + late.X

@sw.pipeline
def flow():
    return one()
""",
    "tools.py": "from helper import base\nimport unused\n\ndef double(x):\n    return base(x) * 2\n",
    "helper.py": "def base(x):\n    return x\n",
    "unused.py": "Y = 1\n",
    "late.py": "X = 5\n",
    "other.py": "Z = 1\n",
    "parts/__init__.py": "from .inner import cut\n",
    "parts/inner.py": "def cut():\n    return 3\n",
    "parts/deep/__init__.py": "class Thing:\n    pass\n",
}
LOOK = """
import sys, json
from stellwerk.pipelines import loading, sources, service
module = loading.load(sys.argv[1])
plan = module.flow.plan()
print(json.dumps(sorted(sources.files(plan, service.closures(plan).values()))))
"""


def write(folder: Path) -> None:
    for name, text in PROJECT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_all_that_a_module_may_import_is_there(tmp_path: Path) -> None:
    """Also what only the top level of a module needs, and what a function imports late; nothing from outside."""
    write(tmp_path)
    done = subprocess.run([sys.executable, "-c", LOOK, tmp_path / "flow.py"], capture_output=True, text=True)

    assert "" == done.stderr
    assert (
        '["flow.py", "helper.py", "late.py", "parts/__init__.py", "parts/deep/__init__.py", "parts/inner.py", '
        '"tools.py", "unused.py"]'
    ) == done.stdout.strip()


def test_a_module_is_found_again(tmp_path: Path) -> None:
    """By its name, as a file or as a package."""
    write(tmp_path)

    assert tmp_path / "parts/inner.py" == sources.module_file(tmp_path, "parts.inner")
    assert tmp_path / "parts/deep/__init__.py" == sources.module_file(tmp_path, "parts.deep")
    assert sources.module_file(tmp_path, "nothing") is None
