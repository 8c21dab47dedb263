"""Killed at any step of a rotation, a workspace signs with the key that its book names, and can rotate again."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

import stellwerk as sw
from stellwerk.core import failpoints
from stellwerk.ledger import keys
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier, FileSigner, create_key, next_key
from stellwerk.testing import worlds
from stellwerk.workspace import layout
from stellwerk.workspace import rotating as _rotating  # noqa: F401  # declares the failpoints

pytestmark = pytest.mark.faults

BEFORE = ("keys.signed:kill:1", "keys.made:kill:1", "ledger.record:kill:1")
BETWEEN = tuple(f"ledger.{step}:kill:{nth}" for step in ("commit", "committed") for nth in (1, 2))
"""The checkpoint before it and the announcement itself, in one transaction or in two."""
AFTER = ("keys.announced:kill:1", "keys.replaced:kill:1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    worlds.workspace(tmp_path).close()
    return tmp_path


def rotate(folder: Path, fail: str = "") -> int:
    """Rotate in a process of its own; the exit status."""
    environment = {**os.environ, "STELLWERK_ACTOR": worlds.OWNER, "STELLWERK_FAIL": fail}
    process = subprocess.run(
        worlds.command(folder, "keys", "rotate", "--why", "a drill"),
        env=environment,
        capture_output=True,
        check=False,
    )
    return process.returncode


def test_every_step_is_known() -> None:
    """No step of a rotation lacks a kill."""
    assert {name for name in failpoints.NAMES if name.startswith("keys.")} == {
        step.partition(":")[0] for step in (*BEFORE, *AFTER) if step.startswith("keys.")
    }


@pytest.mark.parametrize("step", [*BEFORE, *BETWEEN, *AFTER])
def test_a_killed_rotation_has_happened_or_not(folder: Path, step: str) -> None:
    """The book is whole and names the key that signs; the next rotation works, and nothing is left lying about."""
    assert -signal.SIGKILL == rotate(folder, step), "this step was not passed"

    with sw.connect(folder, actor=worlds.OWNER) as live:
        known = live.ledger.keys()
        report = live.verify()
        assert len(known) in ((1,) if step in BEFORE else (2,) if step in AFTER else (1, 2))
        assert ((), known[-1].key) == (report.findings, report.key)
    assert 0 == rotate(folder)
    place = layout.find(folder)
    with sw.connect(folder, actor=worlds.OWNER) as live:
        newest = live.ledger.keys()[-1]
        assert (len(known) + 1, ()) == (len(live.ledger.keys()), live.verify().findings)
        head = live.ledger.checkpoint()
    assert newest.key == FileSigner(place.signing_key).public_key.hex()
    assert not next_key(place.signing_key).exists()
    assert keys.open_checkpoint(head.note, head.keys, Ed25519Verifier()).size > newest.since - 1


@pytest.mark.parametrize("step", ["keys.made", "keys.announced"])
def test_a_full_disk_in_a_rotation(folder: Path, step: str) -> None:
    """The command says so, and the workspace goes on with one of the two keys."""
    assert 8 == rotate(folder, f"{step}:full:1")

    with sw.connect(folder, actor=worlds.OWNER) as live:
        assert () == live.verify().findings


def test_a_key_that_the_book_does_not_name_signs_nothing(folder: Path) -> None:
    """A key file that was put there from elsewhere is found, and refused in words."""
    place = layout.find(folder)
    place.signing_key.unlink()
    create_key(place.signing_key)

    with sw.connect(folder, actor=worlds.OWNER) as live:
        with pytest.raises(sw.StellwerkError) as caught:
            live.ledger.rotate(why="a drill")
        assert 1 == len(live.verify().findings)
        assert "foreign-key" == caught.value.code
