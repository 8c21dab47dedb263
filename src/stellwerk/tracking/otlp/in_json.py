"""Spans in JSON, as OpenTelemetry and protobuf spell its names."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from stellwerk.tracking.otlp.received import (
    CODES,
    KINDS,
    MAX_DEPTH,
    Counter,
    Group,
    Received,
    arranged,
    double,
    invalid,
    named,
    said,
)
from stellwerk.tracking.spans import Span


def read(data: bytes) -> Received:
    """The spans of a request in JSON. Raises `Invalid` (`invalid-otlp`)."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise invalid("it is not valid JSON") from cause
    return _Json().request(found)


class _Json:
    """Values that JSON gave. Names may be written in either way; identities are in hexadecimal digits."""

    def __init__(self) -> None:
        self._counter = Counter()

    def request(self, found: Any) -> Received:
        received = self._counter.received
        for item in _rows(found, "resource_spans", "resourceSpans"):
            self._counter.part()
            group = Group()
            resource = _get(_mapping(item), "resource") or {}
            group.resource += self._pairs(_mapping(resource), 0)
            for scope in _rows(item, "scope_spans", "scopeSpans"):
                for span in _rows(scope, "spans"):
                    self._counter.keep(group, self._span(_mapping(span)))
            received.groups.append(group)
        for group in received.groups:
            group.spans[:] = [arranged(span) for span in group.spans]
        return received

    def _span(self, given: Mapping[str, Any]) -> Span:
        status = _mapping(_get(given, "status") or {})
        return {
            "raw_trace_id": _identity(_get(given, "trace_id", "traceId")),
            "raw_span_id": _identity(_get(given, "span_id", "spanId")),
            "raw_parent_span_id": _identity(_get(given, "parent_span_id", "parentSpanId")),
            "trace_state": _text(_get(given, "trace_state", "traceState")),
            "name": _text(_get(given, "name")),
            "kind": _enumerated(KINDS, _get(given, "kind")),
            "start_time_unix_nano": _whole(_get(given, "start_time_unix_nano", "startTimeUnixNano")),
            "end_time_unix_nano": _whole(_get(given, "end_time_unix_nano", "endTimeUnixNano")),
            "attributes": self._pairs(given, 0),
            "events": [self._event(_mapping(one)) for one in _rows(given, "events")],
            "links": [self._link(_mapping(one)) for one in _rows(given, "links")],
            "dropped_attributes_count": _whole(_get(given, "dropped_attributes_count", "droppedAttributesCount")),
            "dropped_events_count": _whole(_get(given, "dropped_events_count", "droppedEventsCount")),
            "dropped_links_count": _whole(_get(given, "dropped_links_count", "droppedLinksCount")),
            "flags": _whole(_get(given, "flags")),
            "status": said(
                {"code": _enumerated(CODES, _get(status, "code")), "message": _text(_get(status, "message"))}
            )
            or None,
        }

    def _event(self, given: Mapping[str, Any]) -> dict[str, Any]:
        self._counter.part()
        return said(
            {
                "time_unix_nano": _whole(_get(given, "time_unix_nano", "timeUnixNano")),
                "name": _text(_get(given, "name")),
                "attributes": self._pairs(given, 0),
                "dropped_attributes_count": _whole(_get(given, "dropped_attributes_count", "droppedAttributesCount")),
            }
        )

    def _link(self, given: Mapping[str, Any]) -> dict[str, Any]:
        self._counter.part()
        return said(
            {
                "trace_id": base64.b64encode(_identity(_get(given, "trace_id", "traceId"))).decode(),
                "span_id": base64.b64encode(_identity(_get(given, "span_id", "spanId"))).decode(),
                "trace_state": _text(_get(given, "trace_state", "traceState")),
                "attributes": self._pairs(given, 0),
                "dropped_attributes_count": _whole(_get(given, "dropped_attributes_count", "droppedAttributesCount")),
                "flags": _whole(_get(given, "flags")),
            }
        )

    def _pairs(self, given: Mapping[str, Any], depth: int, name: str = "attributes") -> list[dict[str, Any]]:
        return [
            {"key": _text(_get(pair, "key")), "value": self._value(_get(pair, "value") or {}, depth)}
            for pair in map(_mapping, _rows(given, name))
        ]

    def _value(self, given: Any, depth: int) -> dict[str, Any]:
        self._counter.part()
        if depth > MAX_DEPTH:
            raise invalid(f"values are nested deeper than {MAX_DEPTH} levels")
        for name, found in _mapping(given).items():
            kind = _VALUES.get(name)
            if found is None or kind is None:
                continue
            if kind == "array_value":
                values = [self._value(one or {}, depth + 1) for one in _rows(_mapping(found), "values")]
                return {kind: {"values": values}}
            if kind == "kvlist_value":
                return {kind: {"values": self._pairs(_mapping(found), depth + 1, "values")}}
            return {kind: _PLAIN[kind](found)}
        return {}


def _get(given: Mapping[str, Any], *names: str) -> Any:
    return next((given[name] for name in names if given.get(name) is not None), None)


def _mapping(found: Any) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise invalid("something that should be an object is none")
    return found


def _rows(given: Any, *names: str) -> list[Any]:
    found = _get(_mapping(given), *names)
    if found is None:
        return []
    if not isinstance(found, list):
        raise invalid(f"{names[-1]} is no list")
    return found


def _text(found: Any) -> str:
    if found is None:
        return ""
    if not isinstance(found, str):
        raise invalid("something that should be a text is none")
    return found


def _whole(found: Any, least: int = 0, most: int = 2**64 - 1) -> int:
    if found is None:
        return 0
    if isinstance(found, str) and len(found) <= 20 and found.isascii() and found.removeprefix("-").isdecimal():
        found = int(found)
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
        raise invalid("something that should be an integer of 64 bits is none")
    return found


def _identity(found: Any) -> bytes:
    try:
        return bytes.fromhex(_text(found)) if found is not None else b""
    except ValueError as cause:
        raise invalid("an identity is not in hexadecimal digits") from cause


def _enumerated(names: tuple[str, ...], found: Any) -> str:
    if isinstance(found, str) and not found.isdecimal():
        return found if found in names else ""
    return named(names, _whole(found))


def _boolean(found: Any) -> bool:
    if not isinstance(found, bool):
        raise invalid("something that should be true or false is neither")
    return found


def _base64(found: Any) -> str:
    try:
        return base64.b64encode(base64.b64decode(_text(found), validate=True)).decode()
    except ValueError as cause:
        raise invalid("bytes are not in base64") from cause


_PLAIN: dict[str, Callable[[Any], Any]] = {
    "string_value": _text,
    "bool_value": _boolean,
    "int_value": lambda found: _whole(found, -(2**63), 2**63 - 1),
    "double_value": double,
    "bytes_value": _base64,
}
_VALUES = {
    spelling: kind
    for kind in (*_PLAIN, "array_value", "kvlist_value")
    for spelling in (kind, kind.split("_")[0] + "Value")
}
