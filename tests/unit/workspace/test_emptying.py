"""Emptying the bin frees bytes, and nothing that somebody needs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.testing.fakes import StandingClock
from stellwerk.tracking.model import Point
from stellwerk.workspace import collecting, emptying
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings


@pytest.fixture
def rooms(tmp_path: Path) -> Rooms:
    return Rooms(create(tmp_path, Settings(actor="anna")), Settings(actor="anna"))


def logged(rooms: Rooms, name: str, experiment: str = "0") -> str:
    """A run with a curve and a file."""
    run = rooms.logbook.create(experiment, name=name).run.id
    rooms.logbook.log(
        run, points=[Point("m", len(name) + step / 7, step, step) for step in range(1100)], params=[("name", name)]
    )
    digest = rooms.blobs.put(f"the file of {name}".encode() * 1000)
    rooms.artifacts.log(f"{experiment}/{run}/artifacts/model/weights", digest)
    rooms.logbook.update(run, status="finished")
    return run


def test_what_was_deleted_long_ago_is_forgotten_and_its_bytes_go(rooms: Rooms) -> None:
    """The segments of its points and its files; runs beside it, and what is deleted since, are whole."""
    gone, kept, stays = (logged(rooms, name) for name in ("gone", "kept on", "stays"))
    (segment,) = rooms.logbook.get(gone).run.points
    weights = rooms.artifacts.get(f"0/{gone}/artifacts/model/weights").digest
    assert weights is not None
    rooms.logbook.delete(gone)
    rooms.logbook.delete(kept)
    rooms.clock = StandingClock(rooms.clock.now() + timedelta(days=31))  # type: ignore[assignment]
    rooms.logbook.restore(kept)

    assert (gone,) == emptying.empty(rooms, days=30)
    assert () == emptying.empty(rooms, days=30)
    found = collecting.run(rooms, days=0, dry_run=False, consent=True)

    assert found.removed >= 2
    assert not rooms.blobs.has(segment)
    assert not rooms.blobs.has(weights)
    with pytest.raises(NotFound):
        rooms.logbook.get(gone)
    for run in (kept, stays):
        assert 1100 == len(rooms.logbook.history(run, "m"))
        assert rooms.blobs.get(rooms.artifacts.get(f"0/{run}/artifacts/model/weights").digest or gone)  # type: ignore[arg-type]
    assert [] == rooms.logbook.search(["0"], where=f"run_id = '{gone}'", deleted=None)
    assert "run.forgotten" == rooms.book.entries(subject=f"run:{gone}")[-1].kind


def test_runs_go_with_their_experiment(rooms: Rooms) -> None:
    """An experiment in the bin has its runs with it; its number is not given again."""
    home = rooms.experiments.create("old").id
    run = logged(rooms, "a", home)
    rooms.experiments.delete(home)
    assert () == emptying.empty(rooms, days=1)
    assert (run,) == emptying.empty(rooms, days=0)
    assert home != rooms.experiments.create("new").id


def test_what_stands_behind_a_model_stays(rooms: Rooms) -> None:
    """A run whose model is registered, and runs of pipelines, however long they are in the bin."""
    behind = logged(rooms, "behind")
    rooms.catalogue.create("m")
    rooms.catalogue.add("m", f"runs:/{behind}/model", run_id=behind)
    step = rooms.runs.start(experiment="delay", name="fit", kind="train").id
    for run in (behind, step):
        rooms.logbook.delete(run)
    assert () == emptying.empty(rooms, days=0)
    with pytest.raises(Invalid, match="not in the bin"):
        rooms.logbook.forget(logged(rooms, "alive"))
    with pytest.raises(Invalid):
        emptying.empty(rooms, days=-1)
