"""Workspaces through MLflow's door: the one that is served is found by its name, and no other is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from stellwerk.web.app import application
from stellwerk.web.doors import mlflow
from stellwerk.web.routing import OPEN
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

SETTINGS = Settings(actor="anna")
HERE = "/api/3.0/mlflow/workspaces"
RUNS = "/api/2.0/mlflow/runs"


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rooms]:
    made = Rooms(create(tmp_path_factory.mktemp("lab"), SETTINGS, workspace="lab"), SETTINGS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def client(rooms: Rooms) -> Iterator[TestClient]:
    with TestClient(application(rooms, {}), base_url="http://localhost") as made:
        yield made


def said(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error_code"]


def test_the_one_workspace_is_listed_and_found(client: TestClient) -> None:
    """Under its own name, and the server says beforehand that it knows the word."""
    for word in ("server-info", "server-features"):
        assert client.get(f"/api/3.0/mlflow/{word}").json()["workspaces_enabled"] is True
    assert {"workspaces": [{"name": "lab"}]} == client.get(HERE).json()
    assert {"workspace": {"name": "lab"}} == client.get(f"{HERE}/lab").json()
    assert (404, "RESOURCE_DOES_NOT_EXIST") == said(client.get(f"{HERE}/default"))


@pytest.mark.parametrize("name", ["lab", " lab ", "", " "])
def test_who_names_this_workspace_or_none_is_answered(client: TestClient, name: str) -> None:
    """As MLflow's server trims names, and takes an empty one for none."""
    made = client.post(f"{RUNS}/create", json={"experiment_id": "0"}, headers={"X-MLFLOW-WORKSPACE": name})

    assert 200 == made.status_code


@pytest.mark.parametrize("name", ["default", "LAB", "lab/../x", "x" * 300])
def test_nothing_is_answered_or_changed_for_another_workspace(rooms: Rooms, client: TestClient, name: str) -> None:
    """Whatever is asked, under either root, JSON or files, old protocol or new."""
    entries, headers = rooms.database.size(), {"X-MLFLOW-WORKSPACE": name}
    asked = [
        client.post(f"{RUNS}/create", json={"experiment_id": "0"}, headers=headers),
        client.get("/ajax-api/2.0/mlflow/experiments/search", headers=headers),
        client.put("/api/2.0/mlflow-artifacts/artifacts/0/x", content=b"x", headers=headers),
        client.get("/get-artifact", params={"run_id": "x", "path": "x"}, headers=headers),
        client.post("/v1/traces", content=b"x", headers={**headers, "content-type": "application/x-protobuf"}),
    ]

    assert {(404, "RESOURCE_DOES_NOT_EXIST")} == {said(answer) for answer in asked}
    assert entries == rooms.database.size()


def test_every_call_with_a_permission_asks_for_the_workspace(client: TestClient) -> None:
    """But those about workspaces, which name it in their path."""
    routes = mlflow.routes(None, lambda *_: None)  # type: ignore[arg-type]
    for route in routes:
        if route.requires == OPEN or "/mlflow/workspaces" in route.path:
            continue
        method = next(iter((route.methods or set()) - {"HEAD"}))
        path = route.path.replace("{", "").replace(":path}", "").replace("}", "")
        answer = client.request(method, path, headers={"X-MLFLOW-WORKSPACE": "other"})
        assert "Workspace 'other' not found" in answer.text, route.path


def test_workspaces_are_not_made_changed_or_deleted_here(rooms: Rooms, client: TestClient) -> None:
    """With MLflow's code for what a server does not offer, a reason, and never a status that is tried again."""
    entries = rooms.database.size()
    asked = [
        client.post(HERE, json={"name": "team-a"}),
        client.patch(f"{HERE}/lab", json={"description": "words"}),
        client.delete(f"{HERE}/lab"),
    ]

    assert [(403, "FEATURE_DISABLED")] * 3 == [said(answer) for answer in asked]
    assert all("one workspace" in answer.json()["message"] for answer in asked)
    assert (404, "RESOURCE_DOES_NOT_EXIST") == said(client.patch(f"{HERE}/default", json={"description": "words"}))
    assert (400, "INVALID_PARAMETER_VALUE") == said(client.post(HERE, json={}))
    assert entries == rooms.database.size()
