"""Incoming webhooks over HTTP, as senders send them; and the page that shows what fires."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from stellwerk.testing import worlds
from stellwerk.triggers.model import Limits, Made, OnData, OnEvent, OnTime, OnWebhook
from stellwerk.triggers.signing import MAX_BODY
from stellwerk.web.app import application
from stellwerk.web.routing import matrix
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.serving import Servers
from stellwerk.workspace.settings import Settings

BODY = b'{"ref": "refs/heads/main"}'


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Rooms]:
    settings = Settings(actor="anna")
    made = Rooms(create(tmp_path, settings), settings)
    yield made
    made.close()


@pytest.fixture
def url(rooms: Rooms) -> Iterator[str]:
    with worlds.served(rooms) as address:
        yield address


def signed(secret: str, delivery: str = "msg_1", body: bytes = BODY) -> dict[str, str]:
    """Headers as a sender of Standard Webhooks makes them, by code of its own."""
    timestamp = str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    made = hmac.new(key, f"{delivery}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(made).decode()
    return {"webhook-id": delivery, "webhook-timestamp": timestamp, "webhook-signature": signature}


def post(address: str, body: bytes, headers: Any) -> tuple[int, dict[str, Any]]:
    with urllib3.PoolManager(retries=False) as pool:
        answer = pool.request("POST", address, body=body, headers=headers)
        return answer.status, json.loads(answer.data)


def test_a_signed_delivery_over_http(rooms: Rooms, url: str) -> None:
    """It is accepted once, whatever kind of body it says to be; a changed one is not."""
    made = rooms.triggers.create("pushed", "delay", OnWebhook())
    address, headers = url + made.path, signed(made.secret)

    assert (202, "queued") == ((found := post(address, BODY, headers))[0], found[1]["status"])
    assert (202, "seen") == ((found := post(address, BODY, headers))[0], found[1]["status"])
    status, answer = post(address, BODY + b" ", headers)
    assert (401, "unauthenticated") == (status, answer["code"])
    assert 401 == post(address + "0", BODY, headers)[0]
    assert 401 == post(address, BODY, {})[0]
    assert 1 == len(rooms.triggers.firings())


def test_curl_and_openssl_are_enough(rooms: Rooms, url: str) -> None:
    """A sender needs no library of ours: GitHub's form in two commands of a shell."""
    made = rooms.triggers.create("pushed", "delay", OnWebhook(style="github"))
    script = (
        'signature=$(printf "%s" "$BODY" | openssl dgst -sha256 -hmac "$SECRET" -r | cut -d" " -f1); '
        'curl --silent --data-raw "$BODY" -H "Content-Type: application/json" '
        '-H "X-Hub-Signature-256: sha256=$signature" "$ADDRESS"'
    )
    environment = {"PATH": "/usr/bin:/bin", "BODY": BODY.decode(), "SECRET": made.secret, "ADDRESS": url + made.path}

    answer = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, check=True)

    assert "queued" == json.loads(answer.stdout)["status"]


def test_what_is_too_large_is_not_read(rooms: Rooms, url: str) -> None:
    """By its length where it says one, and by its bytes where it does not."""
    made = rooms.triggers.create("pushed", "delay", OnWebhook())
    large = b"x" * (MAX_BODY + 1)

    assert 413 == post(url + made.path, b"", {**signed(made.secret), "Content-Length": str(len(large))})[0]
    exact = large[:-1]
    assert 202 == post(url + made.path, exact, signed(made.secret, body=exact))[0]


def test_a_header_that_stands_there_twice_fits_nothing(rooms: Rooms, url: str) -> None:
    """Two readers of one request must not see two signatures."""
    made = rooms.triggers.create("pushed", "delay", OnWebhook())
    headers = urllib3.HTTPHeaderDict(signed(made.secret))
    headers.add("webhook-id", "msg_2")

    assert 401 == post(url + made.path, BODY, headers)[0]


def test_the_route_needs_a_signature_and_says_so(rooms: Rooms) -> None:
    """Its permission is none that anybody has."""
    routes = {path: permission for path, _, permission in matrix(application(rooms, Servers(rooms)).routes)}

    assert "signature" == routes["/api/v1/hooks/{hook}"]
    assert "runs:read" == routes["/triggers"]


def test_entries_of_callers_elsewhere_name_their_firing(rooms: Rooms, url: str) -> None:
    """What a run writes over HTTP is known as its firing's; nothing else can be put there."""
    headers = {"Content-Type": "application/json", "Stellwerk-Cause": "abc123"}
    body = json.dumps({"name": "by-hand", "pipeline": "delay", "on": {"kind": "event", "event": "drift"}}).encode()

    assert 200 == post(url + "/api/v1/triggers.add", body, headers)[0]
    (entry,) = rooms.book.entries(kinds=["trigger.added"])
    assert "abc123" == entry.body["caused_by"]
    assert 422 == post(url + "/api/v1/triggers.list", b"{}", {**headers, "Stellwerk-Cause": "a b"})[0]


def test_the_page_shows_what_fires_and_what_became_of_it(rooms: Rooms, url: str) -> None:
    """With the next times in the zone, the newest firings, and no secret; an empty one says how to begin."""
    with urllib3.PoolManager() as pool:

        def page() -> str:
            return pool.request("GET", url + "/triggers").data.decode()

        assert "stellwerk triggers add" in page()
        rooms.triggers.create(
            "nightly", "delay", OnTime(cron="30 2 * * *", zone="Europe/Berlin"), params={"depth": "6"}
        )
        rooms.triggers.create("fresh", "delay", OnData(dataset="flights"))
        rooms.triggers.create("drifted", "delay", OnEvent(event="drift", of="<b>x"[3:]), limits=Limits(each=True))
        hook: Made = rooms.triggers.create("pushed", "delay", OnWebhook())
        rooms.triggers.fire("nightly", "<script>alert(1)</script>")
        rooms.triggers.pause("fresh")
        shown = page()

        assert 'href="/triggers"' in pool.request("GET", url + "/experiments").data.decode()
    assert 3 == shown.count(" 02:30</time>")
    for text in ("Europe/Berlin", "depth", "paused", "queued", "&lt;script&gt;", hook.path):
        assert text in shown
    assert "<script>alert" not in shown
    assert hook.secret not in shown
