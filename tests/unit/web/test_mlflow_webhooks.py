"""MLflow's door for webhooks, asked over HTTP; what happens to models arrives while a server runs."""

from __future__ import annotations

import http.client
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from stellwerk.core.digest import of_bytes
from stellwerk.models.model import Signature
from stellwerk.testing.worlds import served
from stellwerk.workspace.delivering import Deliveries
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

ROOT = "/api/2.0/mlflow/webhooks"
EVENTS = [{"entity": "MODEL_VERSION", "action": "CREATED"}, {"entity": 4, "action": 1}]
NEW = {"name": "hook", "url": "https://example.com/", "events": EVENTS}


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rooms]:
    settings = Settings(actor="anna", webhook_hosts=("127.0.0.1",))
    made = Rooms(create(tmp_path_factory.mktemp("door"), settings), settings)
    yield made
    made.close()


@pytest.fixture(scope="module")
def url(rooms: Rooms) -> Iterator[str]:
    with served(rooms) as found:
        yield found


def ask(url: str, method: str, path: str = "", body: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, ROOT + path, body=None if body is None else json.dumps(body), headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[str | None, Any]]]]:
    got: list[tuple[str | None, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.headers["X-MLflow-Signature"], json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", got
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_webhook_lives_and_dies(url: str) -> None:
    """Names and numbers of enumerations mean the same; a secret is never given."""
    status, made = ask(url, "POST", "", {**NEW, "secret": "canary", "description": "words"})
    place = f"/{made['webhook']['webhook_id']}"
    changed = ask(url, "PATCH", place, {"status": 2, "secret": "canary2"})[1]["webhook"]

    assert 200 == status
    assert ["MODEL_VERSION", "MODEL_VERSION_ALIAS"] == [event["entity"] for event in made["webhook"]["events"]]
    assert ("ACTIVE", "DISABLED", "words") == (made["webhook"]["status"], changed["status"], changed["description"])
    assert changed == ask(url, "GET", place)[1]["webhook"]
    assert changed in ask(url, "GET")[1]["webhooks"]
    assert "canary" not in json.dumps([made, changed, ask(url, "GET")])
    assert (200, {}) == ask(url, "DELETE", place)
    assert 404 == ask(url, "GET", place)[0]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Not A Name"}, {"name": ""}, {"events": []}, {"events": [{"entity": "MODEL_VERSION"}]}, {"events": 1},
        {"events": [{"entity": "MODEL_VERSION", "action": "SET"}]}, {"events": [{"entity": 99, "action": 1}]},
        {"url": "ftp://example.com"}, {"url": "  "}, {"url": "http://[x"}, {"status": 3}, {"secret": 1},
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(url: str, change: dict[str, Any]) -> None:
    """With 400 and MLflow's code."""
    status, answer = ask(url, "POST", "", {**NEW, **change})

    assert (400, "INVALID_PARAMETER_VALUE") == (status, answer["error_code"])


@pytest.mark.parametrize(
    "inner", ["https://10.0.0.1/", "https://169.254.169.254/latest", "https://[::1]/", "http://8.8.8.8"]
)
def test_our_own_network_is_out_of_reach(url: str, inner: str) -> None:
    """When a webhook is made, and when it changes."""
    made = ask(url, "POST", "", NEW)[1]["webhook"]["webhook_id"]

    assert 403 == ask(url, "POST", "", {**NEW, "url": inner})[0]
    assert 403 == ask(url, "PATCH", f"/{made}", {"url": inner})[0]


def test_a_sample_is_sent_now(url: str, receiver: tuple[str, list[tuple[str | None, Any]]]) -> None:
    """And a failure is an answer too."""
    target, got = receiver
    made = ask(url, "POST", "", {**NEW, "url": target, "secret": "key"})[1]["webhook"]["webhook_id"]
    sent = ask(url, "POST", f"/{made}/test", {"event": {"entity": "PROMPT", "action": "CREATED"}})
    silent = ask(url, "POST", "", {**NEW, "url": "http://127.0.0.1:1/"})[1]["webhook"]["webhook_id"]
    failed = ask(url, "POST", f"/{silent}/test", {})

    assert (200, True, 204) == (sent[0], sent[1]["result"]["success"], sent[1]["result"]["response_status"])
    ((signature, body),) = got
    assert signature is not None
    assert signature.startswith("v1,")
    assert ("prompt", "created") == (body["entity"], body["action"])
    assert (200, False) == (failed[0], failed[1]["result"]["success"])


def test_what_happens_to_models_arrives(
    rooms: Rooms, url: str, receiver: tuple[str, list[tuple[str | None, Any]]]
) -> None:
    """While a server runs, and without anybody waiting for it."""
    target, got = receiver
    ask(url, "POST", "", {**NEW, "url": target})
    deliveries = Deliveries(rooms, every=0.01)
    deliveries.start()
    signature = Signature(inputs=(), target="late", task="binary", classes=("no", "yes"))
    rooms.registry.register("delay", of_bytes(b"a"), signature, layout="skops", run_id="r")
    rooms.registry.alias("delay", "champion", 1)
    until = time.monotonic() + 10
    while len(got) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    deliveries.stop()

    assert ["model_version", "model_version_alias"] == [body["entity"] for _, body in got]
    assert {"name": "delay", "alias": "champion", "version": "1"} == got[1][1]["data"]
    assert ("1", str(of_bytes(b"a")), "r") == tuple(got[0][1]["data"][key] for key in ("version", "source", "run_id"))
    assert 2 == len(rooms.book.entries(kinds=["webhook.delivered"]))
