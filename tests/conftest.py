"""Tests remember ledgers in a folder of their own, not in that of whoever runs them, and share one PostgreSQL server."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from stellwerk.testing.postgres import postgres

__all__ = ["postgres"]


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
