"""Runs that another tracker kept are adopted as they were, once, on both databases."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from stellwerk.core.errors import Invalid
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.testing.fakes import StandingClock
from stellwerk.tracking import rules, segments
from stellwerk.tracking.adapters.finder import SqlFinder
from stellwerk.tracking.adapters.logged import SqlLogged
from stellwerk.tracking.adapters.points import SqlPoints
from stellwerk.tracking.adopting import Adoption, ForeignModel, ForeignRun, Kept, standing
from stellwerk.tracking.artifacts import Artifacts
from stellwerk.tracking.logbook import KIND, Logbook
from stellwerk.tracking.logged import LoggedModel, LoggedModels
from stellwerk.tracking.model import Experiment, Latest, Point, Run, Score


class Stage:
    """The services that adopting touches, over one book."""

    def __init__(self, database: Database, clock: StandingClock, folder: Path) -> None:
        self.book = WorkspaceBook(database, "default", "anna")
        self.blobs = LocalFolder(folder)
        finder, points = SqlFinder(), SqlPoints()
        self.adoption = Adoption(self.book, self.blobs, clock, finder, points)
        self.logbook = Logbook(self.book, self.blobs, clock, finder, points)
        self.artifacts = Artifacts(self.book, self.blobs, clock)
        self.models = LoggedModels(self.book, clock, SqlLogged(), self.logbook.scores)
        home = Experiment(id="7", name="flights", created_at=clock.now(), changed_at=clock.now())
        self.adoption.experiment(home, {})


@pytest.fixture
def stage(database: Database, clock: StandingClock, tmp_path: Path) -> Stage:
    return Stage(database, clock, tmp_path / "blobs")


def foreign(identity: str, values: dict[str, list[float]], **facts: object) -> ForeignRun:
    at = rules.instant(5000)
    run = Run(
        id=identity,
        experiment="7",
        name=identity,
        kind=KIND,
        status="finished",
        started_at=at,
        started_by="",
        **facts,
    )  # type: ignore[arg-type]
    points = {
        key: segments.series((step, step, value) for step, value in enumerate(found)) for key, found in values.items()
    }
    return ForeignRun(run=run, points=points, latest=standing(points), origin={"tracker": "theirs"})


def test_a_run_is_entered_once(stage: Stage) -> None:
    """With its points sealed, found by what it logged, in one entry; again it is left as it is."""
    run = foreign("one", {"loss": [2.0, 1.0], "odd": [math.inf, math.nan]}, params={"depth": "6"})

    assert ["one"] == stage.adoption.runs([run, run])
    assert [] == stage.adoption.runs([run])

    assert [Point("loss", 2.0, 0, 0), Point("loss", 1.0, 1, 1)] == stage.logbook.history("one", "loss")
    assert ["one"] == [
        one.run.id for one in stage.logbook.search(["7"], where="metrics.loss < 2 AND params.depth = '6'")
    ]
    (loss, odd) = stage.logbook.get("one").metrics
    assert Latest(key="loss", value=1.0, at=1, step=1, low=1.0, high=2.0) == loss
    assert math.isnan(odd.value)
    assert 1 == len(stage.book.entries(kinds=["run.imported"]))


def test_all_or_none(stage: Stage) -> None:
    """One that cannot be kept lets none of its batch in."""
    with pytest.raises(Invalid):
        stage.adoption.runs([foreign("one", {"loss": [1.0]}), foreign("two", {"x" * 600: [1.0]})])

    assert set() == stage.adoption.known_runs(["one", "two"])


def test_points_that_come_later_stand_above_those_adopted(stage: Stage) -> None:
    """A metric goes on where another tracker left it, bounds and all."""
    stage.adoption.runs([foreign("one", {"loss": [2.0, 1.0]})])
    stage.logbook.log("one", points=[Point("loss", 0.5, 9, 9), Point("loss", 7.0, 0, -1)])

    (loss,) = stage.logbook.get("one").metrics
    assert (0.5, 0.5, 7.0) == (loss.value, loss.low, loss.high)
    assert [7.0, 2.0, 1.0, 0.5] == [one.value for one in stage.logbook.history("one", "loss")]


def test_what_is_no_number_stands_between_numbers_and_nothing(stage: Stage) -> None:
    """In both directions, as MLflow has it."""
    runs = [foreign("nothing", {}), foreign("nan", {"loss": [math.nan]})]
    runs += [foreign("low", {"loss": [1.0]}), foreign("high", {"loss": [math.inf]})]
    stage.adoption.runs(runs)

    for order, expected in (("metrics.loss", "low high nan nothing"), ("metrics.loss DESC", "high low nan nothing")):
        assert expected.split() == [one.run.id for one in stage.logbook.search(["7"], order=[order])]


def test_files_come_with_their_folders(stage: Stage) -> None:
    """All of a run's and a model's files are in the tree, and their metrics are known."""
    digest = stage.blobs.put(b"x")
    run = foreign("one", {})
    files = [Kept("7/one/artifacts/a/b/c.txt", digest, 1), Kept("7/one/artifacts/d.txt", digest, 1)]
    stage.adoption.runs([ForeignRun(run=run.run, files=files)])
    now = rules.instant(5000)
    model = LoggedModel(id="m-1", experiment="7", name="tree", status="ready", created_at=now, changed_at=now)
    score = Score("m-1", "one", "auc", 0.9, 1)
    found = ForeignModel(model=model, scores=[score], files=[Kept("7/models/m-1/artifacts/MLmodel", digest, 1)])

    assert (["m-1"], []) == (stage.adoption.models([found]), stage.adoption.models([found]))

    assert ["a", "d.txt"] == [one.name for one in stage.artifacts.list("7/one/artifacts")]
    assert digest == stage.artifacts.get("7/one/artifacts/a/b/c.txt").digest
    assert digest == stage.artifacts.get("7/models/m-1/artifacts/MLmodel").digest
    assert model == stage.models.get("m-1")
    assert [score] == stage.logbook.scores("m-1")


def test_what_another_tracker_says_settles_ties() -> None:
    """Where two values share the last step and time, its own answer stands; elsewhere the points decide."""
    points = {"loss": segments.series([(5, 5, 1.0), (5, 5, 2.0)]), "auc": segments.series([(1, 1, 0.5)])}
    said = {"loss": Latest(key="loss", value=1.0, at=5, step=5), "auc": Latest(key="auc", value=9.0, at=0, step=0)}

    assert [2.0, 0.5] == [one.value for one in standing(points)]
    assert [1.0, 0.5] == [one.value for one in standing(points, said)]
