"""Law 1: a signal is clear only under a valid, signed, current lease token; anything else is stop and never an error."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from stellwerk.ledger import documents
from stellwerk.ledger import rules as ledger_rules
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier
from stellwerk.releases import signals
from stellwerk.releases.model import SignalState
from stellwerk.testing.releases import NOW, Box, a_release, an_endpoint, make_box

VERIFIER = Ed25519Verifier()
SECOND = timedelta(seconds=1)


class Keys:
    """Two keys, of which only the first is the workspace's."""

    def __init__(self, first: Box, second: Box) -> None:
        self.ours, self.theirs = first.signer, second.signer


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    boxes = [make_box(tmp_path_factory.mktemp("keys")) for _ in range(2)]
    yield Keys(*boxes)
    for box in boxes:
        box.database.close()


def minted(keys: Keys, *, now: datetime = NOW, signer: Any = None, **changes: Any) -> dict[str, Any]:
    found = signals.mint(a_release(**changes), an_endpoint(), "w", now, signer or keys.ours)
    assert found is not None
    return found


def judged(keys: Keys, envelope: Any, now: datetime = NOW, **changes: Any) -> SignalState:
    asked: dict[str, Any] = {"workspace": "w", "endpoint": "delay", "environment": "production"}
    return signals.judge(envelope, **(asked | changes), now=now, keys=[keys.ours.public_key], verifier=VERIFIER)


def test_a_valid_token_shows_what_it_says(keys: Keys) -> None:
    """Clear, or caution with its reason; the token names release, model and audit share."""
    clear, warned = judged(keys, minted(keys)), judged(keys, minted(keys, caution="losses rise"))

    assert ("clear", "caution") == (clear.signal, warned.signal)
    assert "losses rise" == warned.why
    assert clear.token is not None
    assert ("r1", a_release().model, 0.1) == (clear.token.release, clear.token.model, clear.token.audit_share)


@given(seconds=st.floats(-1e8, 1e8))
def test_a_token_is_valid_from_minting_for_its_life(keys: Keys, seconds: float) -> None:
    """At every instant outside of [not_before, not_after) the signal is stop, inside it is clear."""
    state = judged(keys, minted(keys), NOW + timedelta(seconds=seconds))

    assert ("clear" if timedelta(0) <= timedelta(seconds=seconds) < signals.TOKEN_LIFE else "stop") == state.signal


@given(
    status=st.sampled_from(["active", "superseded", "stopped"]),
    granted=st.integers(-10_000, 10_000),
    length=st.integers(-10_000, 10_000),
)
@example(status="active", granted=-10, length=100)  # the lease ends before the token's life
@example(status="active", granted=0, length=1)
@example(status="active", granted=-10, length=10)
def test_only_a_release_that_holds_gets_a_token(keys: Keys, status: Any, granted: int, length: int) -> None:
    """Active, granted, not over: all three or no token. And no token outlives the lease."""
    start = NOW + granted * SECOND
    release = a_release(status=status, granted_at=start, expires_at=start + length * SECOND)
    found = signals.mint(release, an_endpoint(), "w", NOW, keys.ours)

    assert (status == "active" and granted <= 0 < granted + length) == (found is not None)
    if found is not None:
        last = min(release.expires_at, NOW + signals.TOKEN_LIFE) - timedelta(microseconds=1)
        assert "clear" == judged(keys, found, last).signal
        assert "stop" == judged(keys, found, last + timedelta(microseconds=1)).signal


@pytest.mark.parametrize("field", ["workspace", "endpoint", "environment"])
@given(other=st.text(max_size=12))
def test_a_token_is_for_one_place(keys: Keys, field: str, other: str) -> None:
    """A token of another workspace, endpoint or environment proves nothing here."""
    assume(other != {"workspace": "w", "endpoint": "delay", "environment": "production"}[field])

    assert "stop" == judged(keys, minted(keys), **{field: other}).signal


def test_a_token_of_another_key_is_stop(keys: Keys) -> None:
    """Whoever signs with a key that is not the workspace's gets stop, also under the key id of the right one."""
    foreign = minted(keys, signer=keys.theirs)
    renamed = copy.deepcopy(foreign)
    for signature in renamed["signatures"]:
        signature["keyid"] = keys.ours.key_id

    assert ["stop", "stop"] == [judged(keys, foreign).signal, judged(keys, renamed).signal]


@settings(max_examples=300)
@given(data=st.data())
def test_any_changed_byte_is_stop(keys: Keys, data: st.DataObject) -> None:
    """Whatever is changed in payload, type or signature: never clear, never caution, never an error."""
    envelope = copy.deepcopy(minted(keys))
    where = data.draw(st.sampled_from(["payload", "payloadType", "sig"]))
    holder, key = (envelope["signatures"][0], "sig") if where == "sig" else (envelope, where)
    raw = bytearray(holder[key].encode() if where == "payloadType" else base64.b64decode(holder[key]))
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= data.draw(st.integers(1, 255))
    holder[key] = raw.decode("latin-1") if where == "payloadType" else base64.b64encode(bytes(raw)).decode()

    assert "stop" == judged(keys, envelope).signal


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300)
@given(
    envelope=st.dictionaries(st.sampled_from(["payload", "payloadType", "signatures", "x"]), json_values) | st.none()
)
def test_any_other_object_is_stop(keys: Keys, envelope: Any) -> None:
    """Arbitrary JSON where an envelope should be is stop, without an exception."""
    assert "stop" == judged(keys, envelope).signal


@settings(max_examples=300)
@given(
    part=st.sampled_from(["payload", "payloadType", "signatures"]),
    value=json_values,
)
def test_any_other_part_is_stop(keys: Keys, part: str, value: Any) -> None:
    """A good envelope with one part replaced by arbitrary JSON, or without it, is stop."""
    envelope = minted(keys)
    assume(value != envelope[part])

    assert "stop" == judged(keys, {**envelope, part: value}).signal
    assert "stop" == judged(keys, {name: item for name, item in envelope.items() if name != part}).signal


@settings(max_examples=300)
@given(
    field=st.sampled_from(
        [field for field in documents.dump(a_release()) if field] + ["not_before", "not_after", "mode"]
    ),
    value=json_values,
)
def test_signed_nonsense_never_raises(keys: Keys, field: str, value: Any) -> None:
    """Even a token that our own key signed is stop where its fields make no sense."""
    token = json.loads(base64.b64decode(minted(keys)["payload"]))
    try:
        envelope = ledger_rules.seal({**token, field: value}, keys.ours, signals.PAYLOAD_TYPE)
    except ValueError:
        return  # what cannot be written down cannot be signed
    state = judged(keys, envelope)

    assert state.signal in ("clear", "caution", "stop")
    assert (state.signal == "stop") == (state.token is None)


@pytest.mark.parametrize(
    "changes",
    [
        {"not_before": "2026-03-01T12:00:00", "not_after": "2026-03-01T12:10:00"},
        {"not_before": "2026-03-01T12:00:00Z", "not_after": "2026-03-01T12:10:00"},
        {"not_before": "2000-01-01T00:00:00Z", "not_after": "2100-01-01T00:00:00Z"},
        {"not_before": "0001-01-01T00:00:00Z", "not_after": "9999-12-31T23:59:59Z"},
        {"mode": "stop"},
        {"mode": "green"},
        {"not_after": "2026-03-01T12:00:00Z"},
        {"model": None},
    ],
)
def test_signed_tokens_that_no_minting_makes_are_stop(keys: Keys, changes: dict[str, Any]) -> None:
    """Times without a zone, lives of decades, unknown modes: our key's signature does not make them tokens."""
    token = json.loads(base64.b64decode(minted(keys)["payload"]))
    envelope = ledger_rules.seal({**token, **changes}, keys.ours, signals.PAYLOAD_TYPE)

    assert "stop" == judged(keys, envelope).signal


def test_other_signed_documents_are_no_tokens(keys: Keys) -> None:
    """A signature of our key on a release statement cannot be replayed as a token, nor a token under another type."""
    envelope = minted(keys)
    token = json.loads(base64.b64decode(envelope["payload"]))
    statement = ledger_rules.statement({"delay": a_release().model}, "https://stellwerk.dev/release/v1", token)

    assert "stop" == judged(keys, ledger_rules.seal(statement, keys.ours)).signal
    assert "stop" == judged(keys, ledger_rules.seal(token, keys.ours)).signal
    assert "stop" == judged(keys, {**ledger_rules.seal(token, keys.ours), "payloadType": signals.PAYLOAD_TYPE}).signal


def test_wrong_keys_and_kinds_never_raise(keys: Keys) -> None:
    """A public key of the wrong length, a list for an envelope, bytes for a text: stop."""
    asked: dict[str, Any] = {"workspace": "w", "endpoint": "delay", "environment": "production", "now": NOW}
    for key in (b"", b"short", keys.theirs.public_key):
        assert "stop" == signals.judge(minted(keys), **asked, keys=[key], verifier=VERIFIER).signal
    for envelope in ([], "token", 7, b"x", {"payload": b"x", "payloadType": signals.PAYLOAD_TYPE}):
        found = signals.judge(
            envelope,
            **asked,
            keys=[keys.ours.public_key],
            verifier=VERIFIER,  # type: ignore[arg-type]
        )
        assert "stop" == found.signal


def test_encoding_keeps_a_token_valid(keys: Keys) -> None:
    """Written to a file and read again it is the same token."""
    assert "clear" == judged(keys, json.loads(signals.encode(minted(keys)))).signal
