"""Results for other workspaces over HTTP: what may not be read looks like what is not there, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
import urllib3

from stellwerk.access.shelves import RESULT_GRANTS
from stellwerk.core.digest import of_bytes
from stellwerk.ledger.shelf import evolve
from stellwerk.pipelines.lending import PREFIX
from stellwerk.testing import worlds
from stellwerk.testing.results import computed
from stellwerk.web.app import application
from stellwerk.web.routing import matrix
from stellwerk.workspace.rooms import Rooms

DAY = timedelta(days=1)


@pytest.fixture
def url(rooms: Rooms) -> Iterator[str]:
    with worlds.served(rooms) as address:
        yield address


def ask(url: str, path: str, token: str | None, method: str = "POST") -> tuple[int, dict[str, str], bytes]:
    """Status, headers but the date, and body."""
    with urllib3.PoolManager(retries=False) as pool:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        answer = pool.request(method, f"{url}/api/v1/results/{path}", headers=headers, body=b"{}")
        return answer.status, {k: v for k, v in answer.headers.items() if k.lower() != "date"}, answer.data


def test_a_result_is_given_under_a_grant(rooms: Rooms, url: str) -> None:
    """Its outputs by name with their digests, and then their bytes."""
    key = computed(rooms, "delay")
    token = rooms.lending.grant("B", pipeline="delay", lasting=DAY).token

    status, headers, body = ask(url, key, token)
    found = json.loads(body)

    assert (200, "no-store") == (status, headers["cache-control"])
    assert ("stellwerk-result/1", key) == (found["format"], found["key"])
    output = {"name": "value", "digest": of_bytes(b"made by delay train"), "media": "application/json", "size": 19}
    assert [output] == found["outputs"]
    assert rooms.layout.identity == found["origin"]["workspace"]
    assert b"made by delay train" == ask(url, f"{key}/0", token)[2]


def test_foreign_and_missing_look_the_same(rooms: Rooms, url: str) -> None:
    """No token, a wrong, ended or revoked one, another pipeline's result, a gate's, an unknown key: one answer."""
    mine, other, sealed = computed(rooms, "delay"), computed(rooms, "fares"), computed(rooms, "delay", "gate")
    unknown = of_bytes(b"nobody computed this")
    grant = rooms.lending.grant
    token, short, revoked = (grant(to, pipeline="delay", lasting=DAY).token for to in ("B", "C", "D"))
    rooms.lending.revoke("D")
    ended = next(one for one in rooms.lending.all() if one.to == "C")
    with rooms.book.write() as tx:
        RESULT_GRANTS.put(tx, evolve(ended, until=ended.granted_at + timedelta(microseconds=1)))
        tx.record("test.ended", "grant:C")
    size = rooms.database.size()

    asked = [
        (None, mine), ("", mine), ("wrong", mine), (PREFIX + "x" * 43, mine), ("x" * 5000, mine), (short, mine),
        (revoked, mine), (token, other), (token, sealed), (token, unknown), ("wrong", unknown),
    ]  # fmt: skip
    for path in ("{}", "{}/0"):
        answers = [ask(url, path.format(key), token) for token, key in asked]
        assert [404] * len(asked) == [status for status, _, _ in answers]
        assert 1 == len(
            {json.dumps([status, sorted(headers.items()), body.hex()]) for status, headers, body in answers}
        )
    for place in ("1", "99999", "100000000", "x", "-1", "%D9%A1"):
        assert ask(url, unknown, token) == ask(url, f"{mine}/{place}", token)
    assert size == rooms.database.size()


def test_what_is_no_key_is_said_to_whoever_asks(rooms: Rooms, url: str) -> None:
    """It tells nothing of what is here: the answer does not depend on the token."""
    token = rooms.lending.grant("B", lasting=DAY).token

    answers = [ask(url, "sha256:abc", given) for given in (token, "wrong", None)]

    assert [422] * 3 == [status for status, _, _ in answers]
    assert 1 == len({body for _, _, body in answers})


def test_reading_needs_more_than_looking(rooms: Rooms, url: str) -> None:
    """A page cannot make a browser read: only POST is taken, and each route says that it asks for a grant."""
    key = computed(rooms, "delay")
    token = rooms.lending.grant("B", lasting=DAY).token

    assert 405 == ask(url, key, token, "GET")[0]
    found = [(path, need) for path, _, need in matrix(application(rooms, {}).routes) if "/results/" in path]
    assert [("/api/v1/results/{key}", "grant"), ("/api/v1/results/{key}/{position}", "grant")] == found
