"""`stellwerk gc` in a workspace: what is referred to stays, what was removed goes, and the books agree."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stellwerk.core.errors import Unavailable
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
