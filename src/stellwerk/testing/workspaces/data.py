"""Datasets of a workspace: rows, contracts, versions, sources."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from stellwerk.core.errors import Conflict, Invalid, NotFound, Refused
from stellwerk.testing.workspaces.life import ROWS, WORLD, Beginning
from stellwerk.testing.worlds import DATASET
from stellwerk.workspace.facade import Workspace


class Data(Beginning):
    """Rows come back, and what a contract forbids never comes in."""

    def test_rows_come_back(self, data: Workspace) -> None:
        """Versions are numbered, keep their parts and sources, and give back exactly the rows that were added."""
        first, second = data.data.get(DATASET, 1), data.data.get(DATASET)

        assert [(1, ROWS - 200), (2, ROWS)] == [(item.version, item.rows) for item in (first, second)]
        assert ("first delivery", first.digest) == (first.source, second.parent)
        assert ["one", "two"] == [part.name for part in second.partitions]
        assert data.data.frame(DATASET, 1).equals(WORLD.parcels(ROWS - 200, 1))
        assert data.data.frame(DATASET).height == ROWS
        assert [1, 2] == [item.version for item in data.data.list() if item.name == DATASET]

    def test_the_same_rows_are_the_same_version(self, data: Workspace) -> None:
        """Adding a part again changes nothing."""
        again = data.data.add(DATASET, WORLD.parcels(200, 2, first=ROWS - 200), partition="two")

        assert data.data.get(DATASET, 2) == again

    def test_versions_are_compared(self, data: Workspace) -> None:
        """A diff counts the rows that came."""
        found = data.data.diff(DATASET, 1, 2)

        assert (200, 0, ()) == (found.rows_added, found.rows_removed, found.columns_added)

    def test_the_contract_refuses_with_rows_and_reasons(self, data: Workspace) -> None:
        """A part that breaks the confirmed contract is refused, says where, and adds nothing."""
        broken = WORLD.parcels(150, 4).with_columns(
            depot=pl.when(pl.int_range(pl.len()) == 7).then(pl.lit("Mars")).otherwise("depot")
        )
        contract = data.data.contract(DATASET)
        with pytest.raises(Refused) as caught:
            data.data.add(DATASET, broken, partition="three")

        assert contract is not None
        assert "confirmed" == contract.status
        assert "contract-broken" == caught.value.code
        assert "Mars" in caught.value.message
        assert "row 8" in caught.value.message
        assert 2 == data.data.get(DATASET).version

    def test_files_are_read(self, data: Workspace, tmp_path: Path) -> None:
        """A CSV file becomes the same rows as the table it was written from."""
        table = WORLD.parcels(40, 5)
        table.write_csv(tmp_path / "parcels.csv")
        version = data.data.add("from-file", tmp_path / "parcels.csv")

        assert ("parcels.csv", 40) == (version.source, version.rows)
        assert data.data.frame("from-file").equals(table)

    def test_versions_of_a_time(self, data: Workspace) -> None:
        """Now is the newest, long ago was nothing; a version and a time together make no sense."""
        now = data.now()

        assert data.data.get(DATASET) == data.data.get(DATASET, as_of=now)
        assert data.data.list() == data.data.list(as_of=now)
        assert () == data.data.list(as_of=now - timedelta(days=36500))
        with pytest.raises(NotFound):
            data.data.frame(DATASET, as_of=now - timedelta(days=36500))
        with pytest.raises(Invalid) as caught:
            data.data.get(DATASET, 1, as_of=now)
        assert "version-and-time" == caught.value.code

    def test_paths_belong_to_whoever_sits_at_the_machine(self, data: Workspace, tmp_path: Path) -> None:
        """Rows in a file are referred to, compared and copied from here; from elsewhere no path is opened."""
        file = tmp_path / "parcels.parquet"
        table = WORLD.parcels(40, 6)
        table.write_parquet(file)
        before = data.board().entries

        if data._caller.local:
            made = data.data.refer("elsewhere", str(file))
            assert ("reference", 40) == (made.kind, made.rows)
            assert data.data.frame("elsewhere").equals(table)
            assert data.data.verify("elsewhere").ok
            assert data.data.copy("elsewhere").parent == made.digest
            table.reverse().write_parquet(file)
            assert ["parcels.parquet"] == [change.part for change in data.data.verify("elsewhere", 1).changes]
            with pytest.raises(Conflict) as changed:
                data.data.frame("elsewhere", 1)
            assert "source-changed" == changed.value.code
        else:
            with pytest.raises(Refused) as caught:
                data.data.refer("elsewhere", f"file:{file}")
            assert "local-source" == caught.value.code
            with pytest.raises(Refused):
                data.data.refer("elsewhere", "http://127.0.0.1:1/x.csv")
            assert before == data.board().entries
