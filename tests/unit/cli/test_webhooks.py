"""`stellwerk webhooks` against a receiver that listens on this machine."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stellwerk.cli.main import main
from stellwerk.delivery import rules

SECRET = "canary-9c2e"  # it is sought in everything that is said


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """Where it listens, and what it was sent."""
    got: list[tuple[dict[str, str], bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(410 if "gone" in self.path else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/path-canary", got
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A workspace that may tell this machine."""
    monkeypatch.setenv("STELLWERK_ACTOR", "anna")
    monkeypatch.setenv("STELLWERK_WEBHOOK_HOSTS", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    assert 0 == main(["init"])
    capsys.readouterr()


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """The JSON of a command."""
    assert code == main(["webhooks", *arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def test_a_webhook_is_added_tried_and_taken_away(
    receiver: tuple[str, list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its secret is shown once, signs what is sent, and is in nothing that is said later."""
    url, got = receiver
    made = answer(capsys, "add", "ci", url)
    tried = answer(capsys, "test", "ci")
    headers, body = got[0]
    signed = rules.signature(made["secret"], headers["X-MLflow-Delivery-Id"], headers["X-MLflow-Timestamp"], body)
    assert signed == headers["X-MLflow-Signature"]
    assert (True, 204, "model_version.created") == (tried["accepted"], tried["status"], tried["event"])

    assert 0 == main(["webhooks", "list"])
    shown = capsys.readouterr()
    assert "ci" in shown.out
    assert "127.0.0.1" in shown.out
    everything = [
        shown.out,
        shown.err,
        json.dumps(answer(capsys, "list")),
        json.dumps(answer(capsys, "remove", "ci")),
    ]
    assert [] == [said for said in everything if made["secret"] in said or "path-canary" in said]
    assert [] == answer(capsys, "list")


def test_a_secret_of_ones_own_comes_from_a_file(
    receiver: tuple[str, list[Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It is never an argument, which others on the machine can read, and is not said again."""
    (tmp_path / "secret").write_text(SECRET + "\n")
    assert 0 == main(["webhooks", "add", "ci", receiver[0], "--secret-file", "secret", "--event", "prompt.created"])
    shown = capsys.readouterr()
    assert SECRET not in shown.out + shown.err
    answer(capsys, "test", "ci")
    headers, body = receiver[1][0]

    assert headers["X-MLflow-Signature"] == rules.signature(
        SECRET, headers["X-MLflow-Delivery-Id"], headers["X-MLflow-Timestamp"], body
    )
    assert "prompt" == json.loads(body)["entity"]


def test_a_refusal_and_a_silence_are_told_apart(
    receiver: tuple[str, list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """A receiver that says no is 6, none at all is 8; who is unsigned is shown so."""
    answer(capsys, "add", "gone", receiver[0] + "/gone", "--unsigned")
    assert 410 == answer(capsys, "test", "gone", code=6)["status"]
    answer(capsys, "add", "nobody", "http://127.0.0.1:9/", "--unsigned")
    assert answer(capsys, "test", "nobody", code=8)["problem"]
    assert [False, False] == [one["signed"] for one in answer(capsys, "list")]
    assert "X-MLflow-Signature" not in receiver[1][0][0]


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (6, ["add", "x", "http://10.0.0.1/"]),
        (2, ["add", "Not A Name", "https://127.0.0.1/"]),
        (2, ["add", "x", "https://127.0.0.1/", "--event", "nothing.happened"]),
        (2, ["add", "x", "https://127.0.0.1/", "--unsigned", "--secret-file", "-"]),
        (4, ["test", "nobody"]),
        (4, ["remove", "nobody"]),
    ],
)
def test_every_mistake_has_its_exit_code(code: int, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With a message for people, and no trace."""
    assert code == main(["webhooks", *arguments])
    assert "Traceback" not in capsys.readouterr().err
