"""Versions of file datasets: a tree in the store becomes a version, and nothing that is not kept is named."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.store import service as trees
from stellwerk.testing import worlds
from stellwerk.workspace import operations as ops


def test_a_tree_becomes_a_version_once(tmp_path: Path) -> None:
    """A recorded tree counts its files and bytes; recording it again makes no second version."""
    with worlds.workspace(tmp_path) as house:
        caller = house._caller
        tree = trees.put_files(caller.blobs, {"a.txt": b"abc", "deep/b.txt": b"de"})
        first = caller.call(ops.record_data, {"name": "papers", "tree": tree, "source": "papers"})
        again = caller.call(ops.record_data, {"name": "papers", "tree": tree})

    assert ("files", 2, 5, tree, 1) == (first.kind, first.files, first.bytes, first.digest, first.version)
    assert first == again


def test_a_tree_whose_files_are_not_kept_is_refused(tmp_path: Path) -> None:
    """The book never names what the store does not hold."""
    with worlds.workspace(tmp_path) as house:
        caller = house._caller
        lost = of_bytes(b"lost")
        caller.blobs.put(b"lost")
        tree = trees.put_files(caller.blobs, {"lost": lost})
        caller.blobs.remove([lost])  # type: ignore[attr-defined]

        with pytest.raises(NotFound):
            caller.call(ops.record_data, {"name": "papers", "tree": tree})
        assert () == house.data.list()


def test_tables_and_files_do_not_share_a_name(tmp_path: Path) -> None:
    """A dataset stays what it began as, in both directions."""
    with worlds.workspace(tmp_path) as house:
        caller = house._caller
        tree = trees.put_files(caller.blobs, {"a": b"1"})
        caller.call(ops.record_data, {"name": "papers", "tree": tree})
        house.data.add("table", pl.DataFrame({"x": [1, 2]}))

        with pytest.raises(Invalid) as files_for_table:
            caller.call(ops.record_data, {"name": "table", "tree": tree})
        with pytest.raises(Invalid) as table_for_files:
            house.data.add("papers", pl.DataFrame({"x": [1, 2]}))
        with pytest.raises(Invalid) as no_rows:
            house.data.frame("papers")

    assert "not-files" == files_for_table.value.code
    assert {"not-a-table"} == {table_for_files.value.code, no_rows.value.code}
