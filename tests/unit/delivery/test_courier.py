"""What the ledger tells of models arrives: in order, at least once, each with its own number."""

from __future__ import annotations

import socket
import threading
from datetime import timedelta
from typing import Any

import pytest

from stellwerk.core.errors import Refused, Unavailable
from stellwerk.core.outbound import Allowance
from stellwerk.delivery import rules
from stellwerk.delivery.adapters.http import HttpSender
from stellwerk.delivery.model import Said

SECRET = "canary-5f1d"


def test_what_happens_is_told(desk: Any, receiver: Any) -> None:
    """Every kind of entry as its event, with what is said of the model now."""
    desk.models.models["delay"] = Said(description="words", tags={"team": "ml"})
    desk.models.versions["delay", 1] = Said(tags={"a": "1"}, source="runs:/r/model", run_id="r")
    desk.hook(receiver.url)
    desk.happens("model.created", tags=["team"])
    desk.happens("model.registered", "model:sha256:" + "0" * 64, name="delay", version=1, run="r")
    desk.happens("model.described", version=1, description=False, tags=["a", "gone"])
    desk.happens("model.described", description=True, tags=["team"])
    desk.happens("model.alias-moved", alias="champion", version=1)
    desk.happens("model.alias-removed", alias="champion", version=1)
    desk.happens("run.started", "run:r")

    assert 6 == desk.courier.round()
    assert 0 == desk.courier.round()
    version = {"name": "delay", "version": "1"}
    assert [
        ("registered_model.created", {"name": "delay", "tags": {"team": "ml"}, "description": "words"}),
        (
            "model_version.created",
            version | {"source": "runs:/r/model", "run_id": "r", "tags": {"a": "1"}, "description": None},
        ),
        ("model_version_tag.set", version | {"key": "a", "value": "1"}),
        ("model_version_tag.deleted", version | {"key": "gone"}),
        ("model_version_alias.created", version | {"alias": "champion"}),
        ("model_version_alias.deleted", {"name": "delay", "alias": "champion"}),
    ] == receiver.told()


def test_prompts_are_told_as_prompts(desk: Any, receiver: Any) -> None:
    """And the tags that make them prompts are not told as tags."""
    marks = {rules.PROMPT_TAG: "true", rules.PROMPT_TEXT: "Hello {{name}}!", "a": "1"}
    desk.models.models["delay"] = Said(tags=marks)
    desk.models.versions["delay", 1] = Said(tags=marks)
    desk.hook(receiver.url)
    desk.happens("model.created", tags=[rules.PROMPT_TAG])
    desk.happens("model.registered", name="delay", version=1)
    desk.happens("model.described", version=1, tags=["a", "b"])
    desk.happens("model.described", tags=["a", "b"])
    desk.happens("model.alias-moved", alias="live", version=1)
    desk.happens("model.alias-removed", alias="live", version=1)
    desk.courier.round()

    told = receiver.told()
    assert [
        "prompt.created", "prompt_version.created", "prompt_version_tag.set", "prompt_version_tag.deleted",
        "prompt_tag.set", "prompt_tag.deleted", "prompt_alias.created", "prompt_alias.deleted",
    ] == [event for event, _ in told]  # fmt: skip
    assert {"a": "1"} == told[0][1]["tags"] == told[1][1]["tags"]
    assert "Hello {{name}}!" == told[1][1]["template"]


def test_each_delivery_is_known_again(desk: Any, receiver: Any) -> None:
    """By a number that follows from the entry, and a signature that covers it, the time and the body."""
    hook = desk.hook(receiver.url, secret=SECRET)
    sequence = desk.happens("model.described", version=1, tags=["a", "b"])
    desk.courier.round()

    ids = [headers["X-MLflow-Delivery-Id"] for headers, _ in receiver.got]
    assert [f"{hook.id}-{sequence}-0", f"{hook.id}-{sequence}-1"] == ids
    for headers, body in receiver.got:
        said = headers["X-MLflow-Delivery-Id"], headers["X-MLflow-Timestamp"]
        assert rules.signature(SECRET, *said, body) == headers["X-MLflow-Signature"]
        assert "application/json" == headers["Content-Type"]
    delivered = desk.book.entries(kinds=["webhook.delivered"])
    assert ids == [entry.body["delivery"] for entry in delivered]


def test_only_what_was_asked_for_since_is_told(desk: Any, receiver: Any) -> None:
    """Not what happened before, while it was off, or is of other kinds."""
    desk.happens("model.created")
    hook = desk.hook(receiver.url, ["registered_model.created"])
    desk.happens("model.created", "model:wanted")
    desk.happens("model.alias-moved", alias="a", version=1)
    desk.courier.round()
    desk.webhooks.update(hook.id, active=False)
    desk.happens("model.created", "model:unheard")
    desk.courier.round()
    desk.webhooks.update(hook.id, active=True)
    desk.courier.round()
    desk.happens("model.created", "model:later")
    desk.courier.round()
    desk.webhooks.delete(hook.id)
    desk.happens("model.created", "model:gone")
    desk.courier.round()

    assert ["wanted", "later"] == [data["name"] for _, data in receiver.told()]


def test_a_new_courier_goes_on_where_the_last_one_was(desk: Any, receiver: Any) -> None:
    """Also within one entry."""
    desk.hook(receiver.url, ["model_version_tag.deleted"])
    desk.happens("model.described", version=1, tags=["a", "b", "c"])
    receiver.says(200, 200, 503)
    assert 2 == desk.courier.round()
    receiver.says(200)
    assert 1 == desk.fresh().round()
    assert 0 == desk.fresh().round()

    assert ["a", "b", "c", "c"] == [data["key"] for _, data in receiver.told()]
    assert receiver.got[2][0]["X-MLflow-Delivery-Id"] == receiver.got[3][0]["X-MLflow-Delivery-Id"]


def test_trouble_is_tried_again_and_keeps_the_order(desk: Any, receiver: Any, clock: Any) -> None:
    """After longer and longer waits; nothing overtakes."""
    desk.hook(receiver.url, ["registered_model.created"])
    for name in ("one", "two"):
        desk.happens("model.created", f"model:{name}")
    receiver.says(500, 429, 503, 200)
    waits = []
    for _ in range(3):
        desk.courier.round()
        waits.append(0.0)
        while not desk.courier.due():
            clock.advance(timedelta(seconds=1))
            waits[-1] += 1
    assert 2 == desk.courier.round()

    assert [1.0, 2.0, 4.0] == waits
    assert ["one"] * 4 + ["two"] == [data["name"] for _, data in receiver.told()]
    assert [4, 1] == [entry.body["attempts"] for entry in desk.book.entries(kinds=["webhook.delivered"])]


def test_a_receiver_may_ask_for_time(desk: Any, receiver: Any, clock: Any) -> None:
    """But not for ever."""
    desk.hook(receiver.url)
    desk.happens("model.created")
    receiver.says(429, headers={"Retry-After": "30"})
    desk.courier.round()
    clock.advance(timedelta(seconds=29))

    assert [] == desk.courier.due()
    clock.advance(timedelta(seconds=1))
    assert 1 == len(desk.courier.due())
    assert rules.LONGEST_WAIT == rules.wait(1, 1e9) == rules.wait(40)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 410])
def test_what_stays_wrong_is_given_up_at_once(desk: Any, receiver: Any, status: int) -> None:
    """Redirects are not followed, and the ledger says what was not delivered."""
    desk.hook(receiver.url, ["registered_model.created"])
    desk.happens("model.created")
    receiver.says(status, headers={"Location": receiver.url})
    desk.courier.round()
    desk.courier.round()

    (entry,) = desk.book.entries(kinds=["webhook.given-up"])
    assert (status, 1) == (entry.body["status"], entry.body["attempts"])
    assert 1 == len(receiver.got)


def test_what_never_gets_through_is_given_up(desk: Any, receiver: Any, clock: Any) -> None:
    """After so many attempts, and the next event gets as many."""
    desk.hook(receiver.url, ["registered_model.created"])
    for name in ("one", "two"):
        desk.happens("model.created", f"model:{name}")
    receiver.says(500)
    for _ in range(2 * rules.ATTEMPTS):
        desk.courier.round()
        clock.advance(timedelta(seconds=rules.LONGEST_WAIT))

    assert [rules.ATTEMPTS] * 2 == [e.body["attempts"] for e in desk.book.entries(kinds=["webhook.given-up"])]
    assert 2 * rules.ATTEMPTS == len(receiver.got)
    assert 0 == desk.courier.round()


def test_one_in_trouble_does_not_keep_the_others(desk: Any, receiver: Any) -> None:
    """Each webhook has its own place."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    desk.hook(f"http://127.0.0.1:{port}/")
    desk.hook(receiver.url)
    desk.happens("model.created")

    assert 1 == desk.courier.round()
    assert ["webhook.delivered"] == desk.kinds()[2:]


def test_a_name_that_changes_its_mind_leads_nowhere(make_desk: Any, receiver: Any) -> None:
    """Public when the webhook is made, private when something is sent: nothing is, and the ledger says why."""
    answers = iter([["93.184.215.14"], ["127.0.0.1"]])
    desk = make_desk(HttpSender(resolve=lambda _host, _port: next(answers)))
    desk.hook(f"https://rebinding.example:{receiver.server.server_port}/", ["registered_model.created"])
    desk.happens("model.created")
    desk.courier.round()

    (entry,) = desk.book.entries(kinds=["webhook.given-up"])
    assert "private-address" == entry.body["problem"]
    assert [] == receiver.got


def test_the_address_that_was_checked_is_the_one_that_is_asked(receiver: Any) -> None:
    """A name is resolved once for each delivery, and one private address among many is enough to refuse."""
    asked: list[str] = []

    def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    sender = HttpSender(Allowance.of(["hooks.internal"]), resolve=resolve)
    sender.send(f"http://hooks.internal:{receiver.server.server_port}/", b"{}", {})

    assert ["hooks.internal"] == asked
    assert f"hooks.internal:{receiver.server.server_port}" == receiver.got[0][0]["Host"]
    mixed = HttpSender(resolve=lambda _host, _port: ["93.184.215.14", "10.0.0.1"])
    with pytest.raises(Refused):
        mixed.send("https://example.com/", b"", {})


def test_a_receiver_that_never_ends_is_cut_off() -> None:
    """A byte now and then does not keep a delivery going; an endless answer is not read."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def drip() -> None:
        stream, _ = listener.accept()
        try:
            while not stop.wait(0.05):
                stream.sendall(b"H")
        except OSError:
            pass
        finally:
            stream.close()

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        with pytest.raises(Unavailable):
            HttpSender(Allowance.of(["127.0.0.1"]), seconds=0.3).send(
                f"http://127.0.0.1:{listener.getsockname()[1]}/", b"{}", {}
            )
    finally:
        stop.set()
        thread.join()
        listener.close()
