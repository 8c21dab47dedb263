"""MLflow's door describes itself: every call is in the description, and what it answers is what was described."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from stellwerk.web.app import application
from stellwerk.web.doors import mlflow
from stellwerk.web.routing import matrix
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

SETTINGS = Settings(actor="anna", webhook_hosts=("127.0.0.1",))
JSON = "application/json"
HERE = "/api/v1/openapi/mlflow.json"
TRACE = "tr-" + "1" * 32
AT = 1_795_199_813_462_281_666


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    rooms = Rooms(create(tmp_path_factory.mktemp("described"), SETTINGS), SETTINGS)
    with TestClient(application(rooms, {}), base_url="http://localhost") as made:
        yield made
    rooms.close()


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get(HERE).json()
    return found


class Script:
    """Asks the door, and holds each answer against what the description says of it, to the last field."""

    def __init__(self, client: TestClient, document: dict[str, Any]) -> None:
        self.client, self.seen = client, set[tuple[str, str]]()
        self.schemas = {
            # A field that the description does not know is a mistake here.
            name: {**schema, "additionalProperties": False}
            for name, schema in document["components"]["schemas"].items()
        }
        self.paths = document["paths"]
        self.forms = {path: re.compile("".join(map(_form, re.split(r"(\{\w+\})", path)))) for path in self.paths}

    def ask(self, method: str, path: str, body: Any = None, /, *, status: int = 200, **query: Any) -> Any:
        """What was answered, which has this status and is as described."""
        path = path if path.startswith("/") else f"/api/{path}"
        options = {"content": body} if isinstance(body, bytes) else {} if body is None else {"json": body}
        answer = self.client.request(method, path, params=query, **options)
        assert status == answer.status_code, (path, answer.text)
        self.check(answer, self.operation(path, method.lower())["responses"])
        return answer.json() if answer.headers.get("content-type") == JSON else answer.content

    def check(self, answer: Any, described: dict[str, Any]) -> None:
        """Holds an answer against the description of the answers of its call."""
        status = str(answer.status_code)
        shown = described[status] if status in described else described[f"{status[0]}XX"]
        if "$ref" in shown:
            shown = {"content": {JSON: {"schema": {"$ref": "#/components/schemas/Failure"}}}}
        content, kind = shown.get("content", {}), answer.headers.get("content-type", "").partition(";")[0]
        assert kind in content or "*/*" in content or (not content and not answer.content)
        if schema := content.get(kind, {}).get("schema"):
            whole = {**schema, "components": {"schemas": self.schemas}}
            jsonschema.Draft202012Validator(whole).validate(answer.json())

    def operation(self, path: str, method: str) -> dict[str, Any]:
        """The description of what answers a path; where several might, of the one with the fewest holes."""
        fits = [known for known, form in self.forms.items() if method in self.paths[known] and form.fullmatch(path)]
        found = min(fits, key=lambda known: known.count("{"))
        self.seen.add((found, method))
        operation: dict[str, Any] = self.paths[found][method]
        return operation


def _form(part: str) -> str:
    return re.escape(part) if part[:1] != "{" else ".+" if part in ("{path}", "{key}", "{tag_key}") else "[^/]+"


def test_every_route_is_described(document: dict[str, Any]) -> None:
    """Whatever the door answers is in its description, with method and permission; twins under the other root once."""
    described = {
        (path, method.upper(), operation["x-permission"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    routes = matrix(mlflow.routes(None, lambda *_: None))  # type: ignore[arg-type]
    served = {
        (re.sub(r"\{(\w+):path\}", r"{\1}", path), method, permission)
        for path, methods, permission in routes
        for method in set(methods) - {"HEAD"}
        if "{rest:path}" not in path and (not path.startswith("/ajax-api") or path.endswith("upload-artifact"))
    }

    assert served == described
    assert len(described) > sum(len(table.table) for table in mlflow.TABLES)


def test_the_description_is_valid_and_says_what_each_call_does(document: dict[str, Any]) -> None:
    """It is OpenAPI 3.1, each operation has a name of its own and a sentence, and it is linked from the operations'."""
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]

    validate(document)
    assert len(operations) == len({operation["operationId"] for operation in operations})
    assert [] == [operation["operationId"] for operation in operations if not operation["summary"]]


def test_the_operations_name_the_description_of_the_door(client: TestClient) -> None:
    """Whoever reads the description of the operations finds that of the door, and back."""
    operations = client.get("/api/v1/openapi.json").json()

    validate(operations)
    assert HERE == operations["externalDocs"]["url"]
    assert "/api/v1/openapi.json" == client.get(HERE).json()["externalDocs"]["url"]


def test_fields_are_described_as_they_are_read(document: dict[str, Any]) -> None:
    """What must be there, what may be null, integers that may be texts, enumerations, and where a GET has its fields."""
    log = document["paths"]["/api/2.0/mlflow/runs/log-metric"]["post"]["requestBody"]
    schema = log["content"]["application/json"]["schema"]
    search = document["paths"]["/api/2.0/mlflow/experiments/search"]["get"]["parameters"]

    assert ["key", "value", "timestamp"] == schema["required"]
    assert log["required"]
    assert ["integer", "string", "null"] == schema["properties"]["step"]["type"]
    assert {"type": "string", "minLength": 1} == schema["properties"]["key"]
    assert {"name", "in", "required", "schema"} == set(search[0])
    assert {"max_results", "page_token", "filter", "order_by", "view_type"} == {one["name"] for one in search}
    assert "ACTIVE_ONLY" in next(one for one in search if one["name"] == "view_type")["schema"]["enum"]


def test_answers_are_what_was_described(client: TestClient, document: dict[str, Any]) -> None:
    """Each call is asked once for something that is there, and its answer has no field that was not described."""
    script = Script(client, document)
    for scene in (_runs, _files, _models, _registry, _traces, _judging, _webhooks, _server):
        scene(script)
    every = {(path, method) for path, methods in document["paths"].items() for method in methods}

    assert set() == every - script.seen
    script.ask("GET", "2.0/mlflow/runs/get", status=404, run_id="none")


def _runs(script: Script) -> None:
    ask, here = script.ask, "2.0/mlflow"
    tags = [{"key": "a", "value": "b"}]
    home = ask("POST", f"{here}/experiments/create", {"name": "x", "tags": tags})["experiment_id"]
    ask("GET", f"{here}/experiments/get", experiment_id=home)
    ask("GET", f"{here}/experiments/get-by-name", experiment_name="x")
    ask("GET", f"{here}/experiments/search", max_results=1)
    ask("POST", f"{here}/experiments/search", {})
    ask("POST", f"{here}/experiments/update", {"experiment_id": home, "new_name": "y"})
    ask("POST", f"{here}/experiments/set-experiment-tag", {"experiment_id": home, "key": "k", "value": "v"})
    ask("POST", f"{here}/experiments/delete-experiment-tag", {"experiment_id": home, "key": "k"})
    ask("POST", f"{here}/experiments/delete", {"experiment_id": home})
    ask("POST", f"{here}/experiments/restore", {"experiment_id": home})
    run = ask("POST", f"{here}/runs/create", {"experiment_id": home, "tags": tags})["run"]["info"]["run_id"]
    model = ask("POST", f"{here}/logged-models", {"experiment_id": home})["model"]["info"]["model_id"]
    named = {"run_id": run}
    point = {
        "key": "m",
        "value": "NaN",
        "timestamp": 1,
        "model_id": model,
        "dataset_name": "d",
        "dataset_digest": "1",
    }
    ask("POST", f"{here}/runs/log-metric", {**named, **point})
    ask("POST", f"{here}/runs/log-batch", {**named, "metrics": [{"key": "n", "value": 1.5, "timestamp": 1}]})
    ask("POST", f"{here}/runs/log-parameter", {**named, "key": "p", "value": "v"})
    ask("POST", f"{here}/runs/set-tag", {**named, "key": "t", "value": "v"})
    ask("POST", f"{here}/runs/delete-tag", {**named, "key": "t"})
    data = {"name": "d", "digest": "1", "source_type": "local", "source": "here", "schema": "{}", "profile": "{}"}
    used = {"datasets": [{"dataset": data, "tags": [{"key": "mlflow.data.context", "value": "train"}]}]}
    ask("POST", f"{here}/runs/log-inputs", {**named, **used, "models": [{"model_id": model}]})
    ask("POST", f"{here}/runs/outputs", {**named, "models": [{"model_id": model, "step": 1}]})
    said = {"artifact_path": "m", "flavors": {}, "utc_time_created": "now", "run_id": run}
    ask("POST", f"{here}/runs/log-model", {**named, "model_json": json.dumps(said)})
    ask("POST", f"{here}/runs/search", {"experiment_ids": [home], "max_results": 1})
    ask("GET", f"{here}/metrics/get-history", **named, metric_key="m", max_results=1)
    ask("GET", f"{here}/metrics/get-history-bulk", **named, metric_key="m")
    ask("GET", f"{here}/metrics/get-history-bulk-interval", run_ids=run, metric_key="n")
    ask("POST", f"{here}/experiments/search-datasets", {"experiment_ids": [home]})
    ask("POST", f"{here}/runs/update", {**named, "status": "FINISHED", "end_time": 2})
    ask("GET", f"{here}/runs/get", **named)
    ask("POST", f"{here}/runs/delete", named)
    ask("POST", f"{here}/runs/restore", named)


def _files(script: Script) -> None:
    ask, tree = script.ask, "2.0/mlflow-artifacts"
    run = ask("POST", "2.0/mlflow/runs/create", {"experiment_id": "0"})["run"]["info"]
    home = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    ask("PUT", f"{tree}/artifacts/{home}/a/b.txt", b"bytes")
    ask("POST", "/ajax-api/2.0/mlflow/upload-artifact", b"more", run_uuid=run["run_id"], path="c.txt")
    ask("GET", f"{tree}/artifacts/{home}/a/b.txt")
    ask("GET", f"{tree}/artifacts", path=home)
    ask("GET", "2.0/mlflow/artifacts/list", run_id=run["run_id"])
    ask("GET", "/get-artifact", run_id=run["run_id"], path="a/b.txt")
    ask("GET", f"{tree}/presigned/{home}/a/b.txt")
    upload = ask("POST", f"{tree}/mpu/create/{home}", {"path": "/tmp/long", "num_parts": 1})
    address = upload["credentials"][0]["url"].removeprefix("http://localhost")
    part = script.client.put(address, content=b"part")
    ask("PUT", address, b"part")
    named = {"path": "/tmp/long", "upload_id": upload["upload_id"]}
    parts = [{"part_number": 1, "etag": part.headers["etag"]}]
    ask("POST", f"{tree}/mpu/complete/{home}", {**named, "parts": parts})
    again = ask("POST", f"{tree}/mpu/create/{home}", {"path": "/tmp/long", "num_parts": 1})
    ask("POST", f"{tree}/mpu/abort/{home}", {"path": "/tmp/long", "upload_id": again["upload_id"]})
    ask("DELETE", f"{tree}/artifacts/{home}/a")


def _models(script: Script) -> None:
    ask, here = script.ask, "2.0/mlflow/logged-models"
    made = ask("POST", here, {"experiment_id": "0", "params": [{"key": "a", "value": "b"}]})["model"]["info"]
    one = f"{here}/{made['model_id']}"
    file = made["artifact_uri"].removeprefix("mlflow-artifacts:/") + "/MLmodel"
    ask("PUT", f"2.0/mlflow-artifacts/artifacts/{file}", b"flavors: {}")
    ask("GET", f"{one}/artifacts/directories")
    ask("GET", f"{one}/artifacts/files", artifact_file_path="MLmodel")
    ask("POST", f"{one}/params", {"params": [{"key": "c", "value": "d"}]})
    ask("PATCH", f"{one}/tags", {"tags": [{"key": "k/l", "value": "v"}]})
    ask("DELETE", f"{one}/tags/k/l")
    ask("PATCH", one, {"status": 2})
    ask("GET", one)
    ask("POST", f"{here}/search", {"experiment_ids": ["0"], "max_results": 1})
    ask("DELETE", one)


def _registry(script: Script) -> None:
    ask, models, versions = script.ask, "2.0/mlflow/registered-models", "2.0/mlflow/model-versions"
    run = ask("POST", "2.0/mlflow/runs/create", {"experiment_id": "0"})["run"]["info"]
    file = run["artifact_uri"].removeprefix("mlflow-artifacts:/") + "/model/MLmodel"
    ask("PUT", f"2.0/mlflow-artifacts/artifacts/{file}", b"flavors: {}")
    tags = [{"key": "a", "value": "b"}]
    ask("POST", f"{models}/create", {"name": "m", "tags": tags, "description": "words"})
    source = {"source": f"runs:/{run['run_id']}/model", "run_id": run["run_id"], "tags": tags}
    for _ in range(2):
        ask("POST", f"{versions}/create", {"name": "m", **source})
    one = {"name": "m", "version": "1"}
    ask("POST", f"{models}/alias", {**one, "alias": "best"})
    ask("GET", f"{models}/alias", name="m", alias="best")
    ask("POST", f"{models}/set-tag", {"name": "m", "key": "k", "value": "v"})
    ask("DELETE", f"{models}/delete-tag", {"name": "m", "key": "k"})
    ask("PATCH", f"{models}/update", {"name": "m", "description": "other words"})
    ask("GET", f"{models}/search", max_results=1)
    ask("GET", f"{models}/search", filter="name = 'none'")
    ask("GET", f"{models}/get", name="m")
    ask("GET", f"{models}/get-latest-versions", name="m")
    ask("POST", f"{models}/get-latest-versions", {"name": "m"})
    ask("POST", f"{versions}/set-tag", {**one, "key": "k", "value": "v"})
    ask("DELETE", f"{versions}/delete-tag", {**one, "key": "k"})
    ask("PATCH", f"{versions}/update", {**one, "description": "words"})
    ask("POST", f"{versions}/transition-stage", {**one, "stage": "Staging", "archive_existing_versions": True})
    ask("GET", f"{versions}/get", **one)
    ask("GET", f"{versions}/get-download-uri", **one)
    ask("GET", f"{versions}/search", max_results=1)
    ask("GET", f"{versions}/search", filter="name = 'none'")
    ask("GET", "/model-versions/get-artifact", **one, path="MLmodel")
    ask("DELETE", f"{models}/alias", {"name": "m", "alias": "best"})
    ask("DELETE", f"{versions}/delete", one)
    ask("POST", f"{models}/rename", {"name": "m", "new_name": "n"})
    ask("DELETE", f"{models}/delete", {"name": "n"})


def _traces(script: Script) -> None:
    ask, old, new = script.ask, "2.0/mlflow/traces", "3.0/mlflow/traces"
    run = ask("POST", "2.0/mlflow/runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"]
    begun = ask("POST", old, {"experiment_id": "0", "timestamp_ms": 1, "tags": [{"key": "a", "value": "b"}]})
    trace = begun["trace_info"]["request_id"]
    ask("PATCH", f"{old}/{trace}", {"timestamp_ms": 5, "status": "OK"})
    ask("GET", f"{old}/{trace}/info")
    ask("GET", old, experiment_ids="0", max_results=1)
    _sent(script)
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
    info = {
        "trace_id": TRACE, "trace_location": place, "request_time": "2026-01-01T00:00:00Z", "state": "OK",
        "execution_duration": "0.25s", "request_preview": "why", "response_preview": "so", "client_request_id": "c",
        "tags": {"a": "b"}, "trace_metadata": {"c": "d"},
    }  # fmt: skip
    ask("POST", new, {"trace": {"trace_info": info}})
    ask("GET", f"{new}/get", trace_id=TRACE, allow_partial=True)
    ask("GET", f"{new}/{TRACE}")
    ask("GET", f"{new}/batchGet", trace_ids=TRACE)
    ask("GET", f"{new}/batchGetInfos", trace_ids=TRACE)
    ask("POST", f"{new}/batchGetInfos", {"trace_ids": [TRACE]})
    ask("POST", f"{new}/search", {"locations": [place], "max_results": 1})
    measured = {"view_type": "TRACES", "metric_name": "latency", "aggregations": [{"aggregation_type": "MAX"}]}
    ask("POST", f"{new}/metrics", {"experiment_ids": ["0"], "dimensions": ["trace_name"], **measured})
    ask("POST", f"{new}/metrics", {"experiment_ids": ["0"], **measured})
    filters = {"filter_string1": "trace.status = 'OK'", "filter_string2": "trace.name = 'work'"}
    ask("POST", f"{new}/calculate-filter-correlation", {"experiment_ids": ["0"], **filters})
    for home in (old, new):
        ask("PATCH", f"{home}/{TRACE}/tags", {"key": "k", "value": "v"})
        ask("DELETE", f"{home}/{TRACE}/tags", {"key": "k"})
        ask("GET", f"{home.removesuffix('/traces')}/get-trace-artifact", request_id=TRACE)
    ask("POST", f"{old}/link-to-run", {"trace_ids": [TRACE], "run_id": run})
    ask("POST", f"{old}/link-prompts", {"trace_id": TRACE, "prompt_versions": [{"name": "p", "version": "1"}]})
    said = {"source": {"source_type": "HUMAN", "source_id": "anna"}, "feedback": {"value": True}, "rationale": "so"}
    said |= {"assessment_name": "good", "metadata": {"a": "b"}, "span_id": "1"}
    made = ask("POST", f"{new}/{TRACE}/assessments", {"assessment": said})["assessment"]["assessment_id"]
    ask("POST", f"{new}/{TRACE}/assessments", {"assessment": {**said, "feedback": {"error": {"error_code": "E"}}}})
    meant = {"assessment_name": "meant", "source": said["source"], "expectation": {"value": "no"}}
    ask("POST", f"{new}/{TRACE}/assessments", {"assessment": meant})
    ask("GET", f"{new}/{TRACE}/assessments/{made}")
    ask("PATCH", f"{new}/{TRACE}/assessments/{made}", {"assessment": {"rationale": "x"}, "update_mask": "rationale"})
    ask("GET", f"{new}/{TRACE}")
    ask("DELETE", f"{new}/{TRACE}/assessments/{made}")
    for home in (old, new):
        ask("POST", f"{home}/delete-traces", {"experiment_id": "0", "max_timestamp_millis": 3})


def _sent(script: Script) -> None:
    """One span as an exporter sends it."""
    span = {"traceId": "1" * 32, "spanId": "2" * 16, "name": "work", "kind": 1}
    span |= {"startTimeUnixNano": str(AT), "endTimeUnixNano": str(AT + 1_000_000)}
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    headers = {"x-mlflow-experiment-id": "0"}
    path = "/v1/traces"
    answer = script.client.post(path, json=body, headers=headers)
    refused = script.client.post(path, json=body)

    assert (200, 400) == (answer.status_code, refused.status_code)
    for one in (answer, refused):
        script.check(one, script.operation(path, "post")["responses"])


def _judging(script: Script) -> None:
    ask, scorers, datasets = script.ask, "3.0/mlflow/scorers", "3.0/mlflow/datasets"
    named = {"experiment_id": "0", "name": "s"}
    ask("POST", f"{scorers}/register", {**named, "serialized_scorer": "{}"})
    for word in ("list", "versions", "get"):
        ask("GET", f"{scorers}/{word}", **named)
    ask("GET", f"{scorers}/online-configs", scorer_ids="s")
    ask("PUT", f"{scorers}/online-config", named, status=403)
    ask("DELETE", f"{scorers}/delete", named)
    made = {"name": "d", "experiment_ids": ["0"], "tags": '{"a": "b"}'}
    one = f"{datasets}/{ask('POST', f'{datasets}/create', made)['dataset']['dataset_id']}"
    records = [{"inputs": {"q": 1}, "expectations": {"a": 2}, "tags": {"k": "v"}}]
    ask("POST", f"{one}/records", {"records": json.dumps(records)})
    found = json.loads(ask("GET", f"{one}/records", max_results=1)["records"])
    ask("GET", one)
    ask("GET", f"{datasets}/search", experiment_ids="0", max_results=1)
    ask("POST", f"{datasets}/search", {"experiment_ids": ["0"]})
    ask("PATCH", f"{one}/tags", {"tags": '{"k/l": "v"}'})
    ask("DELETE", f"{one}/tags/k/l")
    ask("GET", f"{one}/experiment-ids")
    ask("POST", f"{one}/add-experiments", {"experiment_ids": ["0"]})
    ask("POST", f"{one}/remove-experiments", {"experiment_ids": ["0"]})
    ask("DELETE", f"{one}/records", {"dataset_record_ids": [found[0]["dataset_record_id"]]})
    ask("DELETE", one)


def _webhooks(script: Script) -> None:
    ask, here = script.ask, "2.0/mlflow/webhooks"
    event = {"entity": "MODEL_VERSION", "action": "CREATED"}
    hook = {"name": "h", "url": "https://127.0.0.1:9/", "events": [event], "description": "words"}
    one = f"{here}/{ask('POST', here, hook)['webhook']['webhook_id']}"
    ask("GET", here, max_results=1)
    ask("GET", one)
    ask("PATCH", one, {"description": "other words"})
    assert not ask("POST", f"{one}/test", {"event": event})["result"]["success"]
    ask("DELETE", one)


def _server(script: Script) -> None:
    assert b"3." == script.ask("GET", "/version")[:2]
    for word in ("server-info", "server-features", "workspaces", "workspaces/default"):
        script.ask("GET", f"3.0/mlflow/{word}")
    script.ask("POST", "3.0/mlflow/workspaces", {"name": "another"}, status=403)
    script.ask("PATCH", "3.0/mlflow/workspaces/default", {"description": "words"}, status=403)
    script.ask("DELETE", "3.0/mlflow/workspaces/default", status=403)
