"""Datasets whose rows live elsewhere."""

from __future__ import annotations

from datetime import datetime

from stellwerk.data.model import DatasetVersion
from stellwerk.data.sources.model import SourceReport
from stellwerk.workspace import sourcing
from stellwerk.workspace.calls import Local, operation
from stellwerk.workspace.rooms import Rooms


@operation("data.refer", "data:write", changes=True)
def refer_data(rooms: Rooms, name: str, source: str, local: Local = Local(False)) -> DatasetVersion:  # noqa: B008
    """Make the rows that a source holds now the next version of a dataset, without copying them."""
    return sourcing.refer(rooms, name, source, local=local)


@operation("data.verify", "data:read")
def verify_data(
    rooms: Rooms,
    name: str,
    version: int | None = None,
    as_of: datetime | None = None,
    local: Local = Local(False),  # noqa: B008
) -> SourceReport:
    """Compare a dataset that refers to a source with what is there now."""
    return sourcing.verify(rooms, rooms.datasets.get(name, version, as_of), local=local)


@operation("data.import", "data:write", changes=True)
def import_data(rooms: Rooms, name: str, local: Local = Local(False)) -> DatasetVersion:  # noqa: B008
    """Copy the rows that a dataset refers to into the store, as its next version."""
    return sourcing.copy(rooms, rooms.datasets.get(name), local=local)
