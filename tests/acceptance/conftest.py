"""A small workspace that whatever is thrown at it must leave whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import stellwerk as sw
from stellwerk.testing import worlds
from stellwerk.testing.worlds import DATASET, World
from stellwerk.workspace.facade import Workspace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one dataset under a confirmed contract."""
    made = tmp_path_factory.mktemp("bad-input")
    with worlds.workspace(made) as house:
        house.data.add(DATASET, World().parcels(800, 1))
        house.data.confirm(DATASET)
    return made


@pytest.fixture
def house(folder: Path) -> Iterator[Workspace]:
    """The workspace, which must be as whole after the test as before, with nothing left running."""
    with sw.connect(folder, actor=worlds.OWNER) as opened:
        yield opened
        assert ((), ()) == (opened.verify().findings, opened.fsck())
        assert set() == {run.id for run in opened.runs(limit=1000) if run.status == "running"}


@pytest.fixture(scope="module")
def released(folder: Path) -> Path:
    """The workspace with an endpoint, a gate and a model."""
    with sw.connect(folder, actor=worlds.OWNER) as house:
        house.run(worlds.plan(folder))
        house.declare(worlds.declared(folder))
    return folder
