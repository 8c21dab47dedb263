"""Datasets and their contracts."""

from __future__ import annotations

from typing import Any

from stellwerk.core.digest import Digest
from stellwerk.data.model import Contract, DatasetVersion, TableDiff
from stellwerk.workspace import tables
from stellwerk.workspace.calls import operation
from stellwerk.workspace.rooms import Rooms


@operation("data.add", "data:write", changes=True)
def add_data(
    rooms: Rooms, name: str, blob: Digest, partition: str = "all", source: str = "", replace: bool = False
) -> DatasetVersion:
    """Make the next version of a dataset from Parquet bytes that are in the store."""
    return tables.add(rooms, name, blob, partition=partition, source=source, replace=replace)


@operation("data.record", "data:write", changes=True)
def record_data(rooms: Rooms, name: str, tree: Digest, source: str = "") -> DatasetVersion:
    """Make a tree of files that is in the store the next version of a dataset."""
    return rooms.datasets.record(name, tree=tree, source=source)


@operation("data.log", "data:read")
def log_of_data(rooms: Rooms, name: str) -> tuple[DatasetVersion, ...]:
    """All versions of one dataset, oldest first. Raises `NotFound`."""
    return rooms.datasets.history(name)


@operation("data.untrack", "data:write", changes=True)
def untrack_data(rooms: Rooms, name: str, digest: Digest, place: str) -> None:
    """Write down that a place stopped following a dataset. Its versions stay."""
    rooms.datasets.untrack(name, digest=digest, place=place)


@operation("data.list", "data:read")
def list_data(rooms: Rooms) -> tuple[DatasetVersion, ...]:
    """All dataset versions, by name."""
    return tuple(rooms.datasets.list())


@operation("data.get", "data:read")
def get_data(rooms: Rooms, name: str, version: int | None = None) -> DatasetVersion:
    """A dataset version; the newest by default."""
    return rooms.datasets.get(name, version)


@operation("data.diff", "data:read")
def diff_data(rooms: Rooms, name: str, old: int, new: int) -> TableDiff:
    """What changed between two versions of a dataset, down to rows and columns."""
    return tables.diff(rooms, name, old, new)


@operation("data.table", "data:write", changes=True)
def table_of_data(rooms: Rooms, name: str, version: int | None = None) -> Digest:
    """The Parquet blob with all rows of a dataset version, made once and kept."""
    return tables.materialise(rooms, name, version)


@operation("contracts.get", "data:read")
def get_contract(rooms: Rooms, name: str) -> Contract | None:
    """The newest contract of a dataset, if any."""
    return rooms.datasets.contract(name)


@operation("contracts.confirm", "data:write", changes=True)
def confirm_contract(
    rooms: Rooms,
    name: str,
    changes: dict[str, dict[str, Any]] | None = None,
    table: dict[str, Any] | None = None,
) -> Contract:
    """Confirm the newest contract of a dataset, with changes to its columns and to the table as a whole."""
    return tables.confirm(rooms, name, changes or {}, table or {})
