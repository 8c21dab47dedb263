"""Datasets and their contracts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from stellwerk.core.digest import Digest
from stellwerk.data.model import Contract, DatasetVersion, TableDiff
from stellwerk.store import service as trees
from stellwerk.workspace import tables
from stellwerk.workspace.calls import Local, operation
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
    trees.check_tree(rooms.blobs, tree)
    return rooms.datasets.record(name, tree=tree, source=source)


@operation("data.log", "data:read")
def log_of_data(rooms: Rooms, name: str) -> tuple[DatasetVersion, ...]:
    """All versions of one dataset, oldest first. Raises `NotFound`."""
    return rooms.datasets.history(name)


@operation("data.forget", "data:write", changes=True)
def forget_data(rooms: Rooms, name: str, why: str, version: int | None = None) -> tuple[DatasetVersion, ...]:
    """Forget a version of a dataset, or all of it; garbage collection frees what nothing else refers to."""
    return rooms.datasets.forget(name, version, why=why)


@operation("data.untrack", "data:write", changes=True)
def untrack_data(rooms: Rooms, name: str, digest: Digest, place: str) -> None:
    """Write down that a place stopped following a dataset. Its versions stay."""
    rooms.datasets.untrack(name, digest=digest, place=place)


@operation("data.list", "data:read")
def list_data(rooms: Rooms, as_of: datetime | None = None) -> tuple[DatasetVersion, ...]:
    """All dataset versions, or those made by a time, by name."""
    return tuple(rooms.datasets.list(as_of))


@operation("data.get", "data:read")
def get_data(rooms: Rooms, name: str, version: int | None = None, as_of: datetime | None = None) -> DatasetVersion:
    """A dataset version: this one, or the newest at a time, or the newest of all."""
    return rooms.datasets.get(name, version, as_of)


@operation("data.diff", "data:read")
def diff_data(
    rooms: Rooms,
    name: str,
    old: int | None = None,
    new: int | None = None,
    as_of: datetime | None = None,
    local: Local = Local(False),  # noqa: B008
) -> TableDiff:
    """What changed between two versions of a dataset, or since a version or a time, down to rows and columns."""
    first, second = rooms.datasets.get(name, old, as_of), rooms.datasets.get(name, new)
    return tables.diff(rooms, first, second, local=local)


@operation("data.table", "data:write", changes=True)
def table_of_data(
    rooms: Rooms,
    name: str,
    version: int | None = None,
    as_of: datetime | None = None,
    local: Local = Local(False),  # noqa: B008
) -> Digest:
    """The Parquet blob with all rows of a dataset version, made once and kept."""
    return tables.materialise(rooms, rooms.datasets.get(name, version, as_of), local=local)


@operation("contracts.get", "data:read")
def get_contract(rooms: Rooms, name: str, version: int | None = None) -> Contract | None:
    """The newest contract of a dataset, or one of its versions, if any."""
    return rooms.datasets.contract(name, version)


@operation("contracts.confirm", "data:write", changes=True)
def confirm_contract(
    rooms: Rooms,
    name: str,
    changes: dict[str, dict[str, Any]] | None = None,
    table: dict[str, Any] | None = None,
    local: Local = Local(False),  # noqa: B008
) -> Contract:
    """Confirm the newest contract of a dataset, with changes to its columns and to the table as a whole."""
    return tables.confirm(rooms, name, changes or {}, table or {}, local=local)
