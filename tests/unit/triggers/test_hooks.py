"""Deliveries from elsewhere: a signature that holds counts once, everything else not at all."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.errors import Refused
from stellwerk.testing.stations import Station
from stellwerk.triggers import signing
from stellwerk.triggers.model import Made, OnTime, OnWebhook, Style
from stellwerk.triggers.shelves import ARRIVALS

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BODY = b'{"ref": "refs/heads/main"}'
HER_SECRET = "whsec_" + base64.b64encode(b"canary-7d31-canary-7d31-0001").decode()


def standard(
    station: Station, secret: str, delivery: str = "msg_1", body: bytes = BODY, *, shift: int = 0
) -> dict[str, str]:
    """Headers as a sender of Standard Webhooks makes them, by code of its own."""
    timestamp = str(int(station.clock.now().timestamp()) + shift)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    made = hmac.new(key, f"{delivery}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": delivery,
        "webhook-timestamp": timestamp,
        "webhook-signature": "v1," + base64.b64encode(made).decode(),
    }


def github(secret: str, body: bytes = BODY) -> dict[str, str]:
    return {"x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


@pytest.fixture
def made(station: Station) -> Made:
    return station.add("pushed", OnWebhook())


def test_a_signed_delivery_fires_once(station: Station, made: Made) -> None:
    """Sent again it changes nothing, also after it was run; the ledger knows its digest and not its body."""
    headers = standard(station, made.secret)
    first = station.hooks.take(made.trigger.id, headers, BODY)
    again = station.hooks.take(made.trigger.id, headers, BODY)
    station.perform()
    late = station.hooks.take(made.trigger.id, headers, BODY)

    assert ["queued", "seen", "seen"] == [first.status, again.status, late.status]
    assert {first.firing} == {again.firing, late.firing}
    (fired,) = station.told("fired")
    assert "delivery:msg_1" == fired.body["cause"]
    assert f"sha256:{hashlib.sha256(BODY).hexdigest()}" == fired.body["digest"]
    assert not any("refs/heads" in str(entry.body) for entry in station.told())


def test_the_example_of_the_standard(station: Station) -> None:
    """The test vector that the libraries of Standard Webhooks share."""
    assert "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" == signing.signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "1614265330",
        b'{"test": 2432232314}',
    )


def test_the_example_of_github() -> None:
    """The one that GitHub's documentation gives to test with."""
    headers = {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}

    found = signing.verified("It's a Secret to Everybody", "github", headers, b"Hello, World!", NOW)
    other = signing.verified("It's a Secret to Everybody", "github", headers, b"Hello, World?", NOW)

    assert found is not None
    assert None is other


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "é,\udcff"},
        {"webhook-id": "msg_2"},
        {"webhook-id": ""},
        {"webhook-id": "msg.1"},
        {"webhook-id": "x" * 300},
        {"webhook-timestamp": "0"},
        {"webhook-timestamp": "-1"},
        {"webhook-timestamp": "1e9"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-timestamp": "١٢٣"},
    ],
)
def test_what_does_not_fit_is_refused(station: Station, made: Made, change: dict[str, str]) -> None:
    """With one and the same answer, and nothing is written."""
    before = station.database.size()
    with pytest.raises(Refused) as caught:
        station.hooks.take(made.trigger.id, {**standard(station, made.secret), **change}, BODY)

    assert "unauthenticated" == caught.value.code
    assert before == station.database.size()


@settings(deadline=None)
@given(st.binary(max_size=60), st.dictionaries(st.text(max_size=20), st.text(max_size=60), max_size=5))
def test_no_bytes_without_the_secret_are_taken(body: bytes, headers: dict[str, str]) -> None:
    """Whatever stands in headers and body."""
    styles: tuple[Style, ...] = ("standard", "github")
    for style in styles:
        assert None is signing.verified(HER_SECRET, style, headers, body, NOW)


@pytest.mark.parametrize(("shift", "taken"), [(-301, False), (-299, True), (299, True), (301, False)])
def test_only_what_was_signed_now_counts(station: Station, made: Made, shift: int, taken: bool) -> None:
    """A delivery that somebody kept cannot be played back later."""
    headers = standard(station, made.secret, shift=shift)
    if taken:
        assert "queued" == station.hooks.take(made.trigger.id, headers, BODY).status
    else:
        with pytest.raises(Refused):
            station.hooks.take(made.trigger.id, headers, BODY)


def test_a_secret_is_of_one_trigger_and_one_style(station: Station, made: Made) -> None:
    """Another's signature, another style, an address of nobody, and a trigger that is no webhook: all the same answer."""
    other = station.add("other", OnWebhook(style="github"))
    clock = station.add("clock", OnTime(cron="0 0 * * *"))
    answers = []
    attempts: list[tuple[str, dict[str, Any]]] = [
        (made.trigger.id, standard(station, other.secret)),
        (made.trigger.id, github(made.secret)),
        (other.trigger.id, standard(station, other.secret)),
        ("0" * 26, standard(station, made.secret)),
        (clock.trigger.id, standard(station, made.secret)),
        ("x\0" * 500, standard(station, made.secret)),
    ]
    for address, headers in attempts:
        with pytest.raises(Refused) as caught:
            station.hooks.take(address, headers, BODY)
        answers.append((caught.value.code, caught.value.message))

    assert 1 == len(set(answers))
    assert "queued" == station.hooks.take(other.trigger.id, github(other.secret), BODY).status
    assert "seen" == station.hooks.take(other.trigger.id, github(other.secret), BODY).status


def test_several_signatures_may_stand_there(station: Station, made: Made) -> None:
    """As senders do while they change a secret."""
    headers = standard(station, made.secret)
    headers["webhook-signature"] = "v1,AAAA v1a,BBBB " + headers["webhook-signature"]

    assert "queued" == station.hooks.take(made.trigger.id, headers, BODY).status


def test_a_storm_of_deliveries_is_one_run(station: Station, made: Made) -> None:
    """They join what waits; ids that could not be played back any more are forgotten."""
    for number in range(60):
        station.hooks.take(made.trigger.id, standard(station, made.secret, f"msg_{number}"), BODY)
    (firing,) = station.triggers.firings()
    assert ("delivery:msg_59", 59) == (firing.cause.key, firing.others)
    station.later(minutes=11)
    station.hooks.take(made.trigger.id, standard(station, made.secret, "msg_60"), BODY)
    station.hooks.take(made.trigger.id, standard(station, made.secret, "msg_61"), BODY)

    with station.book.read() as reader:
        assert 2 == ARRIVALS.count(reader)


def test_secrets_are_shown_once_and_kept_sealed(station: Station) -> None:
    """One's own is not said again; none is in the database in plain, or in the ledger."""
    fresh = station.add("fresh", OnWebhook())
    given_ = station.add("given", OnWebhook(), secret=HER_SECRET)

    assert fresh.secret.startswith("whsec_")
    assert "" == given_.secret
    kept = [str(trigger) + trigger.sealed for trigger in station.triggers.all()]
    told = [str(entry) for entry in station.book.entries()]
    lines = [str(station.triggers.line(trigger)) for trigger in station.triggers.all()]
    for secret in (fresh.secret, HER_SECRET, "canary"):
        assert [] == [text for text in (*kept, *told, *lines) if secret in text]
    assert HER_SECRET == station.triggers.secret(station.triggers.get("given"))


def test_a_paused_trigger_takes_nothing(station: Station, made: Made) -> None:
    """The sender may send it again later."""
    station.triggers.pause("pushed")
    headers = standard(station, made.secret)

    assert "paused" == station.hooks.take(made.trigger.id, headers, BODY).status
    station.triggers.resume("pushed")
    assert "queued" == station.hooks.take(made.trigger.id, headers, BODY).status
