"""A book on each database, for everything that tracks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stellwerk.ledger.database import Database
from stellwerk.testing.fakes import StandingClock


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture(params=["sqlite", "postgresql", "postgresql in C.UTF-8"])
def database(request: pytest.FixtureRequest, tmp_path: Path, clock: StandingClock) -> Iterator[Database]:
    if request.param == "sqlite":
        made = Database(tmp_path / "ledger.db", clock)
    else:
        pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
        from stellwerk.ledger.dialects.postgresql import PostgreSQL

        url = request.getfixturevalue("postgres").new_database(*request.param.split()[2:])
        made = Database(PostgreSQL(url), clock)
    made.create("example.com/runs")
    yield made
    made.close()
