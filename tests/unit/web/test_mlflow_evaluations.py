"""MLflow's door for evaluation datasets, scorers and bulk histories, asked over HTTP."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from stellwerk.testing.worlds import served
from stellwerk.tracking.model import DatasetUse, Point
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

THREE, TWO = "/api/3.0/mlflow/", "/ajax-api/2.0/mlflow/"


class Client:
    """Asks a server, and gives status and JSON."""

    def __init__(self, url: str, rooms: Rooms) -> None:
        self.address, self.rooms = urlsplit(url).netloc, rooms

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self.address, timeout=20)
        try:
            data = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json"} if data else {}
            whole = f"{path}?{urlencode(query, doseq=True)}" if query else path
            connection.request(method, whole, body=data, headers=headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def dataset(self, **fields: Any) -> dict[str, Any]:
        status, answer = self.ask("POST", THREE + "datasets/create", {"name": "golden", **fields})
        assert 200 == status
        found: dict[str, Any] = answer["dataset"]
        return found

    def experiment(self, name: str) -> str:
        return self.rooms.experiments.create(name).id


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    layout = create(tmp_path_factory.mktemp("door"), Settings(actor="anna"))
    rooms = Rooms(layout, Settings(actor="anna"))
    with served(rooms) as url:
        yield Client(url, rooms)
    rooms.close()


def test_a_dataset_lives_and_dies(client: Client) -> None:
    """All that is JSON in texts, as MLflow's messages have it."""
    experiment = client.experiment("judging")
    made = client.dataset(tags=json.dumps({"team": "ml"}), experiment_ids=[experiment])
    place = f"{THREE}datasets/{made['dataset_id']}"
    records = [{"inputs": {"q": 1}, "expectations": {"a": True}}, {"inputs": {"q": 2}, "outputs": "x"}]
    merged = client.ask("POST", f"{place}/records", {"records": json.dumps(records)})
    page = client.ask("GET", f"{place}/records", max_results=1)[1]
    rest = client.ask("GET", f"{place}/records", max_results=1, page_token=page["next_page_token"])[1]
    (first,), (second,) = json.loads(page["records"]), json.loads(rest["records"])
    found = client.ask("GET", place)[1]["dataset"]

    assert ({"team": "ml"}, [experiment]) == (json.loads(made["tags"]), made["experiment_ids"])
    assert (200, {"inserted_count": 2, "updated_count": 0}) == merged
    assert ({"q": 1}, {"a": True}, {"q": 2}, "x") == (
        first["inputs"], first["expectations"], second["inputs"], second["outputs"],
    )  # fmt: skip
    assert "next_page_token" not in rest
    assert {"inputs": {"q": "integer"}, "outputs": "string", "expectations": {"a": "boolean"}, "version": "1.0"} == (
        json.loads(found["schema"])
    )
    assert {"num_records": 2} == json.loads(found["profile"])
    assert made["digest"] != found["digest"]
    gone = client.ask("DELETE", f"{place}/records", {"dataset_record_ids": [first["dataset_record_id"], "dr-0"]})
    assert (200, {"deleted_count": 1}) == gone
    assert (200, {}) == client.ask("DELETE", place)
    status, answer = client.ask("GET", place)
    assert (404, "RESOURCE_DOES_NOT_EXIST") == (status, answer["error_code"])
    assert (200, {}) == client.ask("DELETE", place)


def test_tags_and_experiments_change(client: Client) -> None:
    """Keys of tags may hold what paths hold."""
    one, other = client.experiment("one"), client.experiment("other")
    made = client.dataset(experiment_ids=[one])
    place = f"{THREE}datasets/{made['dataset_id']}"
    joined = client.ask("POST", f"{place}/add-experiments", {"experiment_ids": [other]})[1]["dataset"]
    left = client.ask("POST", f"{place}/remove-experiments", {"experiment_ids": [one]})[1]["dataset"]
    client.ask("PATCH", f"{place}/tags", {"tags": json.dumps({"a/b": "1", "c": "2"})})
    assert 200 == client.ask("DELETE", f"{place}/tags/a%2Fb")[0]

    assert ([one, other], [other]) == (joined["experiment_ids"], left["experiment_ids"])
    assert {"experiment_ids": [other]} == client.ask("GET", f"{place}/experiment-ids")[1]
    assert {"c": "2"} == json.loads(client.ask("GET", place)[1]["dataset"]["tags"])


def test_datasets_are_searched_by_both_methods(client: Client) -> None:
    """In pages."""
    home = client.experiment("searching")
    for number in range(3):
        client.dataset(name=f"s{number}", experiment_ids=[home], tags=json.dumps({"kind": "search"}))
    asked = {"experiment_ids": [home], "filter_string": "tags.kind = 'search'", "order_by": ["name ASC"]}
    page = client.ask("POST", THREE + "datasets/search", {**asked, "max_results": 2})[1]
    rest = client.ask("GET", THREE + "datasets/search", max_results=2, page_token=page["next_page_token"], **asked)[1]

    assert ["s0", "s1", "s2"] == [one["name"] for one in (*page["datasets"], *rest["datasets"])]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "datasets/create", {}),
        ("POST", "datasets/create", {"name": 1}),
        ("POST", "datasets/create", {"name": "x", "tags": "[1"}),
        ("POST", "datasets/create", {"name": "x", "tags": "[1]"}),
        ("POST", "datasets/create", {"name": "x", "tags": '{"a": "\\ud800"}'}),
        ("POST", "datasets/create", {"name": "x\0y", "tags": '{"\\ud800": "a"}'}),
        ("POST", "datasets/search", {"max_results": -1}),
        ("POST", "datasets/search", {"max_results": 50_001}),
        ("POST", "datasets/search", {"page_token": "?"}),
        ("POST", "datasets/search", {"filter_string": "name = 'a' OR 1 = 1"}),
        ("POST", "datasets/search", {"order_by": ["nothing"]}),
        ("POST", "datasets/d-1/records", {"records": "1"}),
        ("POST", "datasets/d-1/records", {"records": "[" * 100_000}),
        ("POST", "datasets/d-1/records", {"records": "[" + "9" * 5000 + "]"}),
        ("POST", "datasets/d-1/records", {"records": "[1]"}),
        ("POST", "datasets/d-1/records", {"records": [{}]}),
        ("POST", "scorers/register", {"experiment_id": "0", "name": "x", "serialized_scorer": "no JSON"}),
        ("POST", "scorers/register", {"experiment_id": "0", "name": " ", "serialized_scorer": "{}"}),
    ],
)
def test_what_is_wrong_is_named(client: Client, method: str, path: str, body: Any) -> None:
    """With 400 and MLflow's code, whatever it is."""
    status, answer = client.ask(method, THREE + path, body)

    assert (400, "INVALID_PARAMETER_VALUE") == (status, answer["error_code"])


def test_scorers_have_versions(client: Client) -> None:
    """Numbers count up and are not given again; the whole scorer goes, and its name is free."""
    home = client.experiment("scoring")
    asked = {"experiment_id": home, "name": "accuracy"}
    for text in ('{"v": 1}', '{"v": 2}'):
        client.ask("POST", THREE + "scorers/register", {**asked, "serialized_scorer": text})
    client.ask("DELETE", THREE + "scorers/delete", {**asked, "version": 2})
    third = client.ask("POST", THREE + "scorers/register", {**asked, "serialized_scorer": "{}"})[1]
    versions = client.ask("GET", THREE + "scorers/versions", **asked)[1]["scorers"]
    newest = client.ask("GET", THREE + "scorers/get", **asked)[1]["scorer"]

    assert [1, 3] == [one["scorer_version"] for one in versions]
    assert (3, home, newest["scorer_id"]) == (third["version"], third["experiment_id"], third["scorer_id"])
    assert (
        '{"v": 1}' == client.ask("GET", THREE + "scorers/get", version=1, **asked)[1]["scorer"]["serialized_scorer"]
    )
    for query in ({"experiment_id": home}, {"experiment_ids": [home, "404"]}, {}):
        listed = client.ask("GET", THREE + "scorers/list", **query)[1]["scorers"]
        assert [("accuracy", 3)] == [(one["scorer_name"], one["scorer_version"]) for one in listed]
    assert 404 == client.ask("GET", THREE + "scorers/get", version=2, **asked)[0]
    assert 200 == client.ask("DELETE", THREE + "scorers/delete", asked)[0]
    assert 404 == client.ask("DELETE", THREE + "scorers/delete", asked)[0]
    assert [] == client.ask("GET", THREE + "scorers/list", experiment_id=home)[1]["scorers"]
    kinds = [entry.kind for entry in client.rooms.book.entries(kinds=["scorer."]) if entry.body["name"] == "accuracy"]
    assert [
        "scorer.registered",
        "scorer.registered",
        "scorer.deleted",
        "scorer.registered",
        "scorer.deleted",
    ] == kinds


def test_scorers_are_kept_and_never_run(client: Client) -> None:
    """Whatever they hold: a client that wants them to run here reads that they do not."""
    code = json.dumps({"call_source": "raise SystemExit", "original_func_name": "f"})
    asked = {"experiment_id": "0", "name": "code"}
    kept = client.ask("POST", THREE + "scorers/register", {**asked, "serialized_scorer": code})[1]
    status, answer = client.ask("PUT", THREE + "scorers/online-config", {**asked, "sample_rate": 1.0})

    assert code == kept["serialized_scorer"]
    assert (403, "FEATURE_DISABLED") == (status, answer["error_code"])
    assert {"configs": []} == client.ask("GET", THREE + "scorers/online-configs", scorer_ids=[kept["scorer_id"]])[1]
    client.ask("DELETE", THREE + "scorers/delete", asked)


def test_histories_of_many_runs_come_thinned(client: Client) -> None:
    """At the same steps of all runs, with the ends of each, and bounded where all points share a step."""
    home = client.experiment("charts")
    runs = sorted(client.rooms.logbook.create(home).run.id for _ in range(3))
    for run, count in zip(runs, (10, 20, 0), strict=True):
        client.rooms.logbook.log(run, points=[Point("loss", float(step), 1, step) for step in range(count)])
    crowd = client.rooms.logbook.create(home).run.id
    for start in range(0, 3000, 1000):
        client.rooms.logbook.log(crowd, points=[Point("loss", 0.5, start + at) for at in range(1000)])
    several = {"run_ids": [*runs, "unknown"], "metric_key": "loss", "max_results": 5}
    thinned = client.ask("GET", TWO + "metrics/get-history-bulk-interval", **several)[1]["metrics"]
    some = client.ask(
        "GET", TWO + "metrics/get-history-bulk-interval", start_step=3, end_step=4, **several
    )[1]["metrics"]  # fmt: skip
    crowded = client.ask(
        "GET", TWO + "metrics/get-history-bulk-interval", run_ids=[crowd], metric_key="loss", max_results=5
    )[1]["metrics"]  # fmt: skip
    whole = client.ask("GET", TWO + "metrics/get-history-bulk", run_id=runs[:2], metric_key="loss", max_results=12)[1]

    assert [0, 4, 8, 9] == [one["step"] for one in thinned if one["run_id"] == runs[0]]
    assert [0, 4, 8, 9, 12, 16, 19] == [one["step"] for one in thinned if one["run_id"] == runs[1]]
    assert [3, 4, 3, 4] == [one["step"] for one in some]
    assert (0, 2999) == (crowded[0]["timestamp"], crowded[-1]["timestamp"])
    assert len(crowded) <= 51
    assert [runs[0]] * 10 + [runs[1]] * 2 == [one["run_id"] for one in whole["metrics"]]


def test_the_data_of_runs_is_listed_once(client: Client) -> None:
    """Per experiment, with what it was used for."""
    home = client.experiment("data")
    for _ in range(2):
        run = client.rooms.logbook.create(home).run.id
        used = DatasetUse(name="n", digest="d", source_type="s", source="s", tags={"mlflow.data.context": "training"})
        client.rooms.logbook.use(run, datasets=[used, DatasetUse(name="m", digest="d", source_type="s", source="s")])
    found = client.ask("POST", TWO + "experiments/search-datasets", {"experiment_ids": [home, home]})[1]

    of = {"experiment_id": home, "digest": "d"}
    assert [{**of, "name": "n", "context": "training"}, {**of, "name": "m"}] == found["dataset_summaries"]
