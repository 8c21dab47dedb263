"""The inference application over HTTP: what callers see, for every signal and every kind of wrong request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from stellwerk.core.digest import hex_of
from stellwerk.core.errors import Refused, Unavailable
from stellwerk.serving import codec
from stellwerk.serving.model import LIMITS
from stellwerk.testing.serving import ENDPOINT, NUMERIC, Stage
from stellwerk.web import inference
from stellwerk.web.inference import application, build
from stellwerk.web.routing import matrix

RECORD = {"distance": 500, "carrier": "AA", "weekend": False}
OTHER = {"distance": 2500.0, "carrier": "OO", "weekend": None}


async def everybody(request: Request, permission: str) -> None:
    return None


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def client(stage: Stage) -> Iterator[TestClient]:
    with TestClient(application({ENDPOINT: stage.server}, guard=everybody)) as client:
        yield client


def columns(*records: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [record[name] for record in records] for name in records[0]}


def tensors(*records: dict[str, Any]) -> dict[str, Any]:
    types = {"distance": "FP64", "carrier": "BYTES", "weekend": "BOOL"}
    return {
        "inputs": [
            {"name": name, "datatype": types[name], "shape": [len(values)], "data": values}
            for name, values in columns(*records).items()
        ]
    }


def test_a_record_is_answered_with_id_score_and_headers(stage: Stage, client: TestClient) -> None:
    """The answer names its model, release and signal, in the body and in headers; the log has the same id."""
    stage.release()

    answer = client.post("/predict/delay", json={"record": RECORD, "key": "flight-1"})

    assert 200 == answer.status_code
    document = answer.json()
    (row,) = document["predictions"]
    assert ("no", None) == (row["prediction"], row["steered"])
    assert 0 < row["score"] < 0.5
    assert (stage.model, "release-1", "clear") == (document["model"], document["release"], document["signal"])
    assert (stage.model, "release-1", "clear") == tuple(
        answer.headers[f"Stellwerk-{name}"] for name in ("Model", "Release", "Signal")
    )
    (batch,) = [codec.unpack(payload) for payload in stage.spool.unsealed()]
    assert (f"{batch.id}-0", ("flight-1",)) == (row["id"], batch.keys)


def test_all_forms_give_the_same_predictions(stage: Stage, client: TestClient) -> None:
    """Records, columns, the only endpoint without its name, and tensors."""
    stage.release()
    plain = [
        client.post(path, json=body).json()["predictions"]
        for path in ("/predict", "/predict/delay")
        for body in ({"records": [RECORD, OTHER]}, {"columns": columns(RECORD, OTHER)})
    ]
    outputs = client.post("/v2/models/delay/infer", json=tensors(RECORD, OTHER)).json()["outputs"]
    tensor = {item["name"]: item["data"] for item in outputs}

    assert [["no", "yes"]] * 4 == [[row["prediction"] for row in rows] for rows in plain]
    assert ["no", "yes"] == tensor["prediction"]
    assert [row["score"] for row in plain[0]] == tensor["probabilities"][1::2]


@pytest.mark.parametrize("path", ["/predict", "/predict/delay", "/v2/models/delay/infer"])
def test_stop_is_a_refusal_that_nobody_retries(stage: Stage, client: TestClient, path: str) -> None:
    """403 with the reason in the protocol's own error body, and the signal as a header."""
    stage.release()
    body = tensors(RECORD) if "infer" in path else {"record": RECORD}
    assert 200 == client.post(path, json=body).status_code
    stage.tokens.down = True
    stage.clock.move(timedelta(minutes=15))

    answer = client.post(path, json=body)

    assert (403, "stop") == (answer.status_code, answer.headers["Stellwerk-Signal"])
    assert "retry-after" not in answer.headers
    assert "signal-stop" == answer.json()["code"]
    assert "has ended" in answer.json()["error"]
    assert "predictions" not in answer.json()


def test_stop_with_the_fallback_human_says_who_decides(tmp_path: Path) -> None:
    """No prediction, but a case for every row."""
    stage = Stage(tmp_path, fallback="human")
    client = TestClient(application({ENDPOINT: stage.server}, guard=everybody))

    answer = client.post("/predict", json={"record": RECORD})
    outputs = client.post("/v2/models/delay/infer", json=tensors(RECORD)).json()["outputs"]

    assert (200, "stop") == (answer.status_code, answer.headers["Stellwerk-Signal"])
    (row,) = answer.json()["predictions"]
    assert (None, "stop: no lease token", "review") == (row["prediction"], row["steered"], row["case"])
    assert {"prediction": [None], "steered": ["stop: no lease token"]} == {
        item["name"]: item["data"] for item in outputs if item["name"] != "prediction_id"
    }


def test_caution_is_shown(stage: Stage, client: TestClient) -> None:
    """In the header and on the row."""
    stage.release(caution="drift")

    answer = client.post("/predict", json={"record": RECORD})

    assert "caution" == answer.headers["Stellwerk-Signal"]
    assert ("no", "caution: drift") == tuple(
        answer.json()["predictions"][0][key] for key in ("prediction", "steered")
    )


def test_a_tampered_model_is_an_error_without_an_answer(stage: Stage, client: TestClient) -> None:
    """Law 4, as a caller sees it: 500, no prediction, no path."""
    stage.release()
    name = hex_of(stage.model)
    path = stage.folder / "blobs" / "sha256" / name[:2] / name
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b" ")

    for answer in (client.post("/predict", json={"record": RECORD}), client.get("/v2/models/delay/ready")):
        assert (500, "corrupt-blob") == (answer.status_code, answer.json()["code"])
        assert str(stage.folder) not in answer.text


def test_health_and_readiness(stage: Stage, client: TestClient) -> None:
    """The process lives whatever the signals; an endpoint is ready only when it is not at stop."""
    assert [200, 200, 403] == [
        client.get(path).status_code for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/delay/ready")
    ]
    stage.release()
    assert 200 == client.get("/v2/models/delay/ready").status_code
    stage.release(caution="drift")
    assert 200 == client.get("/v2/models/delay/ready").status_code


def test_a_process_that_cannot_log_is_not_ready(tmp_path: Path) -> None:
    """Another process holds the log: no predictions here."""
    first, second = Stage(tmp_path), Stage(tmp_path)
    first.release()
    second.release()
    first.server.check_log()
    client = TestClient(application({ENDPOINT: second.server}, guard=everybody))

    for answer in (client.get("/v2/health/ready"), client.post("/predict", json={"record": RECORD})):
        assert (503, "spool-busy", "5") == (answer.status_code, answer.json()["code"], answer.headers["retry-after"])


def test_metadata(stage: Stage, client: TestClient) -> None:
    """Server and model say what they are; a model that was never released is not described."""
    assert "stellwerk" == client.get("/v2").json()["name"]
    assert 403 == client.get("/v2/models/delay").status_code
    stage.release()

    document = client.get("/v2/models/delay").json()

    assert ("delay", ["release-1"]) == (document["name"], document["versions"])
    assert ["distance", "carrier", "weekend"] == [item["name"] for item in document["inputs"]]


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b'{"record":{}}', {"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
        (b'{"record":{}}', {}, 415, "unsupported-media-type"),
        (b'{"record":{}}', {"Content-Type": "application/json; charset=utf-16"}, 415, "unsupported-media-type"),
        (b"x", JSON | {"Content-Encoding": "gzip"}, 415, "unsupported-media-type"),
        (b"", JSON, 400, "invalid-json"),
        (b"{", JSON, 400, "invalid-json"),
        (b'{"record":{"distance":NaN}}', JSON, 400, "invalid-json"),
        (b'{"record":{"a":1,"a":2}}', JSON, 400, "invalid-json"),
        (b'{"record":' * 10_000, JSON, 422, "invalid-request"),
        (b"[" * 1_000_000, JSON, 422, "invalid-request"),
        (b'{"records":[]}', JSON, 422, "empty-batch"),
        (b'{"record":{}}', JSON, 422, "empty-batch"),
        (b'{"record":{"distance":1}}', JSON, 422, "missing-column"),
        (json.dumps({"record": RECORD | {"gate": "B"}}).encode(), JSON, 422, "unknown-column"),
        (json.dumps({"record": RECORD | {"distance": "far"}}).encode(), JSON, 422, "wrong-type"),
        (json.dumps({"record": RECORD | {"distance": 10**30}}).encode(), JSON, 422, "not-finite"),
        (json.dumps({"record": RECORD | {"carrier": "A" * 20_000}}).encode(), JSON, 413, "too-large"),
        (json.dumps({"columns": dict.fromkeys(RECORD, [None] * (LIMITS.rows + 1))}).encode(), JSON, 413, "too-large"),
    ],
)
def test_wrong_requests_get_a_clear_4xx(
    stage: Stage, client: TestClient, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    """The status, the code, words, and the signal; nothing is logged."""
    stage.release()

    answer = client.post("/predict", content=body, headers=headers)

    assert (status, code) == (answer.status_code, answer.json()["code"])
    assert {"error", "code", "hint"} <= set(answer.json())
    assert 0 < len(answer.json()["error"]) < 1_000
    assert [] == list(stage.spool.unsealed())


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its declared length, or as soon as that much has come."""
    monkeypatch.setattr(inference, "LIMITS", LIMITS.__class__(body_bytes=100))
    taken: list[bytes] = []

    def endless() -> Iterator[bytes]:
        for _ in range(1_000):
            taken.append(b" " * 60)
            yield taken[-1]

    declared = client.post("/predict", content=b" " * 101, headers=JSON)
    chunked = client.post("/predict", content=endless(), headers=JSON)
    lying = client.post("/predict", content=b"{}", headers=JSON | {"Content-Length": "9" * 5_000})

    assert [(413, "too-large")] * 3 == [(a.status_code, a.json()["code"]) for a in (declared, chunked, lying)]


def test_unknown_endpoints_and_paths_are_not_found(stage: Stage, client: TestClient) -> None:
    """Whatever the spelling; the name is only looked up."""
    stage.release()
    for path in (
        "/predict/other",
        "/predict/DELAY",
        "/predict/..%2fdelay",
        "/predict/delay/",
        "/v2/models/other/infer",
    ):
        assert 404 == client.post(path, json={"record": RECORD}).status_code, path
    assert 405 == client.get("/predict").status_code


def test_without_a_name_there_must_be_one_endpoint(stage: Stage, tmp_path: Path) -> None:
    """With two it is a question."""
    second = Stage(tmp_path / "second", signature=NUMERIC)
    client = TestClient(application({"delay": stage.server, "price": second.server}, guard=everybody))

    answer = client.post("/predict", json={"record": RECORD})

    assert (404, "unknown-endpoint") == (answer.status_code, answer.json()["code"])


def test_only_health_is_open_to_everybody(stage: Stage) -> None:
    """Every other route asks the guard first, and tells strangers nothing about endpoints."""
    asked: list[str] = []

    async def nobody(request: Request, permission: str) -> None:
        asked.append(permission)
        raise Refused("who are you?", code="unauthenticated")

    client = TestClient(application({ENDPOINT: stage.server}, guard=nobody))
    calls: list[tuple[str, Callable[..., Any]]] = [
        ("/v2", client.get), ("/v2/models/delay", client.get), ("/v2/models/other", client.get),
        ("/v2/models/delay/ready", client.get), ("/v2/models/delay/infer", client.post), ("/predict", client.post),
        ("/predict/delay", client.post), ("/predict/other", client.post),
    ]  # fmt: skip

    answers = [call(path) for path, call in calls]

    assert {401} == {answer.status_code for answer in answers}
    assert {"who are you?"} == {answer.json()["error"] for answer in answers}
    assert ["predict"] * 8 == asked
    assert [200, 200] == [client.get(f"/v2/health/{name}").status_code for name in ("live", "ready")]
    permissions = {path: permission for path, _, permission in matrix(build({}, guard=nobody, prefix="/serve"))}
    assert {"/serve/v2/health/live", "/serve/v2/health/ready"} == {
        path for path, permission in permissions.items() if permission == "none"
    }


def test_a_full_disk_is_said_and_gives_no_answer(stage: Stage, client: TestClient) -> None:
    """507: it may pass, so the caller is told when to try again."""
    stage.release()

    def full(record: Any) -> None:
        raise Unavailable("the disk is full", code="disk-full")

    stage.spool.append = full  # type: ignore[method-assign]

    answer = client.post("/predict", json={"record": RECORD})

    assert (507, "disk-full", "clear") == (
        answer.status_code, answer.json()["code"], answer.headers["Stellwerk-Signal"],
    )  # fmt: skip
    assert "predictions" not in answer.json()


def test_too_many_requests_at_once_are_told_to_come_back(
    stage: Stage, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shed early instead of queueing without end."""
    stage.release()
    monkeypatch.setattr(inference, "LIMITS", LIMITS.__class__(concurrent=0))

    answer = client.post("/predict", json={"record": RECORD})

    assert (503, "overloaded", "5") == (answer.status_code, answer.json()["code"], answer.headers["retry-after"])


def test_a_model_that_breaks_tells_nothing(stage: Stage, client: TestClient) -> None:
    """Whatever a model raises becomes the same 500."""
    stage.release()
    stage.server.ready()
    model = next(iter(stage.server._loaded.values()))

    def broken(columns: Any) -> Any:
        raise RuntimeError("secret /srv/data")

    model.predict = broken  # type: ignore[method-assign]

    answer = client.post("/predict", json={"record": RECORD})

    assert (500, "bug") == (answer.status_code, answer.json()["code"])
    assert "secret" not in answer.text
