"""Versions whose files are elsewhere: listed like all others, and refused wherever their bytes would be judged."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from stellwerk.cli.main import main
from stellwerk.core.errors import Refused
from stellwerk.governance.comparing import compare
from stellwerk.releases.model import EndpointSpec, Goal
from stellwerk.workspace import dueling, reachable, viewing, watching
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Rooms]:
    made = Rooms(create(tmp_path, Settings(actor="anna")), Settings(actor="anna"))
    made.catalogue.create("delay")
    made.catalogue.add("delay", "s3://bucket/model", description="theirs", tags={"team": "risk"})
    made.catalogue.add("delay", "models:/delay/1")
    yield made
    made.close()


def test_they_are_refused_with_a_reason(rooms: Rooms) -> None:
    """Proof, comparison, duel and trace: nothing crashes, and nothing is taken for proven."""
    goals = (Goal(metric="auroc", floor=0.6),)
    rooms.interlocking.declare(EndpointSpec(name="delay", purpose="Late?", owner="anna", goals=goals))
    one, now = rooms.registry.get("delay"), rooms.clock.now()
    for ask in (
        lambda: watching.prove(rooms, "delay", "delay@1", ""),
        lambda: compare(rooms.book, rooms.runs, one, one),
        lambda: dueling.duel(rooms, "delay", "delay@1", "delay@2", now - timedelta(days=1), now),
        lambda: viewing.tracer(rooms).up("delay@1"),
    ):
        with pytest.raises(Refused, match=r"files of delay@. are not in the store") as caught:
            ask()
        assert "no-bytes" == caught.value.code
    assert 2 == len(rooms.registry.list())
    assert reachable.wanted(rooms) is not None


def test_they_are_listed(rooms: Rooms, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As tables and one by one."""
    rooms.close()
    assert 0 == main(["--workspace", str(tmp_path), "models"])
    assert "elsewhere" in capsys.readouterr().out
    assert 0 == main(["--workspace", str(tmp_path), "models", "delay@1"])
    shown = capsys.readouterr().out
    for text in ("s3://bucket/model", "theirs", "team = risk", "not in the store"):
        assert text in shown
