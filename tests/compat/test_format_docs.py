"""The commands that `docs/formats/` gives for verifying by hand work as they stand, and notice damage."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "formats"
BLOCKS = [
    pytest.param(page.name, block, id=f"{page.stem}-{number}")
    for page in sorted(DOCS.glob("*.md"))
    for number, block in enumerate(
        re.findall(r"^```sh\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    )
]
TOOLS = ["bash", "sha256sum", "openssl", "sqlite3", "base64", "find"]


def run(block: str, folder: Path) -> subprocess.CompletedProcess[str]:
    for tool in TOOLS:
        if re.search(rf"\b{tool}\b(?!\.|,)", block) and shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed here")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder,
        env={"PATH": path, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(HERE / "v0.1", tmp_path / "copy")
    return tmp_path / "copy"


def test_every_format_can_be_verified_by_hand() -> None:
    """Each page on the ground has at least one command."""
    pages = {path.name for path in DOCS.glob("*.md")} - {"README.md"}

    ground = {"store.md", "tree.md", "ledger.md", "checkpoint.md", "envelope.md"}

    assert ground <= pages
    assert ground == {str(block.values[0]) for block in BLOCKS}


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_the_commands_work(folder: Path, page: str, block: str) -> None:
    """Each command of each page succeeds on what version 0.1 wrote."""
    done = run(block, folder)

    assert 0 == done.returncode, done.stderr


def damage_blob(folder: Path) -> None:
    blob = next(path for path in (folder / "blobs" / "sha256").glob("40/*"))
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1])


def damage_entry(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        connection.execute("DROP TRIGGER ledger_entries_no_update")
        connection.execute("UPDATE ledger_entries SET bytes = CAST('{}' AS BLOB) WHERE sequence = 0")
        connection.commit()


def damage_checkpoint(folder: Path) -> None:
    text = (folder / "checkpoint.txt").read_text("utf-8")
    (folder / "checkpoint.txt").write_text(text.replace("\n5\n", "\n6\n"), "utf-8")


def damage_envelope(folder: Path) -> None:
    text = (folder / "envelope.json").read_text("utf-8")
    (folder / "envelope.json").write_text(text.replace("in-toto+json", "in-toto+jsom"), "utf-8")


def stray(folder: Path) -> None:
    (folder / "blobs" / "sha256" / "40" / "stray").write_text("x")


@pytest.mark.parametrize(
    ("page", "number", "damage"),
    [
        ("store.md", 0, damage_blob),
        ("store.md", 1, stray),
        ("tree.md", 1, damage_blob),
        ("ledger.md", 1, damage_entry),
        ("ledger.md", 2, damage_entry),
        ("checkpoint.md", 0, damage_checkpoint),
        ("envelope.md", 0, damage_envelope),
    ],
)
def test_the_commands_notice_damage(folder: Path, page: str, number: int, damage: Callable[[Path], None]) -> None:
    """A command that succeeds whatever the bytes are would be worse than none."""
    block = [str(parameter.values[1]) for parameter in BLOCKS if parameter.values[0] == page][number]
    damage(folder)

    assert 0 != run(block, folder).returncode
