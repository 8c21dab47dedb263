"""Operations asked by strangers: what is not what it should be is refused by its name, and nothing breaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.errors import Invalid
from stellwerk.workspace import operations as ops
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

SETTINGS = Settings(actor="anna")


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Rooms]:
    made = Rooms(create(tmp_path, SETTINGS), SETTINGS)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("data.list", {"as_of": 0}),
        ("ledger.entries", {"limit": False}),
        ("ledger.entry", {"sequence": "0"}),
        ("artifacts.list", {"offset": True}),
        ("runs.empty", {"days": False}),
    ],
)
def test_nothing_is_taken_for_what_it_is_not(name: str, arguments: dict[str, Any]) -> None:
    """Truth for a number, a number for a time, a text for a number."""
    with pytest.raises(Invalid) as caught:
        ops.find(name).read(arguments)

    assert "invalid-document" == caught.value.code


def test_bytes_that_are_no_tree_are_no_damage(rooms: Rooms) -> None:
    """Whoever names them as a model or as a dataset made a mistake, and the store is whole."""
    digest = rooms.blobs.put(b"words")
    signature = {"inputs": [], "target": "", "task": "binary", "classes": []}
    model = {"name": "m", "digest": digest, "signature": signature, "layout": "", "run": ""}
    for operation, arguments in (
        (ops.register_model, ops.register_model.read(model)),
        (ops.record_data, {"name": "d", "tree": digest}),
    ):
        with pytest.raises(Invalid) as caught:
            operation.perform(rooms, arguments)
        assert "not-a-tree" == caught.value.code


def test_the_story_of_an_endpoint_passes_over_what_clients_logged(rooms: Rooms) -> None:
    """Their runs say no kind, and were no pipeline of ours."""
    run = rooms.logbook.create("0").run.id
    rooms.logbook.update(run, status="finished")

    assert "run.finished" in {entry.kind for entry in rooms.book.entries()}
    assert () == ops.story.perform(rooms, {"endpoint": "delay"})
