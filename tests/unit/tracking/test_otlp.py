"""Reading what exporters of OpenTelemetry send, in both spellings."""

from __future__ import annotations

import base64
import json
import math
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid
from stellwerk.tracking import spans
from stellwerk.tracking.otlp import in_json, in_protobuf, received
from stellwerk.tracking.spans import Span


def varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def part(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def attribute(key: str, value: bytes) -> bytes:
    return part(9, part(1, key.encode()) + part(2, value))


def request(*sent: bytes) -> bytes:
    resource = part(1, part(1, part(1, b"service.name") + part(2, part(1, b"shop"))))
    return part(1, resource + part(2, b"".join(part(2, one) for one in sent)))


SPAN = (
    part(1, bytes(15) + b"\1") + part(2, bytes(7) + b"\2") + part(4, bytes(7) + b"\3") + part(5, "größe".encode())
    + b"\x30\2" + b"\x39" + struct.pack("<Q", 2**63 + 1) + b"\x41" + struct.pack("<Q", 2**64 - 1)
    + attribute("text", part(1, b"x")) + attribute("flag", b"\x10\0") + attribute("whole", b"\x18" + varint(2**64 - 5))
    + attribute("real", b"\x21" + struct.pack("<d", 0.1)) + attribute("nan", b"\x21" + struct.pack("<d", math.nan))
    + attribute("list", part(5, part(1, b"\x18\x01") + part(1, b""))) + attribute("bytes", part(7, b"\xff"))
    + attribute("map", part(6, part(1, part(1, b"k") + part(2, part(1, b"v")))))
    + part(11, b"\x09" + struct.pack("<Q", 7) + part(2, b"event"))
    + part(13, part(1, bytes(15) + b"\4") + part(2, bytes(8)))
    + part(15, part(2, b"bad") + b"\x18\2") + b"\x85\x01" + struct.pack("<I", 257)
    + part(99, b"unknown") + b"\xf8\x3f\x01"
)  # fmt: skip
READ: Span = {
    "trace_id": base64.b64encode(bytes(15) + b"\1").decode(),
    "span_id": base64.b64encode(bytes(7) + b"\2").decode(),
    "parent_span_id": base64.b64encode(bytes(7) + b"\3").decode(),
    "flags": 257,
    "name": "größe",
    "kind": "SPAN_KIND_SERVER",
    "start_time_unix_nano": 2**63 + 1,
    "end_time_unix_nano": 2**64 - 1,
    "attributes": [
        {"key": "text", "value": {"string_value": "x"}},
        {"key": "flag", "value": {"bool_value": False}},
        {"key": "whole", "value": {"int_value": -5}},
        {"key": "real", "value": {"double_value": 0.1}},
        {"key": "nan", "value": {"double_value": "NaN"}},
        {"key": "list", "value": {"array_value": {"values": [{"int_value": 1}, {}]}}},
        {"key": "bytes", "value": {"bytes_value": "/w=="}},
        {"key": "map", "value": {"kvlist_value": {"values": [{"key": "k", "value": {"string_value": "v"}}]}}},
    ],
    "events": [{"time_unix_nano": 7, "name": "event"}],
    "links": [
        {"trace_id": base64.b64encode(bytes(15) + b"\4").decode(), "span_id": base64.b64encode(bytes(8)).decode()}
    ],
    "status": {"code": "STATUS_CODE_ERROR", "message": "bad"},
}


def test_protobuf_is_read_exactly() -> None:
    """Every kind of value; what is not known is skipped."""
    found = in_protobuf.read(request(SPAN)).groups[0]

    assert [READ] == found.spans
    assert {"service.name": "shop"} == spans.attributes(found.resource)


def test_json_is_read_as_protobuf_is() -> None:
    """Names in camelCase, identities in hexadecimal digits, integers as texts."""
    sent = {
        "traceId": "0" * 31 + "1", "spanId": "0" * 15 + "2", "parentSpanId": "0" * 15 + "3", "name": "größe", "kind": 2,
        "flags": 257, "startTimeUnixNano": str(2**63 + 1), "endTimeUnixNano": 2**64 - 1, "unknown": 1,
        "attributes": [
            {"key": "text", "value": {"stringValue": "x"}}, {"key": "flag", "value": {"boolValue": False}},
            {"key": "whole", "value": {"intValue": "-5"}}, {"key": "real", "value": {"doubleValue": 0.1}},
            {"key": "nan", "value": {"doubleValue": "NaN"}},
            {"key": "list", "value": {"arrayValue": {"values": [{"intValue": 1}, {}]}}},
            {"key": "bytes", "value": {"bytesValue": "/w=="}},
            {"key": "map", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"stringValue": "v"}}]}}},
        ],
        "events": [{"timeUnixNano": "7", "name": "event"}],
        "links": [{"traceId": "0" * 31 + "4", "spanId": "0" * 16}],
        "status": {"code": 2, "message": "bad"},
    }  # fmt: skip
    found = in_json.read(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [sent]}]}]}).encode())

    assert [READ] == found.groups[0].spans


def test_spans_without_identity_are_rejected_one_by_one() -> None:
    none = part(1, bytes(16)) + part(2, b"12345678")
    short = part(1, b"x") + part(2, b"12345678")
    found = in_protobuf.read(request(none, SPAN, short))

    assert (2, 1) == (found.rejected, len(found.groups[0].spans))
    assert "trace_id" in found.why


def nested(depth: int) -> bytes:
    value = b""
    for _ in range(depth):
        value = part(5, part(1, value))
    return request(SPAN + attribute("deep", value))


def test_what_is_nested_without_end_is_refused() -> None:
    in_protobuf.read(nested(received.MAX_DEPTH))
    for depth in (received.MAX_DEPTH + 2, 2000):
        with pytest.raises(Invalid):
            in_protobuf.read(nested(depth))
    deep: dict[str, Any] = {"stringValue": "x"}
    for _ in range(100):
        deep = {"arrayValue": {"values": [deep]}}
    sent = {"traceId": "1" * 32, "spanId": "1" * 16, "attributes": [{"key": "a", "value": deep}]}
    with pytest.raises(Invalid):
        in_json.read(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [sent]}]}]}).encode())


def test_many_small_parts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bytes each on the line, and a mapping each in memory."""
    monkeypatch.setattr(received, "MAX_PARTS", 1000)
    for data in (request(SPAN + part(9, b"") * 1100), part(1, b"") * 1001, request(*[SPAN] * 100)):
        with pytest.raises(Invalid):
            in_protobuf.read(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a", b"\x0a\x05", b"\x00\x01", b"\x0b", b"\xff" * 11, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x08\x01", request(part(5, b"\xff")), request(b"\x08\x01"), request(b"\x3a\x01x"),
    ],
)  # fmt: skip
def test_damaged_protobuf_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        in_protobuf.read(data)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_comes_is_read_or_refused(data: st.DataObject) -> None:
    """Nothing but `Invalid` comes of damage; and what is read can be kept and read again."""
    raw = bytearray(request(SPAN, SPAN))
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.integers(0, 2)):
            case 0:
                raw[at] = data.draw(st.integers(0, 255))
            case 1:
                del raw[at]
            case 2:
                raw[at:at] = data.draw(st.binary(max_size=4))
    for read, sent in ((in_protobuf.read, bytes(raw)), (in_json.read, bytes(raw))):
        try:
            found = read(sent)
        except Invalid:
            continue
        kept = [one for group in found.groups for one in group.spans]
        assert kept == spans.decode(spans.encode(kept))
        for one in kept:
            spans.content(one)
        if kept:
            spans.summary(kept)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
            st.sampled_from(["resourceSpans", "scopeSpans", "spans", "traceId", "spanId", "attributes", "key", "value",
                             "arrayValue", "values", "intValue", "doubleValue", "events", "status", "code"]), inner),
        max_leaves=20,
    )
)  # fmt: skip
def test_whatever_json_comes_is_read_or_refused(found: Any) -> None:
    with suppress(Invalid):
        in_json.read(json.dumps(found).encode())
