"""A person is erased: their key and what they were asked about are gone from every file, everything else stands."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

import stellwerk as sw
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.ledger.vault import SUBJECT_KEYS
from stellwerk.testing import worlds
from stellwerk.testing.worlds import ENDPOINT, World
from stellwerk.workspace.erasing import erase_again
from stellwerk.workspace.facade import Workspace
from stellwerk.workspace.local import LocalCaller
from stellwerk.workspace.remembering import Memory
from stellwerk.workspace.rooms import Rooms

GOES, STAYS = "Wilhelmine Kanarienvogel", "Theodor Bleibtreu"
COLUMN = "sender"


@dataclass(frozen=True)
class Life:
    """A workspace whose endpoint was asked about two people, before and after its log was sealed."""

    folder: Path
    workspace: Workspace
    gone: list[str]
    kept: list[str]

    @property
    def rooms(self) -> Rooms:
        return rooms_of(self.workspace)


def rooms_of(workspace: Workspace) -> Rooms:
    caller = workspace._caller
    assert isinstance(caller, LocalCaller)
    return caller.rooms


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    folder = tmp_path_factory.mktemp("erasure")
    with worlds.workspace(folder) as house:
        worlds.first_release(house, folder)
        house.declare(replace(worlds.declared(folder), subject=COLUMN))
        ask = worlds.in_process(rooms_of(house))
        asked = worlds.questions(World().parcels(6, 5))
        people = [GOES, STAYS] * 3
        answers = ask({**asked, COLUMN: people})
        rooms_of(house).predictions.seal(ENDPOINT)
        answers += ask({**asked, COLUMN: people})
        ids = [str(answer["id"]) for answer in answers]
        yield Life(folder, house, ids[::2], ids[1::2])


def files_with(folder: Path, data: bytes) -> list[str]:
    return [str(file) for file in sorted(folder.rglob("*")) if file.is_file() and data in file.read_bytes()]


def test_the_log_names_nobody(life: Life) -> None:
    """Neither sealed segments nor the open log, the database nor its write-ahead log hold the name."""
    for canary in (GOES, STAYS):
        assert [] == files_with(life.folder, canary.encode())
    inputs = life.rooms.predictions.answered(life.gone[0]).inputs
    assert GOES == inputs[COLUMN]
    assert "distance" in inputs


def test_callers_must_say_whom_it_is_about(life: Life) -> None:
    """A row that could not be erased on request is not answered."""
    ask = worlds.in_process(life.rooms)
    asked = worlds.questions(World().parcels(1, 6))
    for wrong in (asked, {**asked, COLUMN: [None]}):
        with pytest.raises(Invalid) as caught:
            ask(wrong)
        assert "missing-subject" == caught.value.code


def test_what_would_go_is_shown_first(life: Life) -> None:
    """Looking changes nothing; whoever is unknown has nothing."""
    found, nobody = life.workspace.find_subject(GOES), life.workspace.find_subject("nobody")

    assert (1, {ENDPOINT: 6}, (), False) == (len(found.keys), found.predictions, found.uncovered, found.done)
    assert ((), {}, False) == (nobody.keys, nobody.predictions, nobody.done)
    assert GOES == life.rooms.predictions.answered(life.gone[0]).inputs[COLUMN]


def test_a_person_is_erased(life: Life, tmp_path: Path) -> None:
    """Reading says so, others are untouched, the ledger verifies, the store is whole, and no file holds the key; a
    backup brings it back, and the newer ledger destroys it again."""
    live, rooms = life.workspace, life.rooms
    (key,) = live.find_subject(GOES).keys
    with rooms.book.read() as reader:
        row = SUBJECT_KEYS.get(reader, key)
    shutil.copytree(life.folder, tmp_path / "backup")
    opened = rooms.vault.opened([key])[key]

    erased = live.erase(GOES, why="ticket 77")

    assert ((key,), {ENDPOINT: 6}, True, True) == (erased.keys, erased.predictions, erased.done, erased.scrubbed)
    for canary in (row.wrapped.encode(), row.pseudonym.encode(), opened.key, GOES.encode()):
        assert [] == files_with(life.folder, canary)
    for prediction in life.gone:
        with pytest.raises(NotFound) as caught:
            live.trace(prediction)
        assert "erased" == caught.value.code
    for prediction in life.kept:
        assert STAYS == rooms.predictions.answered(prediction).inputs[COLUMN]
    worlds.clock(life.folder).set(worlds.START + timedelta(hours=1))
    assert 12 == live.assess(ENDPOINT).predictions
    assert ((), ()) == (live.verify().findings, live.fsck())
    with pytest.raises(NotFound):
        live.erase(GOES, why="ticket 77")

    live.verify()
    live.ledger.export(tmp_path / "newer")
    check_restore(tmp_path / "backup", tmp_path / "newer", key, life.gone[0])


def check_restore(backup: Path, newer: Path, key: str, prediction: str) -> None:
    with sw.connect(backup, actor=worlds.OWNER) as restored:
        rooms = rooms_of(restored)
        assert GOES == rooms.predictions.answered(prediction).inputs[COLUMN]
        assert (key,) == erase_again(rooms, newer)
        assert () == erase_again(rooms, newer)
        with pytest.raises(NotFound):
            rooms.predictions.answered(prediction)
        assert () == restored.verify().findings
    Memory(Path(os.environ["STELLWERK_STATE"])).forget(str(backup / ".stellwerk"))
