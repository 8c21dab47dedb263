"""Artifacts hold their bytes as long as they are there, and owe none afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stellwerk.core.errors import NotFound
from stellwerk.testing import worlds
from stellwerk.workspace import collecting
from stellwerk.workspace import operations as ops
from stellwerk.workspace.checking import fsck
from stellwerk.workspace.rooms import Rooms


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Rooms]:
    with worlds.workspace(tmp_path / "house", replay=True) as found:
        yield found._caller.rooms  # type: ignore[attr-defined]


def collect(rooms: Rooms) -> int:
    return collecting.run(rooms, days=0, dry_run=False, consent=True).removed


def test_what_a_path_names_is_kept(rooms: Rooms) -> None:
    """What was replaced, deleted, or only sent is freed, and `fsck` misses none of it."""
    first, second, sent = (rooms.blobs.put(data) for data in (b"first", b"second", b"a part of nothing"))
    rooms.artifacts.log("0/r/artifacts/model", first)
    rooms.artifacts.log("0/r/artifacts/model", second)
    rooms.artifacts.begin("0/r/artifacts/long", parts=2)

    assert 2 == collect(rooms)
    assert [] == fsck(rooms)
    assert b"second" == rooms.blobs.get(second)
    assert not rooms.blobs.has(first)
    assert not rooms.blobs.has(sent)

    ops.delete_artifacts.perform(rooms, {"path": "0/r"})

    assert 1 == collect(rooms)
    assert [] == fsck(rooms)
    assert not rooms.blobs.has(second)


def test_an_artifact_without_bytes_is_damage(rooms: Rooms) -> None:
    """Also where another one was deleted beside it."""
    digest = rooms.blobs.put(b"bytes")
    for path in ("0/r/a", "0/r/b/c", "0/r/bc"):
        rooms.artifacts.log(path, digest)
    rooms.artifacts.delete("0/r/b")
    rooms.blobs.remove([digest])

    assert {"entry 2 (artifact.logged) digest", "entry 4 (artifact.logged) digest"} == {
        found.where.removeprefix("ledger: ") for found in fsck(rooms)
    }


def test_operations(rooms: Rooms) -> None:
    """Bytes first, then the name; one level at a time."""
    digest = rooms.blobs.put(b"bytes")
    logged = ops.log_artifact.perform(rooms, {"path": "0/r/a", "digest": digest, "media": "text/plain"})

    assert logged == ops.get_artifact.perform(rooms, {"path": "0/r/a"})
    assert (logged,) == ops.list_artifacts.perform(rooms, {"folder": "0/r"})
    assert 1 == ops.delete_artifacts.perform(rooms, {"path": "0/r/a"})
    with pytest.raises(NotFound):
        ops.get_artifact.perform(rooms, {"path": "0/r/a"})
