"""The room of triggers over a database in a folder, with a clock that stands still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stellwerk.evidence.adapters.sealing import FileSealer, create_sealing_key
from stellwerk.ledger.database import Database
from stellwerk.testing.fakes import StandingClock
from stellwerk.testing.stations import Station


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def make_station(tmp_path: Path, clock: StandingClock) -> Callable[[Database], Station]:
    create_sealing_key(tmp_path / "sealing.key")
    return lambda database: Station(database, clock, FileSealer(tmp_path / "sealing.key"))


@pytest.fixture
def station(tmp_path: Path, clock: StandingClock, make_station: Callable[[Database], Station]) -> Iterator[Station]:
    database = Database(tmp_path / "ledger.db", clock)
    database.create("example.com/triggers")
    yield make_station(database)
    database.close()
