"""Tests remember ledgers in a folder of their own, not in that of whoever runs them, and share one PostgreSQL server."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from stellwerk.testing.postgres import postgres

__all__ = ["postgres"]

# How long anything takes is measured in `bench/`, and asserted nowhere: other tests run at the same time.
settings.register_profile("stellwerk", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("stellwerk")


def pytest_xdist_auto_num_workers() -> int:
    """Three workers on two processors: a quarter of the time a test waits for a disk or for another process."""
    return max(1, (os.cpu_count() or 1) * 3 // 2)


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A state folder for this process and all that it starts."""
    before = os.environ.get("STELLWERK_STATE")
    os.environ["STELLWERK_STATE"] = str(tmp_path_factory.mktemp("state"))
    yield
    if before is None:
        del os.environ["STELLWERK_STATE"]
    else:
        os.environ["STELLWERK_STATE"] = before
