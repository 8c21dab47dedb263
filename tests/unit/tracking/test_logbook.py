"""Runs that tell of themselves: what they log is there once and exactly, and sealed when they end."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stellwerk.core.errors import Conflict, Corrupt, Invalid, NotFound
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.testing.fakes import MemoryBlobs, StandingClock
from stellwerk.tracking import rules, segments
from stellwerk.tracking.adapters.finder import SqlFinder
from stellwerk.tracking.adapters.points import SqlPoints
from stellwerk.tracking.experiments import Experiments
from stellwerk.tracking.logbook import Found, Logbook
from stellwerk.tracking.model import DatasetUse, ModelUse, Point
from stellwerk.tracking.service import Runs


@dataclass
class Desk:
    """The tracking room of one workspace."""

    book: WorkspaceBook
    blobs: MemoryBlobs
    clock: StandingClock

    def __post_init__(self) -> None:
        finder, points = SqlFinder(), SqlPoints()
        self.log = Logbook(self.book, self.blobs, self.clock, finder, points, few=0)
        self.experiments = Experiments(self.book, self.clock)
        self.runs = Runs(self.book, self.clock, finder, points)

    def kinds(self) -> list[str]:
        """What the ledger has told so far."""
        return [entry.kind for entry in self.book.entries()]

    def names(self, *of: str, **asked: Any) -> list[str]:
        """Names of the runs that a search finds."""
        return [found.run.name for found in self.log.search(of or ("0",), **asked)]


@pytest.fixture
def desk(database: Database, clock: StandingClock) -> Desk:
    return Desk(WorkspaceBook(database, "default", "anna"), MemoryBlobs(), clock)


def metrics(found: Found) -> dict[str, tuple[float, int, int]]:
    return {one.key: (one.value, one.step, one.at) for one in found.metrics}


# Runs


def test_a_run_begins_logs_and_ends(desk: Desk) -> None:
    """Each accepted change is one entry; points are sealed by the one that ends the run."""
    made = desk.log.create("0", name="first", user="bert", start=5, tags=[("team", "risk")])
    run = made.run.id
    desk.log.log(run, points=[Point("auc", 0.5, 10, 1)], params=[("depth", "6")], tags=[("team", "fraud")])
    desk.log.log(run, points=[Point("auc", 0.7, 20, 2)])
    desk.log.use(run, datasets=[DatasetUse(name="flights", digest="ab12", source_type="local", source="x.csv")])
    ended = desk.log.update(run, status="finished", end=99)

    found = desk.log.get(run)
    assert (found.run, found.deleted) == (ended.run, ended.deleted)
    assert ("first", "bert", "finished") == (found.run.name, found.run.user, found.run.status)
    assert (5, 99) == (
        rules.milliseconds(found.run.started_at),
        rules.milliseconds(found.run.ended_at or found.run.started_at),
    )
    assert found.run.params == {"depth": "6"}
    assert found.run.tags == {"team": "fraud", "mlflow.runName": "first"}
    assert metrics(found) == {"auc": (0.7, 2, 20)}
    assert (found.metrics[0].low, found.metrics[0].high) == (0.5, 0.7)
    assert desk.log.history(run, "auc") == [Point("auc", 0.5, 10, 1), Point("auc", 0.7, 20, 2)]
    assert desk.kinds() == ["run.started", "run.logged", "run.used", "run.finished"]
    (segment,) = found.run.points
    assert desk.book.entries()[-1].body["points"] == [segment]
    assert segments.counts(desk.blobs.get(segment)) == {"auc": 2}


def test_few_points_stay_rows(database: Database, clock: StandingClock) -> None:
    """And the entry that ends the run holds what they come to, however often they are read and in whatever order."""
    desk = Desk(WorkspaceBook(database, "default", "anna"), MemoryBlobs(), clock)
    log = Logbook(desk.book, desk.blobs, clock, SqlFinder(), SqlPoints(), few=3)
    points = [Point("b", 2.0, 1, 1), Point("a", math.nan, 2, 2), Point("a", 0.5, 1, 1)]
    run = log.create("0").run.id
    log.log(run, points=points)
    assert () == log.update(run, status="finished").run.points
    rows = {"a": segments.series([(1, 1, 0.5), (2, 2, math.nan)]), "b": segments.series([(1, 1, 2.0)])}
    assert segments.fingerprint(rows) == desk.book.entries()[-1].body["rows"]
    assert [0.5] == [point.value for point in log.history(run, "a")][:1]
    log.log(run, points=[Point("a", 1.0, 3, 3)])
    assert 1 == len(log.update(run, status="failed").run.points)
    assert 3 == len(log.history(run, "a"))


def test_what_is_said_twice_is_kept_once(desk: Desk) -> None:
    """Clients send a request again when they heard no answer: nothing is there twice, nor in the ledger."""
    run = desk.log.create("0").run.id
    said: dict[str, Any] = {
        "points": [Point("m", 1.0, 1, 1), Point("m", math.nan, 1, 1)],
        "params": [("a", "1")],
        "tags": [("b", "2")],
    }
    for _ in range(3):
        desk.log.log(run, **said)
        desk.log.use(run, models=[ModelUse(model="m-1", role="made", step=3)])
        desk.log.update(run, name="n")
    assert 2 == len(desk.log.history(run, "m"))
    assert desk.kinds() == ["run.started", "run.logged", "run.used", "run.updated"]


@pytest.mark.parametrize("sealed", [False, True])
def test_numbers_come_back_as_they_went(desk: Desk, *, sealed: bool) -> None:
    """NaN, infinities, negative zero and the limits of 64 bits, before and after they are sealed."""
    numbers = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, -1.5]
    run = desk.log.create("0").run.id
    said = [Point(f"m{index}", number, 2**63 - 1, -(2**63) + 1) for index, number in enumerate(numbers)]
    desk.log.log(run, points=said)
    if sealed:
        desk.log.update(run, status="failed")
    found = metrics(desk.log.get(run))
    for point in said:
        (back,) = desk.log.history(run, point.key)
        assert (back.at, back.step) == (point.at, point.step) == found[point.key][:0:-1]
        for value in (back.value, found[point.key][0]):
            assert value == point.value or (math.isnan(value) and math.isnan(point.value))


def test_the_latest_point_is_that_of_the_largest_step(desk: Desk) -> None:
    """Then the largest time, then the largest value, in whatever order and in how many requests they come."""
    points = [Point("m", value, at, step) for step in (3, 1) for at in (20, 10) for value in (7.0, 9.0, math.nan)]
    for seed in range(6):
        run = desk.log.create("0").run.id
        random.Random(seed).shuffle(points)
        for point in points[:5]:
            desk.log.log(run, points=[point])
        desk.log.log(run, points=points[5:])
        assert metrics(desk.log.get(run)) == {"m": (9.0, 3, 20)}


def test_all_histories_at_once_are_those_of_each(desk: Desk) -> None:
    """Of a run that ended, went on and goes on: points of several segments and open ones, NaN among them, in order."""
    run = desk.log.create("0").run.id
    numbers = [math.nan, 1.0, math.inf, -0.0]
    for round_ in range(3):
        said = [Point(key, numbers[step], 10 - step, step) for key in ("a", "b") for step in range(4)]
        desk.log.log(run, points=[*said, Point(f"only{round_}", 1.0, round_, 0)])
        if round_ < 2:
            desk.log.update(run, status="finished")
    found = desk.log.histories(run)

    assert {"a", "b", "only0", "only1", "only2"} == found.keys()
    for key, points in found.items():
        each = desk.log.history(run, key)
        assert [(one.at, one.step, repr(one.value)) for one in each] == [
            (one.at, one.step, repr(one.value)) for one in points
        ]
    assert 4 == len(found["a"])


def test_a_run_that_ended_goes_on(desk: Desk) -> None:
    """Points after the end are open until it ends again; a history is of all segments and what is open."""
    run = desk.log.create("0").run.id
    for round_ in range(3):
        desk.log.log(
            run, points=[Point("m", float(step), step, step) for step in range(round_ * 10, round_ * 10 + 10)]
        )
        desk.log.log(run, points=[Point("m", 5.0, 5, 5)])  # said in each round
        desk.log.update(run, status="running" if round_ == 1 else "finished")
    assert list(range(30)) == [point.step for point in desk.log.history(run, "m")]
    assert list(range(10, 15)) == [point.step for point in desk.log.history(run, "m", limit=5, offset=10)]
    assert desk.log.history(run, "other") == []
    assert 2 == len(desk.log.get(run).run.points)


def test_parameters_are_written_once(desk: Desk) -> None:
    """The same value again is fine; another one is refused, and then nothing of the request is kept."""
    run = desk.log.create("0").run.id
    desk.log.log(run, params=[("depth", "6")])
    desk.log.log(run, params=[("depth", "6"), ("rate", "0.1")])
    with pytest.raises(Invalid, match="Changing param values is not allowed") as error:
        desk.log.log(run, params=[("new", "1"), ("depth", "7")], points=[Point("m", 1.0, 1)])
    assert error.value.code == "param-changed"
    with pytest.raises(Invalid, match="Duplicate param"):
        desk.log.log(run, params=[("twice", "1"), ("twice", "2")])
    assert desk.log.get(run).run.params == {"depth": "6", "rate": "0.1"}
    assert not desk.log.get(run).metrics


def test_names_of_runs(desk: Desk) -> None:
    """The field and the tag say the same; who gives no name gets one; a parent is a tag as well."""
    first = desk.log.create("0", tags=[("mlflow.runName", "by tag")]).run
    child = desk.log.create("0", tags=[("mlflow.parentRunId", first.id)]).run
    assert ("by tag", first.id) == (first.name, child.parent)
    assert child.name.count("-") == 2
    late = desk.log.create("0").run
    desk.log.log(late.id, tags=[("mlflow.parentRunId", first.id)])
    assert first.id == desk.log.get(late.id).run.parent
    desk.log.log(first.id, tags=[("mlflow.runName", "by another tag")])
    assert desk.log.get(first.id).run.name == "by another tag"
    desk.log.update(first.id, name="by field")
    assert desk.log.get(first.id).run.tags["mlflow.runName"] == "by field"
    with pytest.raises(Invalid, match="different values"):
        desk.log.create("0", name="a", tags=[("mlflow.runName", "b")])


def test_the_bin(desk: Desk) -> None:
    """What is in the bin is found when asked for, takes nothing, and comes back as it was."""
    run = desk.log.create("0", name="one").run.id
    desk.log.create("0", name="two")
    desk.log.delete(run)
    desk.log.delete(run)
    assert (["two"], ["one"]) == (desk.names(), desk.names(deleted=True))
    assert {"one", "two"} == set(desk.names(deleted=None))
    assert desk.log.get(run).deleted
    for call in (lambda: desk.log.log(run, tags=[("a", "b")]), lambda: desk.log.update(run, name="x")):
        with pytest.raises(Invalid, match="must be in the 'active' state"):
            call()
    desk.log.restore(run)
    assert {"one", "two"} == set(desk.names())
    assert desk.kinds()[-2:] == ["run.deleted", "run.restored"]


def test_tags_are_taken_away(desk: Desk) -> None:
    """One that is not there is not found."""
    run = desk.log.create("0", tags=[("a", "b")]).run.id
    desk.log.untag(run, "a")
    assert "a" not in desk.log.get(run).run.tags
    with pytest.raises(NotFound, match="No tag with name: a"):
        desk.log.untag(run, "a")


def test_search(desk: Desk) -> None:
    """By what was logged, by data, in some experiments only; new points are found at once."""
    other = desk.experiments.create("other").id
    for index in range(4):
        desk.clock.advance(timedelta(seconds=1))
        run = desk.log.create(other if index == 3 else "0", name=f"r{index}").run.id
        desk.log.log(run, points=[Point("auc", index / 10, 1)], params=[("depth", str(index))])
        tags = {"mlflow.data.context": "train"} if index % 2 else {}
        data = DatasetUse(name=f"d{index}", digest="x", source_type="local", source="s", tags=tags)
        desk.log.use(run, datasets=[data])
    assert ["r2", "r1", "r0"] == desk.names()
    assert ["r2", "r1"] == desk.names(where="metrics.auc > 0.05")
    assert ["r3"] == desk.names(other)
    assert ["r0", "r1", "r2", "r3"] == desk.names("0", other, order=["metrics.auc ASC"])
    assert ["r3", "r1"] == desk.names("0", other, where="datasets.context = 'train'")
    assert ["r2"] == desk.names(where="datasets.name IN ('d2', 'd9') AND params.depth = '2'")
    assert ["r1"] == desk.names(limit=1, offset=1)
    assert [] == desk.names("nothing")
    found = desk.log.search(["0"], where="run_name = 'r0'")[0]
    assert [found.run.id] == [
        one.run.id for one in desk.log.search(["0"], where=f"artifact_uri LIKE '%{found.run.id}%'")
    ]


def test_runs_of_pipelines_are_runs_like_others(desk: Desk) -> None:
    """They are in the experiment of their pipeline's name, with the metrics that they had when they ended."""
    run = desk.runs.start(experiment="delay", name="fit", kind="train", params={"depth": 6})
    desk.runs.finish(run.id, metrics={"auc": 0.75})
    assert "delay" == desk.experiments.named("delay").id
    (found,) = desk.log.search(["delay"], where="metrics.auc > 0.7 AND params.depth = '6'")
    assert found.run.id == run.id
    assert 0.75 == desk.log.history(run.id, "auc")[0].value
    made = desk.experiments.create("known before")
    assert made.id == desk.runs.start(experiment="known before", name="x", kind="train").experiment
    assert ["x"] == [one.name for one in desk.runs.search(experiment="known before")]


@pytest.mark.parametrize(
    "key", ["a//b", "../a", "/a", ".", "a/../b", "a/", "./a", "a\n", "ä" * 251, "a*b", "a\x00", "`", "x" * 251]
)
def test_names_that_could_be_other_names(desk: Desk, key: str) -> None:
    """Of metrics, parameters and tags alike."""
    run = desk.log.create("0").run.id
    for check in (
        lambda: rules.check_points([Point(key, 1.0, 1)]),
        lambda: rules.check_params([(key, "1")]),
        lambda: desk.log.create("0", tags=[(key, "1")]),
    ):
        with pytest.raises(Invalid):
            check()
    assert not desk.log.get(run).metrics


def test_one_workspace_sees_nothing_of_another(desk: Desk, database: Database, clock: StandingClock) -> None:
    """Neither runs nor points nor experiments: what belongs to others is what there is not."""
    run = desk.log.create("0").run.id
    desk.log.log(run, points=[Point("m", 1.0, 1)])
    other = Desk(WorkspaceBook(database, "other", "eve"), MemoryBlobs(), clock)
    for call in (
        lambda: other.log.get(run),
        lambda: other.log.log(run, points=[Point("m", 2.0, 2)]),
        lambda: other.log.history(run, "m"),
        lambda: other.log.delete(run),
    ):
        with pytest.raises(NotFound):
            call()
    assert other.names() == []
    assert 1 == len(desk.log.history(run, "m"))


# Experiments


def test_experiments(desk: Desk) -> None:
    """Made, named, tagged, found, put into the bin with their runs, and taken out again."""
    one = desk.experiments.create("one", tags=[("team", "risk")])
    desk.log.create(one.id, name="r")
    assert one == desk.experiments.named("one") == desk.experiments.get(one.id)
    desk.experiments.tag(one.id, "team", "fraud")
    desk.experiments.tag(one.id, "owner", "anna")
    desk.experiments.tag(one.id, "owner", None)
    desk.experiments.rename(one.id, "uno")
    assert {"team": "fraud"} == desk.experiments.get(one.id).tags
    assert ["uno"] == [
        found.name for found in desk.experiments.search(where="tags.team = 'fraud' AND name LIKE 'u%'")
    ]
    assert ["Default", "uno"] == [found.name for found in desk.experiments.search(order=["name ASC"])]
    desk.experiments.delete(one.id)
    assert ["Default"] == [found.name for found in desk.experiments.search()]
    assert ["uno"] == [found.name for found in desk.experiments.search(deleted=True)]
    assert ([], ["r"]) == (desk.names(one.id), desk.names(one.id, deleted=True))
    with pytest.raises(Invalid, match="must be in the 'active' state"):
        desk.log.create(one.id)
    with pytest.raises(Invalid, match="must be in the 'active' state"):
        desk.experiments.rename(one.id, "x")
    desk.experiments.restore(one.id)
    assert ["r"] == desk.names(one.id)
    with pytest.raises(NotFound):
        desk.experiments.restore(one.id)


def test_names_of_experiments_are_taken_once(desk: Desk) -> None:
    """Also by one in the bin, by the default one, and by a pipeline."""
    made = desk.experiments.create("one")
    desk.experiments.delete(made.id)
    desk.runs.start(experiment="delay", name="fit", kind="train")
    for name in ("one", "Default", "delay"):
        with pytest.raises(Conflict) as error:
            desk.experiments.create(name)
        assert error.value.code == "already-exists"
    with pytest.raises(Conflict):
        desk.experiments.rename(desk.experiments.create("two").id, "delay")
    for name in ("", "x" * 501):
        with pytest.raises(Invalid):
            desk.experiments.create(name)


def test_the_default_experiment_is_kept_once_it_is_changed(desk: Desk) -> None:
    """Reading it writes nothing."""
    assert "Default" == desk.experiments.get("0").name
    assert desk.kinds() == []
    desk.experiments.tag("0", "a", "b")
    assert {"a": "b"} == desk.experiments.get("0").tags == desk.experiments.search()[0].tags


# Segments


NUMBERS = st.floats(width=64) | st.sampled_from([math.nan, math.inf, -math.inf, -0.0])
INTEGERS = st.integers(-(2**63), 2**63 - 1)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()),
        st.lists(st.tuples(INTEGERS, INTEGERS, NUMBERS), max_size=20),
        max_size=4,
    )
)
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60)
def test_segments_hold_every_bit(rows: dict[str, list[tuple[int, int, float]]]) -> None:
    """Each column comes back as it was, and nothing else is found."""
    data = segments.encode({key: segments.series(listed) for key, listed in rows.items()})
    assert segments.counts(data) == {key: len(listed) for key, listed in rows.items()}
    for key, listed in rows.items():
        found = segments.decode(data, key)
        assert found is not None
        assert [column.tobytes() for column in found] == [column.tobytes() for column in segments.series(listed)]
    assert segments.decode(data, "\n") is None


def test_a_damaged_segment_is_corrupt() -> None:
    """Cut off anywhere, it is refused and not misread."""
    data = segments.encode({"m": segments.series([(1, 2, 3.0), (2, 3, 4.0)])})
    for end in range(len(data)):
        with pytest.raises(Corrupt):
            segments.decode(data[:end], "m")
    with pytest.raises(Corrupt):
        segments.decode(b"x" + data, "m")


def test_two_that_end_a_run_at_once_lose_nothing(desk: Desk) -> None:
    """The second one has read the points before the first has sealed them, and a new one has come since."""
    run = desk.log.create("0").run.id
    desk.log.log(run, points=[Point("m", 1.0, 1, 1)])
    late = desk.log._seal(run)
    desk.log.update(run, status="finished")
    desk.log.log(run, points=[Point("m", 2.0, 2, 2)])
    desk.log._seal = lambda _run: late  # type: ignore[method-assign]
    desk.log.update(run, status="failed")
    assert [1.0, 2.0] == [point.value for point in desk.log.history(run, "m")]


def test_no_number_that_is_sent_twice_is_there_once(desk: Desk) -> None:
    """Also when it was sealed in between."""
    run = desk.log.create("0").run.id
    for _ in range(3):
        desk.log.log(run, points=[Point("m", math.nan, 1, 1), Point("m", math.inf, 1, 1), Point("m", 0.5, 2, 2)])
        desk.log.update(run, status="finished")
        desk.log.update(run, status="running")
    desk.log.log(run, points=[Point("m", math.nan, 1, 1)])
    assert 3 == len(desk.log.history(run, "m"))


@pytest.mark.parametrize("name", ["a.b", "x" * 128, "1", "0", "Default"])
def test_pipelines_of_any_name_have_an_experiment(desk: Desk, name: str) -> None:
    """Also of a name that is a number: nothing of another experiment is taken."""
    first = desk.experiments.create("first").id
    run = desk.runs.start(experiment=name, name="fit", kind="train")
    assert name == desk.experiments.get(run.experiment).name
    assert ["fit"] == [one.name for one in desk.runs.search(experiment=name)]
    assert ("first", "Default") == (desk.experiments.get(first).name, desk.experiments.get("0").name)
    desk.runs.start(experiment=name, name="again", kind="train")
    assert 2 == len(desk.runs.search(experiment=name))


@pytest.mark.parametrize(
    "head", [b'{"series":1}', b"[1]", b'{"series":[{}]}', b"None", b'{"series":[{"count":"a"}]}']
)
def test_a_damaged_head_is_corrupt(head: bytes) -> None:
    """Whatever JSON it is."""
    for call in (segments.counts, segments.points):
        with pytest.raises(Corrupt):
            call(segments.MAGIC + head + b"\n")


def test_a_segment_that_says_too_little_is_not_inflated() -> None:
    """What is read is what the head says, and one byte more."""
    data = segments.encode({"m": segments.series([(step, 0, 0.0) for step in range(100_000)])})
    small = data.replace(b'"count":100000', b'"count":1')
    with pytest.raises(Corrupt):
        segments.points(small)
