"""Evaluation datasets: a record is known by its inputs, and every change is told once."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.testing.fakes import StandingClock
from stellwerk.tracking.adapters.evaluations import SqlEvaluations
from stellwerk.tracking.evaluations import MAX_FIELDS, EvaluationDataset, Evaluations, Merged
from stellwerk.tracking.experiments import Experiments


class Desk:
    """The room, and what its ledger tells."""

    def __init__(self, database: Database, clock: StandingClock, workspace: str = "default") -> None:
        self.book = WorkspaceBook(database, workspace, "anna")
        self.clock = clock
        self.sets = Evaluations(self.book, clock, SqlEvaluations())
        self.experiments = Experiments(self.book, clock)

    def experiment(self, name: str) -> str:
        """The id of a new one; their ids are of the millisecond."""
        self.clock.advance(timedelta(milliseconds=1))
        return self.experiments.create(name).id

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.book.entries(kinds=["evaluation."])]

    def names(self, *of: str, **asked: Any) -> list[str]:
        return [one.name for one in self.sets.search(of, **asked)]


@pytest.fixture
def desk(database: Database, clock: StandingClock) -> Desk:
    return Desk(database, clock)


def asked(question: str, **more: Any) -> dict[str, Any]:
    return {"inputs": {"question": question}, **more}


def test_a_dataset_is_what_it_was_made(desk: Desk, clock: StandingClock) -> None:
    """Name, tags and experiments; whoever the client says made it made it, and else the actor."""
    experiment = desk.experiment("judging")
    made = desk.sets.create("golden", tags={"team": "ml", "n": 1, "gone": None}, of=[experiment, experiment])
    said = desk.sets.create("golden", tags={"mlflow.user": "berta"})

    assert made == desk.sets.get(made.id)
    assert {"team": "ml", "n": "1"} == made.tags
    assert ((experiment,), "anna", clock.now()) == (made.experiments, made.created_by, made.changed_at)
    assert ("berta", "berta") == (said.created_by, said.changed_by)
    assert made.id.startswith("d-")
    assert made.digest != said.digest
    assert ["evaluation.created"] * 2 == desk.kinds()


def test_what_cannot_be_made_is_refused(desk: Desk) -> None:
    """And nothing is told of it."""
    with pytest.raises(NotFound, match="No Experiment with id=404"):
        desk.sets.create("x", of=["404"])
    for name, tags in (("", {}), ("x" * 256, {}), ("x", {"": "v"}), ("x", {"k": "v" * 5001}), ("x", {"k": "\ud800"})):
        with pytest.raises(Invalid):
            desk.sets.create(name, tags=tags)

    assert [] == desk.kinds()


def test_records_with_the_same_inputs_are_one(desk: Desk, clock: StandingClock) -> None:
    """Expectations and tags are added to, outputs replaced, in the order in which keys happen to stand."""
    made = desk.sets.create("golden")
    first = desk.sets.merge(
        made.id,
        [
            {"inputs": {"a": 1, "b": 2}, "expectations": {"x": 1}, "tags": {"t": "1"}, "outputs": "old"},
            asked("why", source={"source_type": "trace", "source_data": {"trace_id": "tr-1"}}),
        ],
    )
    clock.advance(timedelta(seconds=1))
    second = desk.sets.merge(
        made.id, [{"inputs": {"b": 2, "a": 1}, "expectations": {"y": 2}, "tags": {"u": "2"}, "outputs": None}]
    )
    one, other = desk.sets.records(made.id)

    assert (Merged(inserted=2, updated=0), Merged(inserted=0, updated=1)) == (first, second)
    assert {"x": 1, "y": 2} == json.loads(one.expectations)
    assert {"t": "1", "u": "2"} == json.loads(one.tags)
    assert (None, 1, 2) == (json.loads(one.outputs), one.place, other.place)
    assert ("TRACE", {"trace_id": "tr-1"}) == (other.source_type, json.loads(other.source))
    assert one.changed_at - one.created_at == timedelta(seconds=1)
    assert other.changed_at == other.created_at


def test_a_batch_may_say_one_thing_twice(desk: Desk) -> None:
    """The second time adds to the first."""
    made = desk.sets.create("golden")
    merged = desk.sets.merge(made.id, [asked("q", tags={"a": "1"}), asked("q", tags={"b": "2"})])

    assert Merged(inserted=1, updated=1) == merged
    assert [{"a": "1", "b": "2"}] == [json.loads(one.tags) for one in desk.sets.records(made.id)]
    assert 1 == desk.sets.get(made.id).count


def test_a_change_is_told_once_and_no_change_never(desk: Desk, clock: StandingClock) -> None:
    """The digest is another one after each change of records, and only then."""
    made = desk.sets.create("golden")
    digests = [made.digest]
    for records in ([asked("q")], [asked("q", expectations={"a": 1})], [asked("q", expectations={"a": 1})], []):
        clock.advance(timedelta(seconds=1))
        desk.sets.merge(made.id, records)
        digests.append(desk.sets.get(made.id).digest)
    desk.sets.tag(made.id, {})
    desk.sets.untag(made.id, "nothing")
    desk.sets.leave(made.id, ["1"])
    desk.sets.prune(made.id, ["dr-nothing"])

    assert ["evaluation.created", "evaluation.recorded", "evaluation.recorded"] == desk.kinds()
    assert 3 == len(set(digests))
    assert digests[2:] == [digests[2]] * 3


def test_the_ledger_does_not_hold_what_records_say(desk: Desk) -> None:
    """Examples are often of people: they can be deleted, entries cannot."""
    made = desk.sets.create("golden", tags={"team": "canary-tag"})
    desk.sets.merge(made.id, [asked("canary-input", outputs="canary-output", expectations={"e": "canary-expected"})])

    assert "canary" not in repr(desk.book.entries())


def test_fields_are_known_with_their_first_type(desk: Desk) -> None:
    """Of each part, over all records that ever were."""
    made = desk.sets.create("golden")
    values = {"n": None, "b": True, "i": 1, "f": 0.5, "s": "", "l": [], "o": {}}
    desk.sets.merge(made.id, [{"inputs": values, "outputs": "text", "expectations": {"i": 1}}])
    desk.sets.merge(made.id, [{"inputs": {"i": "other", "new": 1}, "outputs": {"now": "an object"}}])
    types = {"n": "null", "b": "boolean", "i": "integer", "f": "float", "s": "string", "l": "array", "o": "object"}

    assert {
        "inputs": types | {"new": "integer"},
        "outputs": "string",
        "expectations": {"i": "integer"},
    } == desk.sets.get(made.id).fields


@pytest.mark.parametrize(
    "record",
    [
        1, [], {"inputs": None}, {"inputs": 1}, asked("q", expectations=1), asked("q", tags=["a"]),
        asked("q", source="trace"), asked("q", source={"source_type": "GUESS"}), asked("q", source={"source_type": 1}),
        asked("q", tags={"mlflow.user": 1}), {"inputs": {str(n): n for n in range(MAX_FIELDS + 1)}},
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_kept_keeps_none(desk: Desk, record: Any) -> None:
    """All or none, and the message says which."""
    made = desk.sets.create("golden")
    with pytest.raises(Invalid):
        desk.sets.merge(made.id, [asked("fine"), record])

    assert [] == desk.sets.records(made.id)
    assert ["evaluation.created"] == desk.kinds()


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 10**400, "\ud800", "a\x00b", -0.0, [[[{}]]]])
def test_whatever_a_client_writes_comes_back(desk: Desk, value: Any) -> None:
    """Also what no strict JSON and no database knows."""
    made = desk.sets.create("golden")
    desk.sets.merge(made.id, [{"inputs": {"v": value}, "outputs": value}])
    (one,) = desk.sets.records(made.id)

    assert repr(value) == repr(json.loads(one.inputs)["v"]) == repr(json.loads(one.outputs))


def test_records_come_in_pages_and_go(desk: Desk) -> None:
    """In the order in which they came; what went takes its place with it."""
    made = desk.sets.create("golden")
    desk.sets.merge(made.id, [asked(str(number)) for number in range(5)])
    known = desk.sets.records(made.id)
    gone = desk.sets.prune(made.id, [known[1].id, known[3].id, "dr-unknown"])
    desk.sets.merge(made.id, [asked("1")])

    assert 2 == gone
    assert ["0", "2", "4", "1"] == [json.loads(one.inputs)["question"] for one in desk.sets.records(made.id)]
    assert ["2", "4"] == [json.loads(one.inputs)["question"] for one in desk.sets.records(made.id, limit=2, offset=1)]
    assert (4, 6) == (desk.sets.get(made.id).count, desk.sets.get(made.id).last)
    assert "evaluation.pruned" in desk.kinds()


def test_a_dataset_goes_with_its_records(desk: Desk) -> None:
    """And only with its own; a second time there is nothing to do."""
    made, other = desk.sets.create("a"), desk.sets.create("b")
    for one in (made, other):
        desk.sets.merge(one.id, [asked("same")])
    desk.sets.delete(made.id)
    desk.sets.delete(made.id)

    with pytest.raises(NotFound, match="not found"):
        desk.sets.records(made.id)
    assert 1 == len(desk.sets.records(other.id))
    assert 1 == desk.kinds().count("evaluation.deleted")


def test_datasets_are_found(desk: Desk, clock: StandingClock) -> None:
    """By experiments, attributes and tags; the newest first."""
    ours, theirs = (desk.experiment(name) for name in ("ours", "theirs"))
    for name, of, team in (("a", [ours], "ml"), ("b", [ours, theirs], "data"), ("C", [theirs], "ml")):
        clock.advance(timedelta(seconds=1))
        desk.sets.create(name, tags={"team": team}, of=of)
    since = int(clock.now().timestamp() * 1000)

    assert ["C", "b", "a"] == desk.names()
    assert ["b", "a"] == desk.names(ours)
    assert ["C", "b", "a"] == desk.names(ours, theirs)
    assert ["C", "a"] == desk.names(where="tags.team = 'ml'")
    assert ["C"] == desk.names(where=f"created_time >= {since} AND name ILIKE 'c'")
    assert ["C", "a", "b"] == desk.names(order=["name ASC"])
    assert ["b"] == desk.names(where="name IN ('b', 'z')")
    assert ["b"] == desk.names(limit=1, offset=1)
    assert [] == desk.names("404")
    for wrong in ("speed > 1", "name > 'a'", "metrics.x = 1", "name = 'a' OR name = 'b'"):
        with pytest.raises(Invalid):
            desk.names(where=wrong)


def test_experiments_and_tags_change(desk: Desk) -> None:
    """What is there already is not there twice; a tag of None is taken away."""
    ours, theirs = (desk.experiment(name) for name in ("ours", "theirs"))
    made = desk.sets.create("a", tags={"old": "1", "env": "dev"}, of=[ours])
    desk.sets.join(made.id, [ours, theirs])
    desk.sets.tag(made.id, {"old": None, "env": "prod"})
    with pytest.raises(NotFound):
        desk.sets.join(made.id, ["404"])

    found = desk.sets.get(made.id)
    assert ((ours, theirs), {"env": "prod"}) == (found.experiments, found.tags)
    assert () == desk.sets.leave(made.id, [ours, theirs]).experiments
    desk.sets.untag(made.id, "env")
    assert {} == desk.sets.get(made.id).tags


def test_another_workspace_sees_nothing(desk: Desk, database: Database, clock: StandingClock) -> None:
    """Not even that an id exists."""
    made: EvaluationDataset = desk.sets.create("a")
    stranger = Desk(database, clock, "other").sets
    stranger.delete(made.id)

    for act in (stranger.get, stranger.records):
        with pytest.raises(NotFound):
            act(made.id)
    with pytest.raises(NotFound):
        stranger.merge(made.id, [asked("q")])
    assert [] == stranger.search()
    assert made == desk.sets.get(made.id)
