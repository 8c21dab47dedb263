"""How a working copy stands, by git itself. Nothing of the repository is executed, and nothing is fetched."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

SECONDS = 20
_QUIET = (
    "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "protocol.allow=never",
)  # fmt: skip
_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is checked out; all empty where there is no repository, no commit or no git."""

    commit: str = ""
    branch: str = ""
    """Empty where no branch is checked out but a commit, as CI systems do."""
    origin: str = ""
    dirty: bool = False


def state(folder: Path) -> State:
    """The state of the working copy that a folder belongs to. To know nothing is no error: code lives without git too."""
    if not any((place / ".git").exists() for place in (folder.absolute(), *folder.absolute().parents)):
        return State()
    # Files that git does not know are none of the commit: the workspace itself is one of them.
    lines = _said(
        folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no", "--ignore-submodules=all"
    ).splitlines()
    facts = dict(line[2:].partition(" ")[::2] for line in lines if line.startswith("# "))
    commit, branch = facts.get("branch.oid", ""), facts.get("branch.head", "")
    if not commit or commit == "(initial)":
        return State()
    return State(
        commit=commit,
        branch="" if branch == "(detached)" else branch,
        origin=_said(folder, "config", "--get", "remote.origin.url"),
        dirty=any(not line.startswith("#") for line in lines),
    )


def root(folder: Path) -> Path | None:
    """The top folder of the working copy that a folder belongs to."""
    found = _said(folder, "rev-parse", "--show-toplevel")
    return Path(found) if found else None


def _said(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *_QUIET, "-C", str(folder), *arguments],
            capture_output=True,
            check=False,
            timeout=SECONDS,
            env={**os.environ, **_ENVIRONMENT},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""
