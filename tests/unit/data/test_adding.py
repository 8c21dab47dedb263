"""Versions of a dataset, added by several at once (law 7: what was acknowledged is there)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import polars as pl

from stellwerk.testing import worlds

WRITERS = 6


def test_parts_added_at_once_are_all_kept(tmp_path: Path) -> None:
    """Each of several writers adds a part of its own at the same moment; the newest version has every part."""
    together = Barrier(WRITERS)

    with worlds.workspace(tmp_path) as house:
        house.data.add("parcels", pl.DataFrame({"weight": [0, 0]}), partition="first")

        def add(writer: int) -> None:
            together.wait()
            house.data.add("parcels", pl.DataFrame({"weight": [writer, writer]}), partition=f"part-{writer}")

        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(add, range(1, WRITERS + 1)))
        newest = house.data.get("parcels")
        again = house.data.add("parcels", pl.DataFrame({"weight": [1, 1]}), partition="part-1")

    assert ["first", *(f"part-{writer}" for writer in range(1, WRITERS + 1))] == [p.name for p in newest.partitions]
    assert (2 * (WRITERS + 1), WRITERS + 1) == (newest.rows, newest.version)
    assert newest == again
