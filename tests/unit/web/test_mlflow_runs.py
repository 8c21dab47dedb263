"""Experiments and runs through MLflow's door: the words of its messages, its numbers, its errors."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from stellwerk.workspace.rooms import Rooms

API = "/api/2.0/mlflow"
JSON = {"content-type": "application/json"}
POINT = {"run_id": "$", "key": "k", "value": 1, "timestamp": 1}


@pytest.fixture
def run(client: TestClient) -> str:
    return str(post(client, "runs/create", experiment_id="0")["run"]["info"]["run_id"])


def post(client: TestClient, path: str, expect: int = 200, **body: Any) -> dict[str, Any]:
    answer = client.post(f"{API}/{path}", json=body)
    assert answer.status_code == expect, answer.text
    found: dict[str, Any] = answer.json()
    return found


def get(client: TestClient, path: str, **query: Any) -> dict[str, Any]:
    answer = client.get(f"{API}/{path}", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_numbers_are_spelled_as_protobuf_spells_them(client: TestClient, run: str) -> None:
    """Integers as numbers or texts; NaN and infinities as texts, both ways; big integers exactly."""
    sent = [
        {"key": "nan", "value": "NaN", "timestamp": "17", "step": "3"},
        {"key": "low", "value": "-Infinity", "timestamp": 17},
        {"key": "high", "value": "Infinity", "timestamp": 17.0, "step": -(2**62)},
        {"key": "text", "value": "1e-3", "timestamp": 2**62 + 1},
    ]
    post(client, "runs/log-batch", run_id=run, metrics=sent)
    found = {metric["key"]: metric for metric in get(client, "runs/get", run_id=run)["run"]["data"]["metrics"]}
    assert [("NaN", 17, 3), ("-Infinity", 17, 0), ("Infinity", 17, -(2**62)), (0.001, 2**62 + 1, 0)] == [
        (found[key]["value"], found[key]["timestamp"], found[key]["step"]) for key in ("nan", "low", "high", "text")
    ]
    assert "NaN" == get(client, "metrics/get-history", run_id=run, metric_key="nan")["metrics"][0]["value"]


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("experiments/create", {}, "Missing value for required parameter 'name'"),
        ("experiments/create", {"name": 123}, "Invalid value 123 for parameter 'name' supplied:  Hint: Value was of"),
        ("experiments/create", {"name": "x", "tags": "t"}, "Invalid value \"t\" for parameter 'tags' supplied"),
        ("experiments/create", {"name": "x", "artifact_location": "s3://b/#../x"}, "can't include fragments or params"),
        ("experiments/create", {"name": "x", "artifact_location": "s3://b/%2e%2e/x"}, "Invalid artifact location"),
        ("experiments/create", {"name": "x", "artifact_location": "s3://b/?a=/../x"}, "Invalid artifact location"),
        ("runs/log-metric", {"key": "k", "value": 1, "timestamp": 1}, "Missing value for required parameter 'run_id'"),
        ("runs/log-metric", {**POINT, "value": "x"}, "Invalid value \"x\" for parameter 'value'"),
        ("runs/log-metric", {**POINT, "timestamp": -1}, "Timestamp must be a nonnegative long"),
        ("runs/log-metric", {**POINT, "timestamp": 2**63}, "for parameter 'timestamp' supplied"),
        ("runs/log-metric", {**POINT, "key": "../k"}, "must not resolve to other names"),
        ("runs/log-batch", {"run_id": "$", "metrics": [{"key": "k"}]}, "required parameter 'metrics[0].value'"),
        ("runs/log-batch", {"run_id": "$", "tags": [{"key": "a"}] * 101}, "can contain at most 100 tags. Got 101 tags"),
        ("runs/log-parameter", {"run_id": "$", "key": "k" * 251, "value": "v"}, "exceeds the maximum length of 250"),
        ("runs/log-parameter", {"run_id": "$", "key": "k", "value": 3}, "Invalid value 3 for parameter 'value' supplied"),
        ("runs/set-tag", {"run_id": "$", "key": "a//b", "value": "v"}, "must not resolve to other names"),
        ("runs/search", {"max_results": 50001}, "Invalid value 50001 for parameter 'max_results' supplied"),
        ("runs/search", {"experiment_ids": ["0"], "filter": "a OR b"}, "Invalid filter: "),
        ("runs/search", {"experiment_ids": ["0"], "page_token": "!"}, "Invalid page token"),
        ("runs/search", {"experiment_ids": "0"}, "Invalid value \"0\" for parameter 'experiment_ids' supplied"),
        ("runs/update", {"run_id": "$", "status": "DONE"}, "Invalid value \"DONE\" for parameter 'status' supplied"),
        ("runs/create", {"experiment_id": "0", "start_time": "soon"}, "\"soon\" for parameter 'start_time'"),
        ("runs/create", {"experiment_id": "0", "start_time": 2**62}, "is no time in milliseconds"),
        ("runs/outputs", {"run_id": "$"}, "Missing value for required parameter 'models'"),
    ],
)  # fmt: skip
def test_bad_input_is_named(client: TestClient, run: str, path: str, body: dict[str, Any], message: str) -> None:
    """With status 400, MLflow's code, and nothing kept."""
    body = {key: run if value == "$" else value for key, value in body.items()}
    before = client.get("/health").json()["entries"]
    found = post(client, path, expect=400, **body)
    assert found["error_code"] == "INVALID_PARAMETER_VALUE"
    assert message in found["message"]
    assert not get(client, "runs/get", run_id=run)["run"]["data"]["metrics"]
    assert before == client.get("/health").json()["entries"]


def test_errors_have_mlflows_codes(client: TestClient, run: str) -> None:
    """The client makes its exception from the code; nothing permanent has a status that it retries."""
    post(client, "experiments/create", name="one")
    gone = {"run_id": "0" * 32, "key": "k", "value": 1, "timestamp": 1}
    create, named = f"{API}/runs/create", f"{API}/experiments/get-by-name"
    told = [
        (post(client, "experiments/create", expect=400, name="one"), "RESOURCE_ALREADY_EXISTS"),
        (post(client, "runs/log-metric", expect=404, **gone), "RESOURCE_DOES_NOT_EXIST"),
        (post(client, "no/such/call", expect=404), "ENDPOINT_NOT_FOUND"),
        (client.get(named, params={"experiment_name": "?"}).json(), "RESOURCE_DOES_NOT_EXIST"),
        (client.post(create, content=b"{", headers=JSON).json(), "INVALID_PARAMETER_VALUE"),
        (client.post(create, content=b"[]", headers=JSON).json(), "INVALID_PARAMETER_VALUE"),
        (
            client.post(create, content=b"{}", headers={"content-type": "text/plain"}).json(),
            "INVALID_PARAMETER_VALUE",
        ),
    ]
    assert [code for _, code in told] == [found["error_code"] for found, _ in told]
    assert all(set(found) == {"error_code", "message"} for found, _ in told)


def test_a_browser_cannot_be_made_to_write(client: TestClient, run: str) -> None:
    """Neither another origin nor a form's content type nor another host name reaches a call."""
    say = {"run_id": run, "key": "planted", "value": "v"}
    for headers in (
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"host": "evil.example"},
    ):
        assert 403 == client.post(f"{API}/runs/set-tag", json=say, headers=headers).status_code
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert 400 == client.post(f"{API}/runs/set-tag", content=json.dumps(say), headers=form).status_code
    assert "planted" not in str(get(client, "runs/get", run_id=run))


def test_hostile_bodies_cost_nothing(client: TestClient, run: str) -> None:
    """Deep, large, packed, with wrong bytes: refused, and the server goes on."""
    bodies = [
        (b'{"tags":' + b"[" * 100_000 + b"]" * 100_000 + b"}", JSON),
        (b'{"experiment_id": "' + b"0" * (33 << 20) + b'"}', JSON),
        (gzip.compress(b" " * (64 << 20)), {**JSON, "content-encoding": "gzip"}),
        (b'{"experiment_id": "\xff"}', JSON),
        (b'{"experiment_id": "\\ud800"}', JSON),
        (b'{"experiment_id": 1e999}', JSON),
    ]
    for body, headers in bodies:
        answer = client.post(f"{API}/runs/create", content=body, headers=headers)
        assert 400 == answer.status_code, body[:40]
        assert len(answer.content) < 2000
    assert (
        400
        == client.post(f"{API}/runs/log-batch", json={"run_id": run, "tags": [], "x": "y" * 1_000_001}).status_code
    )
    assert 200 == client.get("/health").status_code


def test_both_roots_and_the_body_of_a_get(client: TestClient, run: str) -> None:
    """MLflow's page asks under another root, and old clients send a body with a GET."""
    assert run == client.get("/ajax-api/2.0/mlflow/runs/get", params={"run_id": run}).json()["run"]["info"]["run_id"]
    old = client.request("GET", f"{API}/runs/get", json={"run_uuid": run})
    assert run == old.json()["run"]["info"]["run_id"]
    twice = client.post(f"{API}/runs/set-tag", json=json.dumps({"run_id": run, "key": "k", "value": "v"}))
    assert 200 == twice.status_code


def test_pages(client: TestClient) -> None:
    """A token leads to the next page, and there is none after the last."""
    for index in range(5):
        post(client, "runs/create", experiment_id="0", run_name=f"r{index}", start_time=index)
    seen, token = [], ""
    while True:
        page = post(client, "runs/search", experiment_ids=["0"], max_results=2, page_token=token)
        seen += [run["info"]["run_name"] for run in page["runs"]]
        token = page.get("next_page_token", "")
        if not token:
            break
    assert ["r4", "r3", "r2", "r1", "r0"] == seen
    assert {"runs": []} == post(client, "runs/search", experiment_ids=["0"], max_results=0)


def test_a_version_of_what_a_run_logged_has_its_bytes(client: TestClient, rooms: Rooms, run: str) -> None:
    """By digest, as they were when it was registered; nothing here can prove it, and it says why."""
    place = f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/model"
    assert 200 == client.put(f"{place}/MLmodel", content=b"flavors: {}").status_code
    assert 200 == client.put(f"{place}/data/weights.bin", content=b"\x00" * 10).status_code
    post(client, "registered-models/create", name="m")
    made = post(client, "model-versions/create", name="m", source=f"runs:/{run}/model", run_id=run)["model_version"]
    client.put(f"{place}/MLmodel", content=b"changed")
    version = rooms.catalogue.version("m", int(made["version"]))
    assert version.digest is not None
    asked = {"name": "m", "version": "1", "path": "MLmodel"}
    answer = client.get("/model-versions/get-artifact", params=asked)
    assert (b"flavors: {}", "nosniff") == (answer.content, answer.headers["x-content-type-options"])
    assert answer.headers["content-disposition"].startswith("attachment")
    assert 400 == client.get("/model-versions/get-artifact", params={**asked, "path": "../x"}).status_code
    assert 404 == client.get("/model-versions/get-artifact", params={**asked, "path": "none"}).status_code
    with pytest.raises(Exception, match="says nothing about inputs"):
        version.interface()
