"""Whatever is sent to any call of MLflow's door, the answer is one that its client understands, and never a 5xx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from stellwerk.web.app import application
from stellwerk.web.doors import mlflow
from stellwerk.web.doors.mlflow.calls import Call
from stellwerk.web.doors.mlflow.wire import Field
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

CALLS = [(table.prefix, call) for table in (*mlflow.TABLES, mlflow.workspaces.CALLS) for call in table.table]
HOSTILE = [
    "", "0", "1", "..", "../../etc/passwd", "%2e%2e%2f", "/etc/passwd", "file:///etc/passwd", "a\x00b", "\u202egpj.exe",
    "'; DROP TABLE runs; --", "{{7*7}}", "<img src=x onerror=alert(1)>", "a" * 300, "😀", "null", "NaN", "-1",
    "models:/m/1/../..", "runs:/x/..", "s3://b/../../x", "http://169.254.169.254/", "latest", "v1", "m-" + "0" * 32,
    "metrics.a > 1", "name LIKE '%'", "tags.`a` = 'b' AND", "metrics.a DESC", "ACTIVE_ONLY", "\ud800",
]  # fmt: skip
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(HOSTILE)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(HOSTILE[:6]), inner, max_size=3),
    max_leaves=6,
)


def fitting(one: Field) -> st.SearchStrategy[Any]:
    """Values of a declared type, odd ones among them."""
    if one.names:
        single: st.SearchStrategy[Any] = st.sampled_from([*one.names, *one.names.values()])
    elif one.kind == "row":
        single = message(one.inner)
    else:
        single = {
            "text": st.sampled_from(HOSTILE) | st.text(max_size=12),
            "integer": st.integers(-3, 5) | st.sampled_from([2**31, 2**63 - 1, -(2**63), "7"]),
            "number": st.floats() | st.sampled_from(["NaN", "Infinity", "1e400", 3]),
            "flag": st.booleans(),
            "any": ANYTHING,
        }[one.kind]
    return st.lists(single, max_size=3) if one.many else single


def message(fields: Any) -> st.SearchStrategy[Any]:
    """Messages of which some fields are missing and some are of another type."""
    return st.fixed_dictionaries({}, optional={name: fitting(one) | ANYTHING for name, one in fields.items()})


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    rooms = Rooms(create(tmp_path_factory.mktemp("fuzzed"), Settings(actor="anna")), Settings(actor="anna"))
    with TestClient(application(rooms, {}), base_url="http://localhost", raise_server_exceptions=False) as made:
        yield made
    rooms.close()


@pytest.fixture(scope="module")
def known(client: TestClient) -> dict[str, str]:
    """Things that are there, so that calls get further than to look for them."""
    made = client.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]
    client.post("/api/2.0/mlflow/registered-models/create", json={"name": "m"})
    version = {"name": "m", "source": "s3://bucket/m"}
    client.post("/api/2.0/mlflow/model-versions/create", json=version)
    logged = client.post("/api/2.0/mlflow/logged-models", json={"experiment_id": "0"}).json()["model"]["info"]
    return {
        "run_id": made["run_id"], "run_uuid": made["run_id"], "experiment_id": "0", "name": "m", "version": "1",
        "model_id": logged["model_id"],
    }  # fmt: skip


@pytest.mark.parametrize(("prefix", "call"), CALLS, ids=[f"{call.method} {call.path}" for _, call in CALLS])
def test_no_request_breaks_a_call(client: TestClient, known: dict[str, str], prefix: str, call: Call) -> None:
    """Messages of the declared form with odd values, of other forms, about what is there and what is not."""

    @given(message(call.fields), st.booleans(), st.sampled_from(HOSTILE[:12]))
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def ask(body: dict[str, Any], about: bool, part: str) -> None:
        if about:
            body = {**body, **{name: value for name, value in known.items() if name in call.fields}}
        path = f"/api{prefix}/{call.path}"
        for name in (
            "model_id",
            "trace_id",
            "request_id",
            "dataset_id",
            "webhook_id",
            "assessment_id",
            "tag_key",
            "key",
        ):
            path = path.replace(f"{{{name}}}", known.get(name, "x") if about else _quoted(part))
        path = path.partition("{")[0]
        if call.method == "GET":
            query = {
                name: value for name, value in body.items() if isinstance(value, (str, int, list)) and _sent(value)
            }
            answer = client.request("GET", path, params=query)
        else:
            text = json.dumps(body, allow_nan=True)
            answer = client.request(call.method, path, content=text, headers={"content-type": "application/json"})
        assert answer.status_code < 500, (path, body, answer.text)
        if answer.status_code >= 400 and answer.headers.get("content-type") == "application/json":
            assert answer.json().keys() >= {"message"} or "error" in answer.json()
            assert "Traceback" not in answer.text
            assert len(answer.content) < 20_000

    ask()


def test_every_call_has_a_guard() -> None:
    """What everybody may ask is a short list."""
    from stellwerk.web.routing import OPEN, matrix

    routes = matrix(mlflow.routes(None, lambda *_: None))  # type: ignore[arg-type]
    free = {path for path, _, permission in routes if permission == OPEN}
    about = {
        f"/{root}/3.0/mlflow/{word}" for root in ("api", "ajax-api") for word in ("server-info", "server-features")
    }
    assert {"/version", *about} == {path for path in free if "rest:path" not in path}
    for path, methods, permission in routes:
        if permission.endswith(":read"):
            assert not set(methods) & {"PUT", "PATCH", "DELETE"}, path


def _sent(value: Any) -> bool:
    return "ud800" not in ascii(value)


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="") or "x"


def test_the_workspace_is_whole_afterwards(client: TestClient) -> None:
    """After all of that the server answers, and the ledger holds."""
    found = client.post("/api/v1/ledger.verify", json={})
    assert 200 == found.status_code, found.text
    assert [] == found.json()["findings"]
    assert found.json()["entries"] == client.get("/health").json()["entries"] > 10
