"""Versions of Delta tables as sources."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from stellwerk.core.errors import Invalid, NotFound, Refused
from stellwerk.data.sources import rules, service
from stellwerk.testing.sources import OTHERS, ROWS, SourceContract

deltalake = pytest.importorskip("deltalake", reason="the extra `delta` is not installed")
DeltaReader = pytest.importorskip("stellwerk.data.adapters.delta").DeltaReader


class Lake:
    """A Delta table in a folder."""

    def __init__(self, path: Path) -> None:
        self.path, self.source = path, f"delta:{path}"

    def fill(self, rows: pl.DataFrame) -> None:
        deltalake.write_deltalake(str(self.path), rows, mode="overwrite")

    def remove(self) -> None:
        shutil.rmtree(self.path)


@pytest.fixture
def place(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake" / "rows")


class TestDelta(SourceContract):
    @pytest.fixture
    def reader(self) -> DeltaReader:  # type: ignore[valid-type]
        return DeltaReader()


class TestDeltaBelowAFolder(SourceContract):
    @pytest.fixture
    def reader(self, tmp_path: Path) -> DeltaReader:  # type: ignore[valid-type]
        return DeltaReader([tmp_path / "lake"])


def pin(source: str) -> tuple[service.Pinned, pl.DataFrame]:
    return service.pin(rules.parse(source), lambda _: DeltaReader())


def test_old_versions_are_read(place: Lake) -> None:
    """By the name with a version, and by a pin made before the table changed."""
    place.fill(ROWS)
    before, _ = pin(place.source)
    place.fill(OTHERS)
    after, _ = pin(place.source)

    assert ["0", "1"] == [pinned.parts[0].version for pinned in (before, after)]
    for rows in (pin(f"{place.source}@0")[1], service.frame(before, lambda _: DeltaReader())):
        assert_frame_equal(ROWS, rows, check_row_order=False)
    assert_frame_equal(OTHERS, pin(f"{place.source}@1")[1], check_row_order=False)


@pytest.mark.parametrize("version", ["2", "99999999999", "x", "-1", "1.5", "²"])
def test_versions_that_are_none(place: Lake, version: str) -> None:
    """Missing or misspelled, never another one."""
    place.fill(ROWS)
    with pytest.raises((NotFound, Invalid)) as caught:
        pin(f"{place.source}@{version}")
    assert caught.value.code in ("no-such-version", "invalid-source")


def test_files_that_were_removed_are_missed(place: Lake) -> None:
    """After a vacuum, the old version is gone and says so; the new one is there."""
    place.fill(ROWS)
    before, _ = pin(place.source)
    place.fill(OTHERS)
    deltalake.DeltaTable(str(place.path)).vacuum(0, enforce_retention_duration=False, dry_run=False)

    with pytest.raises(NotFound) as caught:
        service.frame(before, lambda _: DeltaReader())
    assert "source-gone" == caught.value.code
    assert 4 == pin(place.source)[0].rows


def test_vectors_that_could_lie_anywhere_are_for_whoever_sits_here(tmp_path: Path, place: Lake) -> None:
    """A table with deletion vectors is read for callers at the machine, and refused to others."""
    place.fill(ROWS)
    table = deltalake.DeltaTable(str(place.path))
    table.alter.add_feature(deltalake.TableFeatures.DeletionVectors, allow_protocol_versions_increase=True)

    assert 4 == pin(place.source)[0].rows
    with pytest.raises(Refused):
        DeltaReader([tmp_path / "lake"]).read(rules.parse(place.source), "table")


def test_a_table_whose_book_points_outside_is_not_read(tmp_path: Path, place: Lake) -> None:
    """What the log names is checked like a path that a caller names."""
    outside = tmp_path / "secret.parquet"
    ROWS.write_parquet(outside)
    place.fill(ROWS)
    log = place.path / "_delta_log" / "00000000000000000000.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "add" in line:
            line["add"]["path"] = outside.as_uri()
            line["add"]["size"] = outside.stat().st_size
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))

    with pytest.raises((Refused, NotFound, Invalid)):
        DeltaReader([tmp_path / "lake"]).read(rules.parse(place.source), "table")
