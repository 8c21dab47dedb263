"""Interlockings on books on disk; `stellwerk.testing.releases` builds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stellwerk.testing.releases import Box, make_box


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = make_box(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[Callable[[], Box]]:
    """As many as a property test asks for."""
    made: list[Box] = []

    def another() -> Box:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(make_box(folder))
        return made[-1]

    yield another
    for one in made:
        one.database.close()
