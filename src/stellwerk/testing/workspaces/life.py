"""How the life of a small workspace begins: two versions of a dataset, and the whole way to answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stellwerk.releases.model import Release, Verdict
from stellwerk.testing import worlds
from stellwerk.testing.worlds import DATASET, ENDPOINT, Ask, World
from stellwerk.workspace.facade import Workspace

ROWS = 1200
WORLD = World()


@dataclass(frozen=True, kw_only=True)
class Life:
    """What the expensive beginning left behind."""

    first: Any
    """What came of the first run."""
    second: Any
    verdict: Verdict
    release: Release
    prediction: str
    """An answer that was given."""
    answers: list[dict[str, Any]]
    asked: pl.DataFrame


class Beginning:
    """The expensive beginning, once for all tests of a class."""

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, workspace: Workspace) -> Workspace:
        """The workspace with two versions of a dataset under a confirmed contract."""
        workspace.data.add(DATASET, WORLD.parcels(ROWS - 200, 1), partition="one", source="first delivery")
        workspace.data.add(DATASET, WORLD.parcels(200, 2, first=ROWS - 200), partition="two")
        workspace.data.confirm(DATASET, {"depot": {"vocabulary": ["North", "South", worlds.RARE]}})
        return workspace

    @pytest.fixture(scope="class")
    @classmethod
    def life(cls, data: Workspace, place: Path, ask: Ask) -> Life:
        """The whole way to answers."""
        first, second = data.run(worlds.plan(place)), data.run(worlds.plan(place))
        data.declare(worlds.declared(place))
        verdict, release = data.prove(ENDPOINT), data.release(ENDPOINT)
        asked = WORLD.parcels(60, 3)
        answers = ask(worlds.questions(asked))
        worlds.clock(place).set(worlds.START + timedelta(hours=1))
        return Life(
            first=first, second=second, verdict=verdict, release=release,
            prediction=str(answers[0]["id"]), answers=answers, asked=asked,
        )  # fmt: skip
