"""A book, a clock, and a receiver that listens on this machine."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.outbound import Allowance
from stellwerk.delivery.adapters.http import HttpSender
from stellwerk.delivery.courier import Courier
from stellwerk.delivery.model import EVENTS, Said, Webhook
from stellwerk.delivery.service import Webhooks
from stellwerk.evidence.adapters.sealing import FileSealer, create_sealing_key
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.testing.fakes import StandingClock

SECRET = "canary-5f1d"


class Receiver:
    """Keeps what it was sent, and answers as told: the last of its answers from then on."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = [(200, {}, b"thanks")]
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), body))
                status, headers, text = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def do_GET(self) -> None:
                receiver.got.append(({"method": "GET"}, b""))
                self.send_error(500)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?token=path-canary"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def says(self, *statuses: int, headers: dict[str, str] | None = None) -> None:
        self.answers = [(status, headers or {}, b"") for status in statuses]

    def told(self) -> list[tuple[str, Any]]:
        bodies = [json.loads(body) for _, body in self.got]
        return [(f"{body['entity']}.{body['action']}", body["data"]) for body in bodies]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Shelf:
    """What is said of models: a registry of two dictionaries."""

    def __init__(self) -> None:
        self.models: dict[str, Said] = {}
        self.versions: dict[tuple[str, int], Said] = {}

    def model(self, name: str) -> Said | None:
        return self.models.get(name)

    def version(self, name: str, number: int) -> Said | None:
        return self.versions.get((name, number))


class Desk:
    """The room of deliveries of one workspace."""

    def __init__(self, database: Database, clock: StandingClock, sealer: FileSealer, sender: HttpSender) -> None:
        self.book = WorkspaceBook(database, "default", "anna")
        self.clock, self.sealer = clock, sealer
        self.sender = sender
        self.webhooks = Webhooks(self.book, clock, self.sender, sealer)
        self.models = Shelf()
        self.courier = self.fresh()

    def fresh(self) -> Courier:
        """A courier that has just begun."""
        return Courier(self.book, self.clock, self.webhooks, self.sender, self.models)

    def hook(self, url: str, events: Sequence[str] = EVENTS, **more: Any) -> Webhook:
        return self.webhooks.create("hook", url, events, **more)

    def happens(self, kind: str, subject: str = "model:delay", **body: Any) -> int:
        with self.book.write() as tx:
            return tx.record(kind, subject, body).sequence

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.book.entries(kinds=["webhook."])]


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def make_desk(tmp_path: Path, clock: StandingClock) -> Iterator[Callable[[HttpSender], Desk]]:
    database = Database(tmp_path / "ledger.db", clock)
    database.create("example.com/hooks")
    create_sealing_key(tmp_path / "sealing.key")
    yield lambda sender: Desk(database, clock, FileSealer(tmp_path / "sealing.key"), sender)
    database.close()


@pytest.fixture
def desk(make_desk: Callable[[HttpSender], Desk]) -> Desk:
    return make_desk(HttpSender(Allowance.of(["127.0.0.1"]), seconds=2.0))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()
