"""The values of the data room survive their JSON form."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import TypeAdapter

from stellwerk.core.digest import of_bytes
from stellwerk.data.model import DatasetVersion, Partition


def test_a_dataset_version_survives_its_json_form() -> None:
    """What the ledger keeps of a version is the version."""
    part = Partition(name="2013-01", digest=of_bytes(b"1"), rows=27_004, bytes=1_000)
    version = DatasetVersion(
        workspace="w",
        name="flights",
        version=1,
        digest=of_bytes(b"tree"),
        partitions=(part,),
        columns=(("origin", "String"),),
        rows=27_004,
        source="flights.csv",
        parent=None,
        created_at=datetime(2013, 2, 1, tzinfo=UTC),
        created_by="anna",
    )
    adapter = TypeAdapter(DatasetVersion)

    assert version == adapter.validate_json(adapter.dump_json(version))
