"""Snapshots of Iceberg tables as sources, from a catalogue in SQLite."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from stellwerk.core.errors import Invalid, NotFound, StellwerkError
from stellwerk.data.sources import rules, service
from stellwerk.testing.sources import OTHERS, ROWS, SourceContract

catalogs = pytest.importorskip("pyiceberg.catalog", reason="the extra `iceberg` is not installed")
IcebergReader = pytest.importorskip("stellwerk.data.adapters.iceberg").IcebergReader


class Lake:
    """An Iceberg table and its catalogue."""

    source = "iceberg:lake/air.rows"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.properties = {"type": "sql", "uri": f"sqlite:///{path}/catalogue.db", "warehouse": f"file://{path}/rows"}

    def fill(self, rows: pl.DataFrame) -> None:
        catalogue = catalogs.load_catalog("stellwerk", **self.properties)
        catalogue.create_namespace_if_not_exists("air")
        arrow = rows.to_arrow()
        table: Any = catalogue.create_table_if_not_exists("air.rows", schema=arrow.schema)
        (table.overwrite if table.current_snapshot() else table.append)(arrow)

    def remove(self) -> None:
        catalogs.load_catalog("stellwerk", **self.properties).drop_table("air.rows")


@pytest.fixture
def place(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


@pytest.fixture
def reader(place: Lake) -> IcebergReader:  # type: ignore[valid-type]
    return IcebergReader({"lake": "&".join(f"{key}={value}" for key, value in place.properties.items())})


class TestIceberg(SourceContract):
    """All promises, over a catalogue in SQLite."""


def pin(source: str, reader: Any) -> tuple[service.Pinned, pl.DataFrame]:
    return service.pin(rules.parse(source), lambda _: reader)


def test_old_snapshots_are_read(place: Lake, reader: Any) -> None:
    """By the name with a snapshot, and by a pin made before the table changed."""
    place.fill(ROWS)
    before, _ = pin(place.source, reader)
    place.fill(OTHERS)
    snapshot = before.parts[0].version

    assert snapshot != pin(place.source, reader)[0].parts[0].version
    for rows in (pin(f"{place.source}@{snapshot}", reader)[1], service.frame(before, lambda _: reader)):
        assert_frame_equal(ROWS, rows, check_row_order=False)


def test_files_that_are_gone_are_missed(place: Lake, reader: Any) -> None:
    """The catalogue still names them, but there is nothing to read."""
    place.fill(ROWS)
    before, _ = pin(place.source, reader)
    shutil.rmtree(place.path / "rows")

    with pytest.raises(StellwerkError) as caught:
        service.frame(before, lambda _: reader)
    assert caught.value.code in ("source-gone", "unreadable-table")


@pytest.mark.parametrize("name", ["lake", "lake/rows", "lake/air.", "lake/../x", "other/air.rows", "lake/air.rows@x"])
def test_what_names_no_table_is_refused(place: Lake, reader: Any, name: str) -> None:
    """With the catalogue that is missing, or how it should be written."""
    place.fill(ROWS)
    with pytest.raises((Invalid, NotFound)):
        pin(f"iceberg:{name}", reader)
