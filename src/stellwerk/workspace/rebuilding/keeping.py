"""What a run keeps so that it can be repeated: the project's sources, its lock files, and the machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stellwerk.core.errors import Invalid, Unavailable
from stellwerk.data.adapters.git import GitHistory
from stellwerk.pipelines import sources
from stellwerk.pipelines.adapters import machine
from stellwerk.pipelines.model import BUILTIN, Closure, Plan
from stellwerk.store import service as trees
from stellwerk.workspace import operations as ops
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.rebuilding.tags import LOCKS, MACHINE, PATCH, SOURCES

__all__ = ["LOCKS", "MACHINE", "PATCH", "SOURCES", "after", "before"]

LOCK_FILES = (
    "requirements.lock", "requirements.txt", "uv.lock", "pylock.toml", "poetry.lock", "pdm.lock", "pyproject.toml",
    ".python-version",
)  # fmt: skip
LARGEST = 8 << 20
"""Of a lock file. What is larger is none."""


def before(caller: Caller, plan: Plan, closures: Iterable[Closure] = ()) -> dict[str, str]:
    """Keep the code of a plan before it runs; the tags for its run."""
    found = {name: Path(file).read_bytes() for name, file in sources.files(plan, closures).items()}
    home = _home(caller, plan)
    named = {node.environment.lock for node in plan.nodes if node.environment is not None and node.environment.lock}
    locks = {name: data for name in {*LOCK_FILES, *named} if (data := _small(home / name)) is not None}
    tags: dict[str, str] = {}
    for tag, files in ((SOURCES, found), (LOCKS, locks)):
        if files:
            tags[tag] = trees.put_files(caller.blobs, files)
    patch = _patch(home)
    return tags | ({PATCH: patch} if patch else {})


def after(caller: Caller, run: str) -> None:
    """Keep the machine with a run, when its steps have loaded what they use."""
    document = caller.blobs.put(machine.take().document)
    caller.call(ops.log_run, {"run": run, "tags": {MACHINE: document}})


def _home(caller: Caller, plan: Plan) -> Path:
    """The project's folder: that of the first file that a step is written in."""
    files = [node.file for node in plan.nodes if node.file and not node.function.startswith(BUILTIN)]
    return Path(files[0]).parent if files else caller.home


def _small(file: Path) -> bytes | None:
    try:
        return file.read_bytes() if file.is_file() and file.stat().st_size <= LARGEST else None
    except OSError:
        return None


def _patch(home: Path) -> str:
    if not any((folder / ".git").exists() for folder in (home, *home.resolve().parents)):
        return ""
    history = GitHistory(home)
    try:
        return (history.patch() or "") if history.exists() else ""
    except (Unavailable, Invalid):  # no git, or one that does not trust the folder
        return ""
