"""Dataset versions as tables: adding, comparing, and one blob with all rows for pipelines."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.data.model import Contract, DatasetVersion, TableDiff
from stellwerk.pipelines.values import PARQUET
from stellwerk.tracking.model import StepMemory
from stellwerk.workspace import frames, sourcing
from stellwerk.workspace.layout import this_process
from stellwerk.workspace.rooms import Rooms


def add(rooms: Rooms, name: str, blob: Digest, *, partition: str, source: str, replace: bool) -> DatasetVersion:
    """Add the rows of a Parquet blob; a dataset without a contract gets a draft of one."""
    frame = frames.read(rooms.blobs.get(blob))
    version = rooms.datasets.add(name, frame, partition=partition, source=source, replace=replace)
    known = rooms.datasets.contract(name)
    if known is None or {rule.name for rule in known.columns} != set(frame.columns):
        rooms.datasets.infer(name, frame)
    return version


def confirm(
    rooms: Rooms, name: str, changes: Mapping[str, Mapping[str, Any]], table: Mapping[str, Any], *, local: bool
) -> Contract:
    """Confirm the contract of a dataset. Where a crash came between the first table and its draft, it is drafted now."""
    if rooms.datasets.contract(name) is None:
        known = [version for version in rooms.datasets.list() if version.name == name]
        if known:
            rooms.datasets.infer(name, sourcing.rows(rooms, known[-1], local=local))
    return rooms.datasets.confirm(name, changes, table)


def diff(rooms: Rooms, old: DatasetVersion, new: DatasetVersion, *, local: bool) -> TableDiff:
    """What changed between two versions."""
    from stellwerk.data.comparing import compare

    return compare(*(sourcing.rows(rooms, version, local=local) for version in (old, new)))


def materialise(rooms: Rooms, found: DatasetVersion, *, local: bool) -> Digest:
    """One Parquet blob with all rows of a version. A version of one part is that part; others are joined once.

    Rows that live elsewhere are copied: steps name what they read by its digest.
    """
    if len(found.partitions) == 1:
        _link(rooms, found, found.partitions[0].digest)
        return found.partitions[0].digest
    key = canonical.digest({"format": "stellwerk-table/1", "tree": found.digest})
    known = rooms.runs.remembered(key)
    if known is not None and rooms.blobs.has(known.outputs["table"]):
        return known.outputs["table"]
    buffer = io.BytesIO()
    sourcing.rows(rooms, found, local=local).write_parquet(buffer, compression="zstd", statistics=True)
    blob = rooms.blobs.put(buffer.getvalue())
    _record(rooms, found, blob, key)
    return blob


def _link(rooms: Rooms, found: DatasetVersion, blob: Digest) -> None:
    """Say once that a part is the table of a version of one part."""
    key = canonical.digest({"format": "stellwerk-table/1", "tree": found.digest})
    if rooms.runs.remembered(key) is None:
        _record(rooms, found, blob, key)


def _record(rooms: Rooms, found: DatasetVersion, blob: Digest, key: Digest) -> None:
    from stellwerk.pipelines.environment import current

    environment = rooms.blobs.put(current().document)
    run = rooms.runs.start(
        experiment=found.name,
        name=f"table of {found.name}@{found.version}",
        kind="data",
        inputs={"dataset": found.digest},
        code=rooms.blobs.put(canonical.dumps({"builtin": "table", "version": 1})),
        environment=environment,
        step_key=key,
        process=this_process(),
    )
    memory = StepMemory(
        step_key=key,
        outputs={"table": blob},
        media={"table": PARQUET},
        run=run.id,
        created_at=rooms.clock.now(),
    )
    rooms.runs.finish(run.id, outputs={"table": blob}, memory=memory)
