"""The registry of MLflow over HTTP: requests as its client sends them, what it makes of errors, and how it is abused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3

from stellwerk.core.digest import of_bytes
from stellwerk.models.model import Column, Signature
from stellwerk.testing import worlds
from stellwerk.web.doors.mlflow import registry
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

SIGNATURE = Signature(inputs=(Column(name="x", kind="number"),), target="y", task="regression")
RUN = "0" * 26


class Client:
    """Sends fields as the client does: in the query of a GET, else as JSON."""

    def __init__(self, url: str, rooms: Rooms) -> None:
        self.url, self.rooms, self.root = url, rooms, "/api"

    def send(self, method: str, path: str, **fields: Any) -> tuple[int, dict[str, Any]]:
        url = f"{self.url}{self.root}/2.0/mlflow/{path}"
        if method == "GET":
            answer = urllib3.request("GET", f"{url}?{urlencode(fields, doseq=True)}", retries=False)
        else:
            answer = urllib3.request(method, url, json=fields, retries=False)
        return answer.status, json.loads(answer.data)

    def ask(self, method: str, path: str, **fields: Any) -> dict[str, Any]:
        status, found = self.send(method, path, **fields)
        assert 200 == status, found
        return found

    def fails(self, method: str, path: str, **fields: Any) -> tuple[int, str, str]:
        status, found = self.send(method, path, **fields)
        assert {"error_code", "message"} == set(found)
        return status, found["error_code"], found["message"]

    def model(self, name: str = "delay", **fields: Any) -> None:
        self.ask("POST", "registered-models/create", name=name, **fields)

    def version(self, source: str = "s3://bucket/model", name: str = "delay", **fields: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("POST", "model-versions/create", name=name, source=source, **fields)
        made: dict[str, Any] = found["model_version"]
        return made


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A registry without models."""
    rooms = Rooms(create(tmp_path, Settings(actor="anna")), Settings(actor="anna"))
    with worlds.served(rooms) as address:
        yield Client(address, rooms)
    rooms.close()


def test_every_call_of_the_client_is_answered(client: Client) -> None:
    """The 22 routes of MLflow 3.18, under both roots."""
    known = {(call.method, call.path) for call in registry.CALLS.table}

    assert 22 == len(known)
    for root in ("/api", "/ajax-api"):
        client.root = root
        for method, path in known:
            status, found = client.send(method, path)
            if path.endswith("search"):
                assert (200, {}) == (status, found)
            else:
                assert (400, "INVALID_PARAMETER_VALUE") == (status, found["error_code"])
                assert found["message"].startswith("Missing value for required parameter")


class TestModels:
    """`registered-models/*`"""

    def test_a_life(self, client: Client) -> None:
        """Made, described, tagged, renamed, deleted; times are milliseconds, and what is empty is left out."""
        tags = [{"key": "empty", "value": ""}, {"key": "team", "value": "risk"}]
        made = client.ask("POST", "registered-models/create", name="delay", tags=tags, description="Late?")
        found = client.ask("GET", "registered-models/get", name="delay")

        assert made == found
        model = found["registered_model"]
        assert ("delay", "Late?", tags) == (model["name"], model["description"], model["tags"])
        assert model["creation_timestamp"] == model["last_updated_timestamp"] > 1_700_000_000_000
        assert {"latest_versions", "aliases"} & set(model) == set()
        client.ask("PATCH", "registered-models/update", name="delay", description="Later")
        client.ask("POST", "registered-models/set-tag", name="delay", key="team", value="ops")
        client.ask("DELETE", "registered-models/delete-tag", name="delay", key="empty")
        client.ask("DELETE", "registered-models/delete-tag", name="delay", key="empty")
        client.version()
        client.ask("POST", "registered-models/alias", name="delay", alias="champion", version="1")
        moved = client.ask("POST", "registered-models/rename", name="delay", new_name="late")["registered_model"]

        assert ("late", "Later", [{"key": "team", "value": "ops"}]) == (
            moved["name"],
            moved["description"],
            moved["tags"],
        )
        assert [{"alias": "champion", "version": "1"}] == moved["aliases"]
        assert [("late", "1", ["champion"])] == [
            (one["name"], one["version"], one["aliases"]) for one in moved["latest_versions"]
        ]
        client.ask("DELETE", "registered-models/delete", name="late")
        assert {} == client.ask("GET", "registered-models/search")

    def test_errors(self, client: Client) -> None:
        """With MLflow's codes, which make the client's exceptions."""
        client.model()
        taken = client.fails("POST", "registered-models/create", name="delay")

        assert (400, "RESOURCE_ALREADY_EXISTS", "Registered Model (name=delay) already exists.") == taken
        for method, path, fields in (
            ("GET", "get", {}),
            ("PATCH", "update", {"description": "x"}),
            ("POST", "rename", {"new_name": "x"}),
            ("DELETE", "delete", {}),
            ("POST", "set-tag", {"key": "a", "value": "b"}),
            ("DELETE", "delete-tag", {"key": "a"}),
            ("POST", "get-latest-versions", {}),
            ("GET", "get-latest-versions", {}),
            ("GET", "alias", {"alias": "a"}),
            ("DELETE", "alias", {"alias": "a"}),
        ):
            missing = client.fails(method, f"registered-models/{path}", name="nobody", **fields)
            assert (404, "RESOURCE_DOES_NOT_EXIST", "Registered Model with name=nobody not found") == missing
        status, code, text = client.fails("POST", "registered-models/create", name=3)
        assert (400, "INVALID_PARAMETER_VALUE") == (status, code)
        assert text.startswith("Invalid value 3 for parameter 'name' supplied")

    def test_search(self, client: Client) -> None:
        """Page by page; bad filters, orders, sizes and tokens are the caller's mistake (P11)."""
        for number in range(5):
            client.model(f"model{number}", tags=[{"key": "even", "value": str(number % 2 == 0)}])
        client.model("prompt", tags=[{"key": "mlflow.prompt.is_prompt", "value": "true"}])
        names: list[str] = []
        token = ""
        while True:
            page = client.ask("GET", "registered-models/search", max_results=2, page_token=token)
            names += [model["name"] for model in page["registered_models"]]
            token = page.get("next_page_token", "")
            if not token:
                break

        assert [f"model{number}" for number in range(5)] == names
        where = "tags.even = 'True' AND name ILIKE 'MODEL%'"
        found = client.ask("GET", "registered-models/search", filter=where, order_by=["name DESC"])
        assert ["model4", "model2", "model0"] == [model["name"] for model in found["registered_models"]]
        for fields in (
            {"filter": "name ="},
            {"filter": "metrics.auc > 1"},
            {"order_by": ["nothing"]},
            {"order_by": ["name", "name DESC"]},
            {"max_results": 1001},
            {"max_results": 0},
            {"max_results": -1},
            {"max_results": "x"},
            {"page_token": "forged"},
            {"page_token": "eyJvZmZzZXQiOiAtMX0="},
        ):
            for kind in ("registered-models", "model-versions"):
                if fields == {"max_results": 1001} and kind == "model-versions":
                    continue
                assert (400, "INVALID_PARAMETER_VALUE") == client.fails("GET", f"{kind}/search", **fields)[:2]
        far = client.ask("GET", "registered-models/search", page_token="eyJvZmZzZXQiOiA5OTk5OTl9")
        assert {} == far


class TestVersions:
    """`model-versions/*`"""

    def test_a_life(self, client: Client) -> None:
        """Made, described, tagged, staged, found, deleted."""
        client.model()
        made = client.version(
            run_id="r", run_link="https://host/r", description="first", tags=[{"key": "a", "value": "b"}]
        )

        times = {made.pop("creation_timestamp"), made.pop("last_updated_timestamp")}
        assert 1 == len(times)
        assert {
            "name": "delay", "version": "1", "current_stage": "None", "description": "first", "run_id": "r",
            "source": "s3://bucket/model", "run_link": "https://host/r", "status": "READY", "user_id": "anna",
            "tags": [{"key": "a", "value": "b"}],
        } == made  # fmt: skip
        about = {"name": "delay", "version": "1"}
        client.ask("PATCH", "model-versions/update", **about, description="second")
        client.ask("POST", "model-versions/set-tag", **about, key="c", value="")
        client.ask("DELETE", "model-versions/delete-tag", **about, key="a")
        staged = client.ask("POST", "model-versions/transition-stage", **about, stage="production")["model_version"]
        client.ask("POST", "registered-models/alias", **about, alias="champion")
        found = client.ask("GET", "model-versions/get", **about)["model_version"]

        assert "Production" == staged["current_stage"]
        assert ("second", [{"key": "c", "value": ""}], ["champion"]) == (
            found["description"], found["tags"], found["aliases"],
        )  # fmt: skip
        assert [found] == client.ask("GET", "model-versions/search", filter="name = 'delay'")["model_versions"]
        assert found == client.ask("GET", "registered-models/alias", name="delay", alias="champion")["model_version"]
        assert [found] == client.ask("GET", "registered-models/get", name="delay")["registered_model"][
            "latest_versions"
        ]
        for method in ("GET", "POST"):
            path, stages = "registered-models/get-latest-versions", ["Production", "Staging"]
            assert [found] == client.ask(method, path, name="delay", stages=stages)["model_versions"]
            assert {} == client.ask(method, path, name="delay", stages=["None"])
        assert {"artifact_uri": "s3://bucket/model"} == client.ask("GET", "model-versions/get-download-uri", **about)
        client.ask("DELETE", "registered-models/alias", name="delay", alias="champion")
        client.ask("DELETE", "model-versions/delete", **about)
        assert (404, "RESOURCE_DOES_NOT_EXIST", "Model Version (name=delay, version=1) not found") == client.fails(
            "GET", "model-versions/get", **about
        )
        assert "2" == client.version()["version"]

    def test_errors(self, client: Client) -> None:
        """Numbers that are none, versions that are not there, stages, aliases."""
        client.model()
        client.version()
        about = {"name": "delay", "version": "1"}

        for version in ("x", "1.5", "1_0", " 1", "١", "1; DROP"):
            said = client.fails("GET", "model-versions/get", name="delay", version=version)
            assert (
                400,
                "INVALID_PARAMETER_VALUE",
                f"Parameter 'version' must be an integer, got '{version}'.",
            ) == said
        for version in ("0", "-1", "2", "9" * 18, "9" * 40):
            assert 404 == client.fails("GET", "model-versions/get", name="delay", version=version)[0]
        for fields in ({"stage": "None"}, {"stage": "Archived"}):
            said = client.fails(
                "POST", "model-versions/transition-stage", **about, **fields, archive_existing_versions=True
            )
            assert "INVALID_PARAMETER_VALUE" == said[1]
        assert 400 == client.fails("POST", "model-versions/transition-stage", **about, stage="x")[0]
        unknown = client.fails("GET", "registered-models/alias", name="delay", alias="nobody")
        assert (400, "INVALID_PARAMETER_VALUE", "Registered model alias nobody not found.") == unknown
        for alias in ("latest", "v1", "a b", "../x"):
            assert 400 == client.fails("POST", "registered-models/alias", **about, alias=alias)[0]
        assert 404 == client.fails("POST", "registered-models/alias", name="delay", alias="a", version="2")[0]
        assert 404 == client.fails("POST", "model-versions/create", name="nobody", source="s3://b/x")[0]

    def test_files_of_the_store(self, client: Client) -> None:
        """What a pipeline registered is seen, copied, and not to be had from an address."""
        client.rooms.registry.register("delay", of_bytes(b"model"), SIGNATURE, layout="skops", run_id=RUN)
        copy = client.version("models:/delay/latest")

        assert ("models:/delay/1", RUN) == (copy["source"], copy["run_id"])
        assert of_bytes(b"model") == client.rooms.catalogue.version("delay", int(copy["version"])).digest
        assert (400, "INVALID_PARAMETER_VALUE") == client.fails(
            "GET", "model-versions/get-download-uri", name="delay", version="1"
        )[:2]

    def test_prompts(self, client: Client) -> None:
        """Models of another kind, hidden from those who look for models."""
        tag = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
        client.model("greeting", tags=tag)
        text = [*tag, {"key": "mlflow.prompt.text", "value": "Hello {{name}}"}]
        client.version("dummy-source", "greeting", tags=text)

        assert {} == client.ask("GET", "registered-models/search") == client.ask("GET", "model-versions/search")
        where = "tags.`mlflow.prompt.is_prompt` = 'true'"
        assert 1 == len(client.ask("GET", "registered-models/search", filter=where)["registered_models"])
        assert 1 == len(client.ask("GET", "model-versions/search", filter=where)["model_versions"])


class TestAbuse:
    """Abuse cases of paths and names (docs: threats P3, P4, P7, P8, P9)."""

    @pytest.mark.parametrize("tag", [[], [{"key": "mlflow.prompt.is_prompt", "value": "true"}]])
    def test_sources(self, client: Client, tag: list[Any]) -> None:
        """No tag makes a bad source good (P3, P4), and nothing is kept of it."""
        client.model(tags=tag)
        for source in (
            "file:///etc/passwd", "file://localhost/etc/passwd", "/etc/passwd", "FILE:/etc/passwd", "etc", "s3://b/../x",
            "s3://b/x#/../..", "s3://b/x?a=/../..", "mlflow-artifacts:/../..", "runs:/id/../..", "models:/m/1/../..",
            "mlflow-artifacts:/%252e%252e%252fetc", "\\\\host\\share", "C:\\x", "~root", "s3://b/x;a=/..",
        ):  # fmt: skip
            for beside in ({}, {"run_id": "r"}, {"model_id": "m-1"}):
                said = client.fails("POST", "model-versions/create", name="delay", source=source, tags=tag, **beside)
                assert (400, "INVALID_PARAMETER_VALUE") == said[:2]
                assert "Invalid model version source" in said[2]
        assert [] == list(client.rooms.registry.list())

    def test_a_bad_source_in_the_database_is_only_text(self, client: Client) -> None:
        """A copy of it is judged as it stands; nobody follows it (P3)."""
        from stellwerk.ledger.shelf import evolve
        from stellwerk.models.shelves import VERSIONS

        client.model()
        client.version()
        with client.rooms.book.write() as tx:
            VERSIONS.put(tx, evolve(VERSIONS.get(tx, "delay", 1), source="file:///etc/passwd"))
            tx.record("model.described", "model:delay")

        assert (400, "INVALID_PARAMETER_VALUE") == client.fails(
            "GET", "model-versions/get-download-uri", name="delay", version="1"
        )[:2]
        assert 400 == client.fails("POST", "model-versions/create", name="delay", source="models:/delay/1")[0]

    def test_names(self, client: Client) -> None:
        """Twins are refused, everything else is itself: never decoded twice, never a route (P7, P8, P9)."""
        for name in (
            "Model ",
            "Model.",
            "cafe\u0301",
            "a\u200db",
            "a\u202eb",
            "a/b",
            "a:b",
            "..",
            "a\x00b",
            "x" * 257,
        ):
            assert 400 == client.fails("POST", "registered-models/create", name=name)[0], name
            assert client.fails("GET", "registered-models/get", name=name)[0] in (400, 404)
        names = ["Model", "model", "prod%2Dmodel", "prod-model", "café", "search", "create", "latest", "v2", "None",
                 "null", "_catalog", "a b", "a+b", "a&b=c", "'quoted'", "%"]  # fmt: skip
        for name in names:
            client.model(name)
            client.version(name=name)
        for name in names:
            assert name == client.ask("GET", "registered-models/get", name=name)["registered_model"]["name"]
        found = client.ask("GET", "registered-models/search")["registered_models"]
        assert sorted(names) == [model["name"] for model in found]

    def test_odd_texts(self, client: Client) -> None:
        """Never an error of the server, and never a stack trace (G1)."""
        client.model()
        client.version()
        for text in ("\x00", "\u202e", "x" * 100_000, "%00", "[]", "{}", "'", '"'):
            for method, path, fields in (
                ("POST", "registered-models/set-tag", {"name": "delay", "key": text, "value": text}),
                ("POST", "model-versions/set-tag", {"name": "delay", "version": "1", "key": "k", "value": text}),
                ("POST", "registered-models/alias", {"name": "delay", "version": "1", "alias": text}),
                ("PATCH", "registered-models/update", {"name": "delay", "description": text}),
                ("POST", "registered-models/rename", {"name": "nobody", "new_name": text}),
                ("POST", "model-versions/create", {"name": text, "source": text, "run_id": text}),
                ("POST", "model-versions/create", {"name": "delay", "source": "s3://b/x", "run_link": text}),
                ("POST", "registered-models/get-latest-versions", {"name": text, "stages": [text]}),
            ):
                assert client.send(method, path, **fields)[0] in (200, 400, 404), (path, text[:10])
        raw = urllib3.request(
            "POST",
            f"{client.url}/api/2.0/mlflow/registered-models/create",
            body=b'{"name": "\\ud800"}',
            headers={"content-type": "application/json"},
            retries=False,
        )
        assert 400 == raw.status

    def test_protected_aliases(self, client: Client) -> None:
        """The door is no way around a release."""
        client.model()
        client.version()
        client.rooms.registry.protect("champion")
        about = {"name": "delay", "version": "1"}
        said = client.fails("POST", "registered-models/alias", **about, alias="champion")

        assert (403, "PERMISSION_DENIED") == said[:2]
        assert "is protected" in said[2]
        assert 400 == client.fails("GET", "registered-models/alias", name="delay", alias="champion")[0]
