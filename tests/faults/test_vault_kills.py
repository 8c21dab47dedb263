"""Killed in the middle of an erasure, a person is erased or not; and whoever is erased comes back in no file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import stellwerk as sw
from stellwerk.core import failpoints
from stellwerk.core.errors import NotFound
from stellwerk.ledger.vault import SUBJECT_KEYS, Vault
from stellwerk.testing import worlds
from stellwerk.workspace.local import LocalCaller

pytestmark = pytest.mark.faults

PERSON = "Wilhelmine Kanarienvogel"
MAKE = f"house._caller.rooms.vault.keys_for([{PERSON!r}])"
ERASE = f"house.erase({PERSON!r}, why='ticket 77')"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    worlds.workspace(tmp_path).close()
    return tmp_path


def do(folder: Path, work: str, fail: str = "") -> int:
    """Do something in a process of its own; its exit status."""
    code = f"import stellwerk as sw\nwith sw.connect({str(folder)!r}, actor={worlds.OWNER!r}) as house:\n    {work}"
    environment = {**os.environ, "STELLWERK_FAIL": fail}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False).returncode


def vault_of(house: sw.Workspace) -> Vault:
    caller = house._caller
    assert isinstance(caller, LocalCaller)
    return caller.rooms.vault


def test_every_step_is_known() -> None:
    """No step of the vault lacks a kill."""
    assert {"vault.made", "vault.erased"} == {name for name in failpoints.NAMES if name.startswith("vault.")}


@pytest.mark.parametrize(
    "step", ["ledger.record:kill:1", "ledger.commit:kill:1", "ledger.committed:kill:1", "vault.made:kill:1"]
)
def test_a_key_is_made_once(folder: Path, step: str) -> None:
    """However often its making is cut off, one person has one key."""
    assert -signal.SIGKILL == do(folder, MAKE, step)
    assert 0 == do(folder, MAKE)

    with sw.connect(folder, actor=worlds.OWNER) as house:
        assert 1 == len(vault_of(house).ids(PERSON))
        assert () == house.verify().findings


@pytest.mark.parametrize(
    "step", ["ledger.record:kill:1", "ledger.commit:kill:1", "ledger.committed:kill:1", "vault.erased:kill:1"]
)
def test_an_erasure_has_happened_or_not(folder: Path, step: str) -> None:
    """Entry and deletion are one; at the latest when the next process ends, no file holds the key any more."""
    with sw.connect(folder, actor=worlds.OWNER) as house:
        vault = vault_of(house)
        vault.keys_for([PERSON])
        caller = house._caller
        assert isinstance(caller, LocalCaller)
        with caller.rooms.book.read() as reader:
            (row,) = SUBJECT_KEYS.select(reader)
    assert -signal.SIGKILL == do(folder, ERASE, step)

    with sw.connect(folder, actor=worlds.OWNER) as house:
        told = [line for line in range(20) if _kind(house, line) == "subject.erased"]
        left = vault_of(house).ids(PERSON)
        assert len(told) + len(left) == 1
        assert () == house.verify().findings
        if left:
            house.erase(PERSON, why="ticket 77")
        with pytest.raises(NotFound):
            house.erase(PERSON, why="ticket 77")
    for file in folder.rglob("*"):
        assert not file.is_file() or row.wrapped.encode() not in file.read_bytes(), file


def _kind(house: sw.Workspace, sequence: int) -> str:
    try:
        text = house.ledger.entry(sequence)
    except NotFound:
        return ""
    return text.partition('"kind":"')[2].partition('"')[0]
