"""Tables and comparisons of runs: what was logged, in the columns asked for, on both databases."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.core.search import Subject
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.testing.fakes import MemoryBlobs, StandingClock
from stellwerk.tracking.adapters.cells import SqlCells
from stellwerk.tracking.adapters.finder import SqlFinder
from stellwerk.tracking.adapters.logged import SqlLogged
from stellwerk.tracking.adapters.points import SqlPoints
from stellwerk.tracking.artifacts import Artifacts
from stellwerk.tracking.experiments import Experiments
from stellwerk.tracking.logbook import Logbook
from stellwerk.tracking.logged import LoggedModels
from stellwerk.tracking.model import CONTEXT_TAG, Cost, DatasetUse, ModelUse, Point, Run
from stellwerk.tracking.service import Runs
from stellwerk.tracking.tables import Tables, column, lasted, spelled


@dataclass
class Desk:
    """The tracking room of one workspace, with its tables."""

    book: WorkspaceBook
    clock: StandingClock

    def __post_init__(self) -> None:
        finder, points = SqlFinder(), SqlPoints()
        blobs = MemoryBlobs()
        self.log = Logbook(self.book, blobs, self.clock, finder, points)
        self.artifacts = Artifacts(self.book, blobs, self.clock)
        self.experiments = Experiments(self.book, self.clock)
        self.runs = Runs(self.book, self.clock, finder, points)
        self.tables = Tables(self.book, finder, points, SqlCells(), blobs)
        self.models = LoggedModels(self.book, self.clock, SqlLogged())
        self.blobs = blobs

    def run(self, experiment: str, name: str, auc: float, depth: str = "6", **tags: str) -> str:
        """A run that logged a little."""
        run = self.log.create(experiment, name=name, tags=list(tags.items()), user="ben").run.id
        self.log.log(run, points=[Point("auc", auc, 5, 1)], params=[("depth", depth)])
        return run


@pytest.fixture
def desk(database: Database, clock: StandingClock) -> Desk:
    return Desk(WorkspaceBook(database, "default", "anna"), clock)


def test_a_pipeline_took_as_long_as_it_lasted() -> None:
    """Its cost is the sum of steps that ran side by side, or before it waited; a step took what it cost."""
    begun = datetime(2026, 5, 4, 12, tzinfo=UTC)
    runs = [
        Run(
            id="r", experiment="e", name="n", kind=kind, status="finished", started_at=begun, started_by="anna",
            ended_at=begun + timedelta(seconds=3), cost=Cost(wall_seconds=wall),
        )
        for kind, wall in (("pipeline", 8.0), ("train", 2.0), ("train", 0.0))
    ]  # fmt: skip

    assert [3.0, 2.0, 3.0] == [lasted(run) for run in runs]


def test_experiments_say_how_many_runs_they_have(desk: Desk) -> None:
    """Those in which something ran last come first; without runs they are there, too; the bin is left out."""
    first, second, gone = (desk.experiments.create(name).id for name in ("first", "second", "gone"))
    desk.run(first, "a", 0.5)
    desk.run(first, "b", 0.6)
    desk.run("0", "c", 0.7)
    desk.experiments.delete(gone)

    found = {one.name: (one.runs, one.latest is None) for one in desk.tables.experiments()}

    assert {"first": (2, False), "second": (0, True), "Default": (1, False)} == found
    assert second == next(one.id for one in desk.tables.experiments() if one.name == "second")


def test_a_table_has_the_columns_asked_for(desk: Desk) -> None:
    """Numbers, texts, attributes, words for what is no finite number, and nothing where there is nothing."""
    desk.run("0", "a", math.nan, team="risk")
    desk.run("0", "b", math.inf, depth="7")

    table = desk.tables.table(
        "0",
        columns=["metrics.auc", "params.depth", "tags.team", "user_id", "experiment", "metrics.none"],
        order=["run_name"],
    )

    assert ("metrics.auc", "params.depth", "tags.team", "user_id", "experiment", "metrics.none") == table.columns
    assert [("NaN", "6", "risk", "ben", "0", None), ("Infinity", "7", None, "ben", "0", None)] == [
        row.cells for row in table.rows
    ]
    row = table.rows[0]
    assert ("a", "running", "logged", "ben", None) == (row.name, row.status, row.kind, row.user, row.ended_at)
    assert ("Default", 2, False) == (table.name, table.total, table.more)


def test_a_table_is_read_in_pages(desk: Desk) -> None:
    """Each run is on one of them, and the last says that it is."""
    for index in range(5):
        desk.run("0", f"run {index}", index / 10)

    pages = [desk.tables.table("0", order=["metrics.auc"], limit=2, offset=offset) for offset in (0, 2, 4)]

    assert [["run 0", "run 1"], ["run 2", "run 3"], ["run 4"]] == [[row.name for row in page.rows] for page in pages]
    assert [True, True, False] == [page.more for page in pages]
    assert ["run 4"] == [row.name for row in desk.tables.table("0", where="metrics.auc > 0.3").rows]


def test_other_experiments_and_the_bin_are_not_in_a_table(desk: Desk) -> None:
    """A table is of one experiment."""
    other = desk.experiments.create("other").id
    desk.run(other, "elsewhere", 0.1)
    gone = desk.run("0", "gone", 0.2)
    desk.run("0", "here", 0.3)
    desk.log.delete(gone)

    assert ["here"] == [row.name for row in desk.tables.table("0").rows]


def test_columns_are_what_was_logged(desk: Desk) -> None:
    """By kind; those that most runs have, and parameters that differ, are shown where nobody chose."""
    for index in range(3):
        run = desk.run("0", f"run {index}", 0.5, depth=str(index))
        desk.log.log(
            run, params=[("same", "x")], points=[Point("val loss", 1.0, 1, 1), Point("system/cpu", 9.0, 1, 1)]
        )

    found = {one.name: (one.runs, one.chosen) for one in desk.tables.columns("0")}

    assert (3, True) == found["metrics.auc"]
    assert (3, True) == found["metrics.`val loss`"]
    assert (3, False) == found["metrics.system/cpu"]
    assert (3, True) == found["params.depth"]
    assert (3, False) == found["params.same"]
    assert (3, False) == found["tags.mlflow.runName"]


def test_names_of_columns_are_read_as_they_are_written(desk: Desk) -> None:
    """A column can be sought and ordered by under its name."""
    for key in ("auc", "val loss", "a.b", "a/b", "a:b", "5", "ä b", "x`y"):
        subject = Subject("metric", key)
        assert subject == column(spelled(subject))
    for wrong in ("metrics.auc DESC", "nothing", "datasets.name", "", "metrics."):
        with pytest.raises(Invalid):
            column(wrong)


def test_what_is_wrong_is_said(desk: Desk) -> None:
    """A filter, an order, a column, too many rows, and an experiment that is not there."""
    wrong = {"where": "auc >", "order": ["nothing"], "columns": ["nothing"], "limit": 1001}
    for key, value in wrong.items():
        with pytest.raises(Invalid):
            desk.tables.table("0", **{key: value})  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        desk.tables.table("404")


def test_a_comparison_has_everything_that_was_logged(desk: Desk) -> None:
    """In the order asked for, each run once; unknown runs are left out."""
    first, second = desk.run("0", "a", 0.5), desk.run("0", "b", math.nan, team="risk")
    pipeline = desk.runs.start(experiment="squares", name="c", kind="train", params={"n": [1, 2]})

    found = desk.tables.compare([second, first, "nobody", second, pipeline.id])

    assert ["b", "a", "c"] == [one.name for one in found]
    assert ["Default", "Default", "squares"] == [one.experiment for one in found]
    assert [("auc", "NaN", 1)] == [(one.key, one.value, one.step) for one in found[0].metrics]
    assert [{"depth": "6"}, {"depth": "6"}, {"n": "[1, 2]"}] == [one.params for one in found]
    with pytest.raises(Invalid):
        desk.tables.compare([str(index) for index in range(1001)])


def write(desk: Desk, path: str, text: str) -> None:
    """A file in the tree of artifacts."""
    desk.artifacts.log(path, desk.blobs.put(text.encode()))


def test_a_comparison_tells_packages(desk: Desk) -> None:
    """From the files of a model that the run logged, of a folder that older clients name, or of its own."""
    home = desk.experiments.create("churn").id
    history = json.dumps([{"artifact_path": "tree", "run_id": "x"}, {"artifact_path": "../x"}, {}, 7])
    old, own, made, bare = (
        desk.log.create(home, name=name, tags=[("mlflow.log-model.history", history)] if name == "old" else []).run.id
        for name in ("old", "own", "made", "bare")
    )
    write(desk, f"{home}/{old}/artifacts/tree/requirements.txt", "numpy==1.26.4\n")
    write(desk, f"{home}/{old}/artifacts/tree/python_env.yaml", "python: 3.11.7\n")
    write(desk, f"{home}/{own}/artifacts/conda.yaml", "dependencies:\n- numpy=2.1.0\n")
    model = desk.models.create(experiment=home, name="tree", source_run=made)
    desk.log.use(made, models=[ModelUse(model=model.id, role="made")])
    write(desk, f"{model.home.removeprefix('mlflow-artifacts:/')}/requirements.txt", "numpy==2.2.0\n")

    found = {run.id: run.environment for run in desk.tables.compare([old, own, made, bare])}
    assert {
        old: {"numpy": "1.26.4", "python": "3.11.7"},
        own: {"numpy": "2.1.0"},
        made: {"numpy": "2.2.0"},
        bare: {},
    } == found


def test_a_comparison_tells_code_and_data(desk: Desk) -> None:
    """Commit and source by their tags; datasets by their digests, rows and columns, as far as they say them."""
    home = desk.experiments.create("churn").id
    tags = [("mlflow.source.name", "fit.py"), ("mlflow.source.git.commit", "f" * 40)]
    run = desk.log.create(home, name="fit", tags=tags).run.id
    columns = [{"name": "age", "type": "long"}, {"name": "x", "type": "double", "required": False}]
    schema = json.dumps({"mlflow_colspec": columns})
    said = {"source_type": "code", "source": "{}"}
    people = DatasetUse(
        name="people",
        digest="abc",
        schema=schema,
        profile='{"num_rows": 426}',
        tags={CONTEXT_TAG: "training"},
        **said,
    )
    odd = DatasetUse(name="odd", digest="def", schema="[[[", profile='{"num_rows": "many"}', **said)
    desk.log.use(run, datasets=[people, odd])

    (found,) = desk.tables.compare([run])
    assert {"source": "fit.py", "commit": "f" * 40} == found.code
    assert {
        "people (training)": "abc",
        "people (training): rows": "426",
        "people (training): columns": "2",
        "people (training): column age": "long",
        "people (training): column x": "double, optional",
        "odd": "def",
    } == found.data


def test_a_missing_file_of_an_environment_does_not_stop_a_comparison(desk: Desk) -> None:
    """What cannot be read is left out; `fsck` tells of it."""
    home = desk.experiments.create("churn").id
    run = desk.log.create(home, name="fit").run.id
    write(desk, f"{home}/{run}/artifacts/requirements.txt", "numpy==2.1.0\n")
    desk.blobs.remove([desk.blobs.put(b"numpy==2.1.0\n")])

    assert [{}] == [one.environment for one in desk.tables.compare([run])]
