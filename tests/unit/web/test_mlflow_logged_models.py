"""Logged models through the door of MLflow, in the words of its client."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient

from stellwerk.tracking.model import Score
from stellwerk.workspace.rooms import Rooms

MODELS = "/api/2.0/mlflow/logged-models"


def created(client: TestClient, **facts: Any) -> Any:
    answer = client.post(MODELS, json={"experiment_id": "0", **facts})
    assert 200 == answer.status_code, answer.text
    return answer.json()["model"]


def test_a_model_is_shown_whole(client: TestClient, rooms: Rooms) -> None:
    """With what it was made of, and what was measured."""
    facts = {"model_type": "LLM", "source_run_id": "123", "tags": [{"key": "t", "value": "w"}]}
    model = created(client, name="mine", params=[{"key": "p", "value": "v"}], **facts)
    identity = model["info"]["model_id"]
    rooms.logged_models.metrics_of = lambda _: [
        Score(model="m", run="r", key="auc", value=float("nan"), at=5, dataset="d")
    ]

    shown = client.get(f"{MODELS}/{identity}").json()["model"]
    assert (
        {
            "model_id": identity,
            "experiment_id": "0",
            "name": "mine",
            "creation_timestamp_ms": shown["info"]["creation_timestamp_ms"],
            "last_updated_timestamp_ms": shown["info"]["creation_timestamp_ms"],
            "artifact_uri": f"mlflow-artifacts:/0/models/{identity}/artifacts",
            "status": "LOGGED_MODEL_PENDING",
            **facts,
        }
        == shown["info"]
        == model["info"]
    )
    on = {"model_id": identity, "run_id": "r", "dataset_name": "d", "dataset_digest": ""}
    assert {
        "params": [{"key": "p", "value": "v"}],
        "metrics": [{"key": "auc", "value": "NaN", "timestamp": 5, "step": 0, **on}],
    } == shown["data"]


def test_changes(client: TestClient) -> None:
    """By status, tags and parameters; a tag may have a slash in its key."""
    one = f"{MODELS}/{created(client)['info']['model_id']}"
    for status in ("LOGGED_MODEL_READY", 2, "2"):
        assert "LOGGED_MODEL_READY" == client.patch(one, json={"status": status}).json()["model"]["info"]["status"]
    for status in ("LOGGED_MODEL_STATUS_UNSPECIFIED", 0, "READY", None):
        assert 400 == client.patch(one, json={"status": status}).status_code
    client.patch(f"{one}/tags", json={"tags": [{"key": "a/b c", "value": "1"}, {"key": "d", "value": "2"}]})
    assert {} == client.delete(f"{one}/tags/a%2Fb%20c").json()
    assert {} == client.post(f"{one}/params", json={"params": [{"key": "p", "value": "v"}]}).json()
    shown = client.get(one).json()["model"]
    assert [{"key": "d", "value": "2"}] == shown["info"]["tags"]
    assert [{"key": "p", "value": "v"}] == shown["data"]["params"]
    missing = client.delete(f"{one}/tags/a")
    assert (404, "RESOURCE_DOES_NOT_EXIST") == (missing.status_code, missing.json()["error_code"])


def test_what_was_deleted(client: TestClient) -> None:
    """Is shown to those who say so."""
    one = f"{MODELS}/{created(client)['info']['model_id']}"
    assert {} == client.delete(one).json()

    assert 404 == client.get(one).status_code
    assert 200 == client.get(one, params={"allow_deleted": "True"}).status_code


def test_search(client: TestClient) -> None:
    """In pages; what is wrong is named."""
    names = [created(client, name=name)["info"]["name"] for name in ("a", "b", "c")]

    def sought(**asked: Any) -> Any:
        return client.post(f"{MODELS}/search", json={"experiment_ids": ["0"], **asked}).json()

    def found(**asked: Any) -> list[str]:
        return [model["info"]["name"] for model in sought(**asked)["models"]]

    first = sought(max_results=2, order_by=[{"field_name": "name"}])
    assert names[:2] == [model["info"]["name"] for model in first["models"]]
    token = first["next_page_token"]
    assert names[2:] == found(max_results=2, order_by=[{"field_name": "name"}], page_token=token)
    assert ["c", "b", "a"] == found(order_by=[{"field_name": "name", "ascending": False}])
    assert ["b"] == found(filter="name = 'b'")
    assert [] == found(datasets=[{"dataset_name": "d"}])
    for wrong in (
        *(
            {"page_token": "x"},
            {"filter": "nothing = 1"},
            {"order_by": [{"field_name": "x"}]},
            {"experiment_ids": []},
        ),
        *({"datasets": [{"dataset_digest": "d"}]}, {"max_results": -1}, {"max_results": 50_001}, {"order_by": [{}]}),
        *({"order_by": [{"field_name": "name"}] * 101}, {"datasets": [{"dataset_name": "d"}] * 101}),
    ):
        assert "INVALID_PARAMETER_VALUE" == sought(**wrong)["error_code"], wrong


def test_files(client: TestClient) -> None:
    """Listed below the model's root, and handed out as attachments."""
    model = created(client)["info"]
    one = f"/ajax-api/2.0/mlflow/logged-models/{model['model_id']}/artifacts"
    place = f"/api/2.0/mlflow-artifacts/artifacts/0/models/{model['model_id']}/artifacts"
    for name in ("MLmodel", "code/x.py"):
        assert 200 == client.put(f"{place}/{name}", content=name.encode()).status_code

    assert {
        "root_uri": model["artifact_uri"],
        "files": [{"path": "MLmodel", "is_dir": False, "file_size": 7}, {"path": "code", "is_dir": True}],
    } == client.get(f"{one}/directories").json()
    inner = client.get(f"{one}/directories", params={"artifact_directory_path": "code"}).json()
    assert ["code/x.py"] == [entry["path"] for entry in inner["files"]]
    shown = client.get(f"{one}/files", params={"artifact_file_path": "MLmodel"})
    assert ("MLmodel", "text/plain", "nosniff") == (
        shown.text, shown.headers["content-type"], shown.headers["x-content-type-options"],
    )  # fmt: skip
    for asked in ({}, {"artifact_file_path": "../x"}):
        assert 400 == client.get(f"{one}/files", params=asked).status_code
