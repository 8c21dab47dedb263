"""Webhooks are made, changed and tried out; their secrets stay here."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.errors import Corrupt, Invalid, NotFound, Refused
from stellwerk.core.outbound import Allowance
from stellwerk.delivery import rules
from stellwerk.delivery.adapters.http import HttpSender
from stellwerk.delivery.model import EVENTS
from stellwerk.delivery.shelves import WEBHOOKS
from stellwerk.ledger import documents
from stellwerk.ledger.shelf import evolve

SECRET = "canary-5f1d"
URL = "https://example.com/hook?token=path-canary"


def test_a_webhook_is_what_it_was_made(desk: Any) -> None:
    """And begins behind the entry that tells of it."""
    made = desk.hook(URL, ["model_version.created", "model_version.created"], description="words", secret=SECRET)

    assert made == desk.webhooks.get(made.id)
    assert ("hook", URL, ("model_version.created",), "words", True) == (
        made.name, made.url, made.events, made.description, made.active,
    )  # fmt: skip
    assert made.next == desk.book.entries()[-1].sequence + 1
    assert SECRET == desk.webhooks.secret(made)


def test_a_secret_is_nowhere_in_the_clear(
    desk: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, receiver: Any
) -> None:
    """Not in values, entries, files, logs and errors, and neither is the URL in the ledger."""
    caplog.set_level(logging.DEBUG)
    made = desk.hook(receiver.url, secret=SECRET)
    desk.webhooks.update(made.id, secret=SECRET + "2")
    receiver.says(500)
    desk.happens("model.created")
    desk.courier.round()
    with pytest.raises(Invalid) as problem:
        desk.webhooks.update(made.id, secret=SECRET * 1000)

    seen = [repr(desk.webhooks.all()), repr(desk.book.entries()), caplog.text, repr(problem.value)]
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert 1 == len(receiver.got)
    assert not any(SECRET in text for text in seen)
    assert SECRET.encode() not in files
    assert not any("path-canary" in text for text in seen[1:])


def test_a_secret_belongs_to_its_webhook(desk: Any) -> None:
    """Whoever can write to the database cannot make one webhook sign for another."""
    one, other = desk.hook(URL, secret=SECRET), desk.hook(URL, secret="other")
    with desk.book.write() as tx:
        WEBHOOKS.put(tx, evolve(one, sealed=other.sealed))
        tx.record("test", "test:1")

    for sealed in (other.sealed, base64.b64encode(b"x" * 60).decode()):
        with pytest.raises(Corrupt):
            desk.webhooks.secret(evolve(one, sealed=sealed))


def test_what_can_be_no_webhook_is_refused(desk: Any) -> None:
    """And the ledger tells of none."""
    for name in ("", "Upper", "-a", "a-", "a" * 64, "a b"):
        with pytest.raises(Invalid):
            desk.webhooks.create(name, URL, EVENTS)
    for events in ([], ["model_version.deleted"], ["nothing"], [""]):
        with pytest.raises(Invalid):
            desk.hook(URL, events)
    with pytest.raises(Invalid):
        desk.hook(URL, secret="\ud800")
    with pytest.raises(Invalid):
        desk.hook(URL, description="x" * 1001)

    assert [] == desk.kinds()


@pytest.mark.parametrize(
    "url",
    [
        "", "   ", "ftp://example.com", "file:///etc/passwd", "gopher://x", "http://[invalid", "javascript:alert(1)",
        "https://", "https://user:pass@example.com", "https://exa mple.com", "https://example.com\\@10.0.0.1",
        "https://example.com:99999/", "https://ex\u00e4mple.com", "//example.com", "https://example.com/\r\nX: y",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(desk: Any, url: str) -> None:
    """With words that do not repeat it whole."""
    with pytest.raises(Invalid) as problem:
        desk.hook(url)

    assert not url.strip() or url not in str(problem.value) or len(url) < 12
    assert [] == desk.kinds()


INNER = [
    "127.0.0.2", "localhost", "[::1]", "0.0.0.0", "127.1", "2130706433", "0x7f.1", "017700000001",
    "[::ffff:127.0.0.1]", "[::]", "[2002:7f00:1::]", "[64:ff9b::7f00:1]", "169.254.169.254", "[fd00:ec2::254]",
    "100.100.100.200", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "[fe80::1]", "224.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("host", INNER)
def test_our_own_network_is_refused(make_desk: Any, host: str) -> None:
    """In every spelling, when it is made, changed, and, were it in the database, when something is sent."""
    desk = make_desk(HttpSender())
    made = desk.hook(URL)
    for act in (
        lambda: desk.hook(f"https://{host}/"),
        lambda: desk.webhooks.update(made.id, url=f"https://{host}:8080/"),
        lambda: desk.sender.send(f"https://{host}/", b"", {}),
    ):
        with pytest.raises(Refused) as problem:
            act()
        assert "private-address" == problem.value.code
        assert "STELLWERK_WEBHOOK_HOSTS" in problem.value.hint

    assert ["webhook.created"] == desk.kinds()
    assert URL == desk.webhooks.get(made.id).url


def test_others_are_sent_to_with_encryption_only(make_desk: Any) -> None:
    """Whether or not their name is known, and whatever else is allowed."""
    desk = make_desk(HttpSender())
    allowed = HttpSender(
        Allowance.of(["chat.internal", "10.0.0.0/8"]), resolve=lambda _host, _port: ["93.184.215.14"]
    )
    with pytest.raises(Refused):
        allowed.send("http://example.com/", b"", {})
    for url in ("http://example.com/", "http://93.184.215.14/", "HTTP://example.com"):
        with pytest.raises(Refused) as problem:
            desk.hook(url)
        assert "unencrypted" == problem.value.code


def test_a_webhook_changes_in_what_is_said(desk: Any, clock: Any) -> None:
    """What is not said stays; no change is no entry."""
    made = desk.hook(URL, ["model_version.created"], description="words", secret=SECRET)
    clock.advance(timedelta(seconds=1))
    renamed = desk.webhooks.update(made.id, name="other")
    same = desk.webhooks.update(made.id, name="other", url=URL, description="words")
    silent = desk.webhooks.update(made.id, secret="", description="", active=False)

    assert (URL, "words", SECRET) == (renamed.url, renamed.description, desk.webhooks.secret(renamed))
    assert renamed == same
    assert renamed.changed_at > made.changed_at
    assert ("", "", False) == (desk.webhooks.secret(silent), silent.description, silent.active)
    assert ["webhook.created", "webhook.changed", "webhook.changed"] == desk.kinds()


def test_a_webhook_goes(desk: Any) -> None:
    """Once; then it was never there."""
    made = desk.hook(URL, secret=SECRET)
    desk.webhooks.delete(made.id)

    for act in (desk.webhooks.get, desk.webhooks.delete, desk.webhooks.update, desk.webhooks.test):
        with pytest.raises(NotFound, match="not found"):
            act(made.id)
    assert [] == desk.webhooks.all()


def test_webhooks_come_in_pages(desk: Any, clock: Any) -> None:
    """In the order in which they were made."""
    for number in range(5):
        clock.advance(timedelta(seconds=1))
        desk.webhooks.create(f"h{number}", URL, EVENTS)

    assert ["h2", "h3"] == [one.name for one in desk.webhooks.all(limit=2, offset=2)]


@pytest.mark.parametrize("event", EVENTS)
def test_a_sample_is_sent_at_once(desk: Any, receiver: Any, event: str) -> None:
    """Of the event asked for, signed, and no entry tells of it."""
    made = desk.hook(receiver.url, [event], secret=SECRET)
    tried = desk.webhooks.test(made.id)

    ((headers, body),) = receiver.got
    assert (200, "thanks") == (tried.answer.status, tried.answer.text)
    assert [(event, rules.sample(event))] == receiver.told()
    assert headers["X-MLflow-Signature"] == rules.signature(
        SECRET, headers["X-MLflow-Delivery-Id"], headers["X-MLflow-Timestamp"], body
    )
    assert ["webhook.created"] == desk.kinds()


def test_a_sample_that_fails_is_an_answer(desk: Any, receiver: Any) -> None:
    """With no more of what a stranger says than a person reads."""
    made = desk.hook(receiver.url)
    receiver.answers = [(418, {}, b"<script>" * 1000)]
    refused = desk.webhooks.test(made.id)
    receiver.close()
    silent = desk.webhooks.test(made.id)

    assert (418, 256) == (refused.answer.status, len(refused.answer.text))
    assert silent.answer is None
    assert "no-answer" in silent.problem
    assert "path-canary" not in silent.problem


def test_a_signature_is_that_of_standard_webhooks() -> None:
    """Computed by hand: HMAC-SHA-256 under "key" over `id.1.body`."""
    by_hand = base64.b64encode(hmac.new(b"key", b"id.1.body", hashlib.sha256).digest()).decode()

    assert f"v1,{by_hand}" == rules.signature("key", "id", "1", b"body")


def test_a_webhook_is_shown_without_what_is_secret(desk: Any, receiver: Any) -> None:
    """Neither its secret nor the path of its URL; whether it is signed, and for whom."""
    hook = desk.hook(receiver.url, secret=SECRET)
    line = desk.webhooks.line(hook)

    assert ("127.0.0.1", True, None) == (line.host, line.signed, line.last)
    assert "canary" not in str(documents.dump(line))


def test_it_is_told_how_the_newest_delivery_ended(desk: Any, receiver: Any) -> None:
    """Accepted, and given up with the status of the receiver."""
    hook = desk.hook(receiver.url)
    desk.happens("model.alias-moved", name="delay", alias="champion", version=1)
    desk.courier.round()
    accepted = desk.webhooks.line(desk.webhooks.get(hook.id)).last
    assert accepted is not None
    assert (True, "model_version_alias.created", "200") == (accepted.accepted, accepted.event, accepted.said)

    receiver.says(410)
    desk.happens("model.alias-removed", name="delay", alias="champion")
    desk.courier.round()
    gone = desk.webhooks.line(desk.webhooks.get(hook.id)).last
    assert gone is not None
    assert (False, "model_version_alias.deleted", "410") == (gone.accepted, gone.event, gone.said)


def test_a_webhook_is_named_by_its_name(desk: Any, receiver: Any) -> None:
    """As long as no other has it; an id always means one."""
    first = desk.hook(receiver.url)
    assert first == desk.webhooks.named("hook")
    second = desk.hook(receiver.url)

    with pytest.raises(Invalid) as several:
        desk.webhooks.named("hook")
    assert "ambiguous-webhook" == several.value.code
    assert second == desk.webhooks.named(second.id)
    with pytest.raises(NotFound):
        desk.webhooks.named("nobody")
