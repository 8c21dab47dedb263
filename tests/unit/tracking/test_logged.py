"""Logged models: named, described, tagged, found, and hidden; each change is in the book."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.testing.fakes import StandingClock
from stellwerk.tracking.adapters.logged import SqlLogged
from stellwerk.tracking.adapters.points import SqlPoints
from stellwerk.tracking.experiments import Experiments
from stellwerk.tracking.logged import Criterion, LoggedModel, LoggedModels, OnData
from stellwerk.tracking.model import Score


@pytest.fixture
def book(database: Database) -> WorkspaceBook:
    return WorkspaceBook(database, "default", "anna")


@pytest.fixture
def models(book: WorkspaceBook, clock: StandingClock) -> LoggedModels:
    return LoggedModels(book, clock, SqlLogged())


def measure(book: WorkspaceBook, model: LoggedModel, value: float, at: int, *data: str, key: str = "auc") -> None:
    """Keep a metric of a model, and the data that it was measured on."""
    with book.write() as tx:
        SqlPoints().score(tx, [Score(model.id, "r", key, value, at, 0, *data)])


def made(models: LoggedModels, clock: StandingClock, name: str = "", **facts: Any) -> LoggedModel:
    clock.advance(timedelta(seconds=1))
    return models.create(experiment="0", name=name, **facts)


class TestLife:
    """From the first file to the bin."""

    def test_a_model_is_pending_until_its_files_are_there(
        self, models: LoggedModels, book: WorkspaceBook, clock: StandingClock
    ) -> None:
        """Its id says what it is, and its files have a place of their own."""
        model = made(models, clock, "tree", model_type="forest", source_run="r", params=[("depth", "6")])

        assert model == models.get(model.id)
        assert ("pending", {"depth": "6"}) == (model.status, model.params)
        assert model.id.startswith("m-")
        assert 34 == len(model.id)
        assert f"mlflow-artifacts:/0/models/{model.id}/artifacts" == model.home
        clock.advance(timedelta(seconds=1))
        done = models.finish(model.id, "ready")
        assert ("ready", clock.now(), model.created_at) == (done.status, done.changed_at, done.created_at)
        assert "failed" == models.finish(model.id, "failed").status
        assert ["created", "finished", "finished"] == [
            entry.kind.partition(".")[2] for entry in book.entries(kinds=["logged-model."])
        ]

    def test_a_model_without_a_name_is_given_one(self, models: LoggedModels, clock: StandingClock) -> None:
        """That MLflow's client takes too."""
        assert "-" in made(models, clock).name

    @pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "a%b", 'a"b', "a'b", "a\nb", "a" * 501])
    def test_bad_names(self, models: LoggedModels, clock: StandingClock, name: str) -> None:
        """As MLflow refuses them."""
        with pytest.raises(Invalid, match="Invalid model name"):
            made(models, clock, name)

    def test_the_experiment_must_be_there(
        self, models: LoggedModels, book: WorkspaceBook, clock: StandingClock
    ) -> None:
        """And not in the bin; where it keeps its files, models keep theirs."""
        experiments = Experiments(book, clock)
        home = experiments.create("far", location="s3://bucket/far/")
        model = models.create(experiment=home.id)
        assert f"s3://bucket/far/models/{model.id}/artifacts" == model.home

        experiments.delete(home.id)
        with pytest.raises(Invalid, match="'active' state"):
            models.create(experiment=home.id)
        with pytest.raises(NotFound):
            models.create(experiment="404")

    def test_tags_change_and_parameters_do_not(
        self, models: LoggedModels, book: WorkspaceBook, clock: StandingClock
    ) -> None:
        """What is said again is no change, and no entry."""
        model = made(models, clock, tags=[("team", "a"), ("team", "b")], params=[("depth", "6"), ("depth", "6")])
        assert {"team": "b"} == model.tags

        assert {"team": "c", "x": ""} == models.tag(model.id, [("team", "c"), ("x", "")]).tags
        assert {"team": "c"} == models.untag(model.id, "x").tags
        assert {"depth": "6", "seed": "1"} == models.describe(model.id, [("depth", "6"), ("seed", "1")]).params
        before = len(book.entries())
        models.tag(model.id, [("team", "c")])
        models.describe(model.id, [("depth", "6")])
        with pytest.raises(Invalid):
            models.describe(model.id, [("depth", "7")])
        with pytest.raises(NotFound, match="No tag with key 'x'"):
            models.untag(model.id, "x")
        assert before == len(book.entries())

    @pytest.mark.parametrize("pair", [("", "x"), ("k" * 251, "x"), ("k", "x" * 100_001)])
    def test_what_is_too_long(self, models: LoggedModels, clock: StandingClock, pair: tuple[str, str]) -> None:
        """Is refused, and never cut."""
        for facts in ({"tags": [pair]}, {"params": [pair]}):
            with pytest.raises(Invalid):
                made(models, clock, **facts)

    def test_what_was_deleted_is_not_found(self, models: LoggedModels, clock: StandingClock) -> None:
        """But by those who ask for it."""
        model = made(models, clock)
        models.delete(model.id)

        for act in (models.get, models.delete, lambda one: models.finish(one, "ready")):
            with pytest.raises(NotFound, match="not found"):
                act(model.id)
        assert [] == models.search(among=["0"])
        assert models.get(model.id, deleted=True).deleted_at == clock.now()


class TestSearch:
    """Finding models."""

    @pytest.fixture
    def three(self, models: LoggedModels, clock: StandingClock, book: WorkspaceBook) -> list[LoggedModel]:
        """Of which the first was measured twice, the second on two sets of data, and the third never."""
        found = [
            made(models, clock, "one", model_type="forest", params=[("depth", "6")], tags=[("team", "red")]),
            made(models, clock, "two", source_run="r2"),
            made(models, clock, "Three"),
        ]
        measure(book, found[0], 0.9, 1, "may", "d1")
        measure(book, found[0], 0.7, 2, "may", "d1")
        measure(book, found[1], 0.8, 1, "may", "d2")
        measure(book, found[1], 0.1, 5, "june", "d1")
        return found

    @pytest.mark.parametrize(
        ("where", "wanted"),
        [
            ("", ["Three", "two", "one"]),
            ("name = 'one'", ["one"]),
            ("name ILIKE 't%'", ["Three", "two"]),
            ("attributes.name IN ('one', 'two')", ["two", "one"]),
            ("model_type = 'forest'", ["one"]),
            ("source_run_id IS NULL", ["Three", "one"]),
            ("status = 'PENDING' AND source_run_id = 'r2'", ["two"]),
            ("status = 'LOGGED_MODEL_READY'", []),
            ("params.depth = '6'", ["one"]),
            ("tags.team = 'red' AND params.depth LIKE '%'", ["one"]),
            ("creation_timestamp > 1767225601500", ["Three", "two"]),
            ("last_updated_timestamp <= 1767225601000", ["one"]),
            ("metrics.auc > 0.85", ["one"]),
            ("metrics.auc < 0.75", ["two", "one"]),
            ("metrics.loss > 0", []),
        ],
    )
    def test_filters(self, models: LoggedModels, three: list[LoggedModel], where: str, wanted: list[str]) -> None:
        """Newest first; of several values of a metric one is enough."""
        assert wanted == [model.name for model in models.search(among=["0"], where=where)]

    @pytest.mark.parametrize(
        "where", ["size > 1", "metrics.auc = 'x'", "name > 'a'", "name = 'a' OR name = 'b'", "("]
    )
    def test_bad_filters(self, models: LoggedModels, where: str) -> None:
        """Are refused."""
        with pytest.raises(Invalid):
            models.search(among=["0"], where=where)

    def test_data_narrows_metrics(self, models: LoggedModels, three: list[LoggedModel]) -> None:
        """Only models with a metric on the data are found, and only such metrics count."""

        def found(where: str, *on: OnData) -> list[str]:
            return [model.name for model in models.search(among=["0"], where=where, on=on)]

        assert ["two", "one"] == found("", OnData("may"))
        assert ["one"] == found("", OnData("may", "d1"))
        assert ["two"] == found("metrics.auc < 0.5", OnData("june"), OnData("never"))
        assert [] == found("metrics.auc < 0.5", OnData("may"))

    @pytest.mark.parametrize(
        ("order", "wanted"),
        [
            ([Criterion("creation_timestamp")], ["one", "two", "Three"]),
            ([Criterion("name", descending=True)], ["two", "one", "Three"]),
            ([Criterion("metrics.auc")], ["two", "one", "Three"]),
            ([Criterion("metrics.auc", descending=True)], ["one", "two", "Three"]),
            ([Criterion("metrics.auc", descending=True, on=OnData("may"))], ["two", "one", "Three"]),
            ([Criterion("metrics.none"), Criterion("name")], ["Three", "one", "two"]),
            ([Criterion("model_type"), Criterion("creation_time", descending=True)], ["one", "Three", "two"]),
        ],
    )
    def test_orders(
        self, models: LoggedModels, three: list[LoggedModel], order: list[Criterion], wanted: list[str]
    ) -> None:
        """By the newest value of a metric; what is missing is last."""
        assert wanted == [model.name for model in models.search(among=["0"], order=order)]

    def test_pages(self, models: LoggedModels, three: list[LoggedModel]) -> None:
        """And experiments."""
        assert ["two"] == [model.name for model in models.search(among=["0", "0"], limit=1, offset=1)]
        assert [] == models.search(among=["1"]) == models.search(among=[])
        with pytest.raises(Invalid, match="Invalid order by field name: params"):
            models.search(among=["0"], order=[Criterion("params.")])
