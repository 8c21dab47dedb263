"""`stellwerk gc` in a workspace: what is referred to stays, what was removed goes, and the books agree."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stellwerk.core.errors import Conflict, Invalid, Unavailable
from stellwerk.testing import worlds
from stellwerk.workspace.facade import Workspace, connect


def usage(folder: Path) -> int:
    blobs = folder / ".stellwerk" / "blobs"
    return sum(
        path.stat().st_size for path in blobs.rglob("*") if path.is_file() and not path.name.startswith("index.")
    )


def house_with_garbage(folder: Path) -> Workspace:
    """A dataset, and bytes that were put and never referred to."""
    house = worlds.workspace(folder)
    house.data.add("parcels", pl.DataFrame({"weight": [1, 2, 3]}))
    caller: Any = house._caller
    caller.blobs.put(b"nobody will ever refer to this" * 100)
    return house


def test_garbage_goes_and_data_stays(tmp_path: Path) -> None:
    """After the grace the unreferenced blob is gone, the freed bytes are true, and verify and fsck find nothing."""
    with house_with_garbage(tmp_path) as house:
        first = house.collect()
        clock = worlds.clock(tmp_path)
        clock.set(clock.now() + timedelta(days=8))
        before = usage(tmp_path)
        second = house.collect()

        assert (1, 0) == (first.marked, first.removed)
        assert (1, before - usage(tmp_path)) == (second.removed, second.freed)
        assert 3 == house.data.frame("parcels").height
        assert [] == [damage for damage in house.fsck() if damage.severity == "error"]
        assert () == house.verify().findings


def test_at_once_only_when_alone(tmp_path: Path) -> None:
    """Without a grace the workspace must be one's own: beside another user it is refused, alone it works."""
    with house_with_garbage(tmp_path) as house:
        with connect(tmp_path), pytest.raises(Unavailable) as caught:
            house.collect(days=0)
        assert "workspace-in-use" == caught.value.code

        assert 1 == house.collect(days=0).removed


@pytest.mark.parametrize("whole", [False, True])
def test_what_is_forgotten_goes_unless_it_is_needed(tmp_path: Path, whole: bool) -> None:
    """A forgotten version's own bytes are freed; what the next version shares stays; the books agree afterwards."""
    folder = tmp_path / "papers"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.bin").write_bytes(os.urandom(5000))
    with worlds.workspace(tmp_path) as house:
        house.data.add_files(folder, name="papers")
        (folder / "0.bin").write_bytes(os.urandom(200_000))
        house.data.add_files(folder, name="papers")
        for number in range(1, 15):
            (folder / f"{number}.bin").unlink()
        house.data.add_files(folder, name="papers")

        with pytest.raises(Conflict) as newest:
            house.data.forget("papers", 3, why="a mistake")
        with pytest.raises(Invalid):
            house.data.forget("papers", 1, why=" ")
        house.data.forget("papers", 1, why="licence withdrawn")
        house.data.forget("papers", 2, why="licence withdrawn")
        house.data.untrack(folder)
        if whole:
            house.data.forget("papers", why="all of it")
        before = usage(tmp_path)
        found = house.collect(days=0)

        assert "newest-version" == newest.value.code
        assert ([] if whole else [3]) == [version.version for version in house.data.list()]
        assert found.removed >= (21 if whole else 15)
        assert before - usage(tmp_path) == found.freed > 14 * 5000
        assert whole or 6 == len(list(house.data.files("papers")))
        assert [] == [damage for damage in house.fsck() if damage.severity == "error"]
        assert () == house.verify().findings
