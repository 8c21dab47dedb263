"""The real DVC, in an environment of its own.

`STELLWERK_TEST_DVC` names the program, `STELLWERK_TEST_DVC2` one before 3.0. Without them they are installed beside
the tests' caches, once; where that cannot be done the tests that need one are skipped and say so.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stellwerk.testing import worlds
from stellwerk.workspace.facade import Workspace

THREE = ("STELLWERK_TEST_DVC", "dvc", "dvc>=3.50,<4")
TWO = ("STELLWERK_TEST_DVC2", "dvc2", "dvc>=2.50,<3", "setuptools<80", "pathspec<0.12", "dulwich<0.22")
"""Variable that names the program, folder in the cache, what to install."""
QUIET = {
    "DVC_NO_ANALYTICS": "1",
    "DVC_CHECK_UPDATE": "0",
    "GIT_AUTHOR_NAME": "Anna",
    "GIT_AUTHOR_EMAIL": "anna@example.org",
    "GIT_COMMITTER_NAME": "Anna",
    "GIT_COMMITTER_EMAIL": "anna@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


@pytest.fixture(scope="session")
def program() -> Path:
    """The real `dvc` of today."""
    return _installed(*THREE)


@pytest.fixture(scope="session")
def old_program() -> Path:
    """The real `dvc` before 3.0, which hashes text in another way and lays out its cache in another way."""
    return _installed(*TWO)


def _installed(variable: str, folder: str, *wanted: str) -> Path:
    given = os.environ.get(variable)
    if given:
        assert Path(given).is_file(), f"{variable} names {given!r}, which is no file"
        return Path(given)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stellwerk-tests" / folder
    found = home / "bin" / "dvc"
    if not found.is_file():
        steps = (
            [sys.executable, "-m", "venv", home],
            [home / "bin" / "python", "-m", "pip", "install", "-q", *wanted],
        )
        for step in steps:
            done = subprocess.run(step, capture_output=True, check=False, text=True)
            if done.returncode:
                pytest.skip(f"{wanted[0]} cannot be installed: {(done.stderr or done.stdout).strip()[-200:]}")
    return found


@dataclass(frozen=True)
class Repo:
    """A repository of the real DVC in git."""

    root: Path
    program: Path

    def dvc(self, *arguments: str) -> str:
        """Run DVC. Its failure is the test's."""
        return self.run(str(self.program), *arguments)

    def git(self, *arguments: str) -> str:
        """Run git."""
        return self.run("git", *arguments)

    def run(self, *command: str) -> str:
        """Run a program in the repository, and answer what it printed."""
        environment = {**os.environ, **QUIET, "HOME": str(self.root.parent)}
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, check=False, text=True, encoding="utf-8"
        )
        assert 0 == done.returncode, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def write(self, path: str, data: bytes | str, *, executable: bool = False) -> None:
        """Put a file into the working folder, whatever is there."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_bytes(data.encode() if isinstance(data, str) else data)
        if executable:
            file.chmod(0o755)

    def commit(self, message: str) -> str:
        """Commit everything, and answer the commit."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD").strip()

    def clean(self) -> bool:
        """Whether DVC says that the working folder is what its files say."""
        return "{}" == self.dvc("status", "--json").strip()


@pytest.fixture
def repo(tmp_path: Path, program: Path) -> Repo:
    """An empty repository."""
    root = tmp_path / "repo"
    root.mkdir()
    made = Repo(root, program)
    made.git("init", "-q", "-b", "main")
    made.dvc("init", "-q")
    made.commit("begin")
    return made


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace, which must be whole after the test."""
    with worlds.workspace(tmp_path / "house") as opened:
        yield opened
        assert ((), ()) == (opened.verify().findings, opened.fsck())
