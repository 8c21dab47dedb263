"""Reading spans as OpenTelemetry's exporters send them (OTLP 1.x), in protobuf or JSON.

Only the few messages that carry spans are known; other fields are skipped, as protobuf demands. What is sent is a
stranger's: nesting, counts and sizes are bounded, and whatever is not whole is refused.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stellwerk.core.errors import Invalid
from stellwerk.core.protobuf import Cursor, Malformed
from stellwerk.tracking.spans import Span

MAX_SPANS = 20_000
MAX_PARTS = 1_000_000
"""Attributes, events, links and values of one request, all together."""
MAX_DEPTH = 32
"""Levels of values within values."""

_KINDS = (
    "",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
)
_CODES = ("", "STATUS_CODE_OK", "STATUS_CODE_ERROR")
_NONE = bytes(16)


@dataclass(slots=True)
class Group:
    """Spans of one resource."""

    resource: list[dict[str, Any]] = field(default_factory=list)
    """Attributes of what sent them."""
    spans: list[Span] = field(default_factory=list)


@dataclass(slots=True)
class Received:
    """What a request holds.

    Attributes:
        rejected: How many spans cannot be kept, such as those without identity.
        why: What is wrong with one of them.
    """

    groups: list[Group] = field(default_factory=list)
    rejected: int = 0
    why: str = ""


def read_protobuf(data: bytes) -> Received:
    """The spans of an `ExportTraceServiceRequest`. Raises `Invalid` (`invalid-otlp`)."""
    try:
        return _Protobuf(data).request()
    except Malformed as cause:
        raise _invalid(str(cause)) from cause


def read_json(data: bytes) -> Received:
    """The spans of a request in JSON. Raises `Invalid` (`invalid-otlp`)."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise _invalid("it is not valid JSON") from cause
    return _Json().request(found)


class _Counter:
    """How much was read so far."""

    def __init__(self) -> None:
        self._parts = self._spans = 0
        self.received = Received()

    def part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise _invalid(f"it has more than {MAX_PARTS:,} parts", code="too-many")

    def keep(self, group: Group, span: Span) -> None:
        self.part()
        why = _wrong(span)
        if why:
            self.received.rejected += 1
            self.received.why = why
            return
        group.spans.append(span)
        self._spans += 1
        if self._spans > MAX_SPANS:
            raise _invalid(f"it has more than {MAX_SPANS:,} spans", code="too-many")


def _wrong(span: Span) -> str:
    for name, length in (("trace_id", 16), ("span_id", 8)):
        found: bytes = span.pop(f"raw_{name}", b"")
        if len(found) != length or found == _NONE[:length]:
            return f"a span has no {name} of {length} bytes"
        span[name] = base64.b64encode(found).decode()
    parent: bytes = span.pop("raw_parent_span_id", b"")
    if parent and len(parent) != 8:
        return "a span has no parent_span_id of 8 bytes"
    if parent and parent != _NONE[:8]:
        span["parent_span_id"] = base64.b64encode(parent).decode()
    return ""


_SPELLED = (
    "trace_id", "span_id", "trace_state", "parent_span_id", "flags", "name", "kind", "start_time_unix_nano",
    "end_time_unix_nano", "attributes", "dropped_attributes_count", "events", "dropped_events_count", "links",
    "dropped_links_count", "status",
)  # fmt: skip


def _arranged(span: Span) -> Span:
    """In one order, however it was sent, and without what says nothing."""
    return {name: span[name] for name in _SPELLED if span.get(name) not in (None, 0, "", [])}


class _Protobuf(Cursor):
    """The messages that carry spans."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._counter = _Counter()

    def request(self) -> Received:
        received = self._counter.received
        for number, found in self.message():
            if number == 1:
                self._counter.part()
                group = Group()
                self._resource_spans(found, group)
                received.groups.append(group)
        for group in received.groups:
            group.spans[:] = [_arranged(span) for span in group.spans]
        return received

    def _resource_spans(self, at: Any, group: Group) -> None:
        for number, found in self.inside(at):
            if number == 1:
                group.resource += [self._pair(one, 0) for name, one in self.inside(found) if name == 1]
            elif number == 2:
                for name, one in self.inside(found):
                    if name == 2:
                        self._counter.keep(group, self._span(one))

    def _span(self, at: Any) -> Span:
        span: Span = {"attributes": [], "events": [], "links": []}
        for number, found in self.inside(at):
            match number:
                case 1 | 2 | 4:
                    name = {1: "raw_trace_id", 2: "raw_span_id", 4: "raw_parent_span_id"}[number]
                    span[name] = self.bytes_of(found)
                case 3 | 5:
                    span["trace_state" if number == 3 else "name"] = self.text(found)
                case 6:
                    span["kind"] = _named(_KINDS, self.count(found))
                case 7 | 8:
                    span["start_time_unix_nano" if number == 7 else "end_time_unix_nano"] = self.fixed(found, "<Q")
                case 9:
                    span["attributes"].append(self._pair(found, 0))
                case 10 | 12 | 14:
                    name = {10: "attributes", 12: "events", 14: "links"}[number]
                    span[f"dropped_{name}_count"] = self.count(found) & 0xFFFFFFFF
                case 11:
                    span["events"].append(self._event(found))
                case 13:
                    span["links"].append(self._link(found))
                case 15:
                    span["status"] = self._status(found)
                case 16:
                    span["flags"] = self.fixed(found, "<I")
        return span

    def _event(self, at: Any) -> dict[str, Any]:
        self._counter.part()
        event: dict[str, Any] = {}
        for number, found in self.inside(at):
            match number:
                case 1:
                    event["time_unix_nano"] = self.fixed(found, "<Q")
                case 2:
                    event["name"] = self.text(found)
                case 3:
                    event.setdefault("attributes", []).append(self._pair(found, 0))
                case 4:
                    event["dropped_attributes_count"] = self.count(found) & 0xFFFFFFFF
        return event

    def _link(self, at: Any) -> dict[str, Any]:
        self._counter.part()
        link: dict[str, Any] = {}
        for number, found in self.inside(at):
            match number:
                case 1 | 2:
                    raw = base64.b64encode(self.bytes_of(found)).decode()
                    link["trace_id" if number == 1 else "span_id"] = raw
                case 3:
                    link["trace_state"] = self.text(found)
                case 4:
                    link.setdefault("attributes", []).append(self._pair(found, 0))
                case 5:
                    link["dropped_attributes_count"] = self.count(found) & 0xFFFFFFFF
                case 6:
                    link["flags"] = self.fixed(found, "<I")
        return link

    def _status(self, at: Any) -> dict[str, Any] | None:
        status: dict[str, Any] = {}
        for number, found in self.inside(at):
            if number == 2:
                status["message"] = self.text(found)
            elif number == 3:
                status["code"] = _named(_CODES, self.count(found))
        return _said({name: status.get(name) for name in ("code", "message")}) or None

    def _pair(self, at: Any, depth: int) -> dict[str, Any]:
        self._counter.part()
        pair: dict[str, Any] = {"key": "", "value": {}}
        for number, found in self.inside(at):
            if number == 1:
                pair["key"] = self.text(found)
            elif number == 2:
                pair["value"] = self._value(found, depth)
        return pair

    def _value(self, at: Any, depth: int) -> dict[str, Any]:
        self._counter.part()
        if depth > MAX_DEPTH:
            raise _invalid(f"values are nested deeper than {MAX_DEPTH} levels")
        value: dict[str, Any] = {}
        for number, found in self.inside(at):
            match number:
                case 1:
                    value = {"string_value": self.text(found)}
                case 2:
                    value = {"bool_value": bool(self.count(found))}
                case 3:
                    value = {"int_value": self.integer(found)}
                case 4:
                    value = {"double_value": _double(self.fixed(found, "<d"))}
                case 5:
                    values = [self._value(one, depth + 1) for name, one in self.inside(found) if name == 1]
                    value = {"array_value": {"values": values}}
                case 6:
                    pairs = [self._pair(one, depth + 1) for name, one in self.inside(found) if name == 1]
                    value = {"kvlist_value": {"values": pairs}}
                case 7:
                    value = {"bytes_value": base64.b64encode(self.bytes_of(found)).decode()}
        return value


class _Json:
    """Values that JSON gave. Names may be written in either way; identities are in hexadecimal digits."""

    def __init__(self) -> None:
        self._counter = _Counter()

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
            group.spans[:] = [_arranged(span) for span in group.spans]
        return received

    def _span(self, given: Mapping[str, Any]) -> Span:
        status = _mapping(_get(given, "status") or {})
        return {
            "raw_trace_id": _identity(_get(given, "trace_id", "traceId")),
            "raw_span_id": _identity(_get(given, "span_id", "spanId")),
            "raw_parent_span_id": _identity(_get(given, "parent_span_id", "parentSpanId")),
            "trace_state": _text(_get(given, "trace_state", "traceState")),
            "name": _text(_get(given, "name")),
            "kind": _enumerated(_KINDS, _get(given, "kind")),
            "start_time_unix_nano": _whole(_get(given, "start_time_unix_nano", "startTimeUnixNano")),
            "end_time_unix_nano": _whole(_get(given, "end_time_unix_nano", "endTimeUnixNano")),
            "attributes": self._pairs(given, 0),
            "events": [self._event(_mapping(one)) for one in _rows(given, "events")],
            "links": [self._link(_mapping(one)) for one in _rows(given, "links")],
            "dropped_attributes_count": _whole(_get(given, "dropped_attributes_count", "droppedAttributesCount")),
            "dropped_events_count": _whole(_get(given, "dropped_events_count", "droppedEventsCount")),
            "dropped_links_count": _whole(_get(given, "dropped_links_count", "droppedLinksCount")),
            "flags": _whole(_get(given, "flags")),
            "status": _said(
                {"code": _enumerated(_CODES, _get(status, "code")), "message": _text(_get(status, "message"))}
            )
            or None,
        }

    def _event(self, given: Mapping[str, Any]) -> dict[str, Any]:
        self._counter.part()
        return _said(
            {
                "time_unix_nano": _whole(_get(given, "time_unix_nano", "timeUnixNano")),
                "name": _text(_get(given, "name")),
                "attributes": self._pairs(given, 0),
                "dropped_attributes_count": _whole(_get(given, "dropped_attributes_count", "droppedAttributesCount")),
            }
        )

    def _link(self, given: Mapping[str, Any]) -> dict[str, Any]:
        self._counter.part()
        return _said(
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
            raise _invalid(f"values are nested deeper than {MAX_DEPTH} levels")
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
        raise _invalid("something that should be an object is none")
    return found


def _rows(given: Any, *names: str) -> list[Any]:
    found = _get(_mapping(given), *names)
    if found is None:
        return []
    if not isinstance(found, list):
        raise _invalid(f"{names[-1]} is no list")
    return found


def _text(found: Any) -> str:
    if found is None:
        return ""
    if not isinstance(found, str):
        raise _invalid("something that should be a text is none")
    return found


def _whole(found: Any, least: int = 0, most: int = 2**64 - 1) -> int:
    if found is None:
        return 0
    if isinstance(found, str) and len(found) <= 20 and found.isascii() and found.removeprefix("-").isdecimal():
        found = int(found)
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
        raise _invalid("something that should be an integer of 64 bits is none")
    return found


def _identity(found: Any) -> bytes:
    try:
        return bytes.fromhex(_text(found)) if found is not None else b""
    except ValueError as cause:
        raise _invalid("an identity is not in hexadecimal digits") from cause


def _enumerated(names: tuple[str, ...], found: Any) -> str:
    if isinstance(found, str) and not found.isdecimal():
        return found if found in names else ""
    return _named(names, _whole(found))


def _named(names: tuple[str, ...], number: int) -> str:
    return names[number] if number < len(names) else ""


def _double(found: Any) -> float | str:
    if isinstance(found, str):
        if found in ("NaN", "Infinity", "-Infinity"):
            return found
        raise _invalid("something that should be a number is none")
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise _invalid("something that should be a number is none")
    try:
        number = float(found)
    except OverflowError as cause:
        raise _invalid("a number is too large") from cause
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _boolean(found: Any) -> bool:
    if not isinstance(found, bool):
        raise _invalid("something that should be true or false is neither")
    return found


def _base64(found: Any) -> str:
    try:
        return base64.b64encode(base64.b64decode(_text(found), validate=True)).decode()
    except ValueError as cause:
        raise _invalid("bytes are not in base64") from cause


def _said(given: dict[str, Any]) -> dict[str, Any]:
    return {name: found for name, found in given.items() if found not in (None, 0, "", [])}


_PLAIN: dict[str, Callable[[Any], Any]] = {
    "string_value": _text,
    "bool_value": _boolean,
    "int_value": lambda found: _whole(found, -(2**63), 2**63 - 1),
    "double_value": _double,
    "bytes_value": _base64,
}
_VALUES = {
    spelling: kind
    for kind in (*_PLAIN, "array_value", "kvlist_value")
    for spelling in (kind, kind.split("_")[0] + "Value")
}


def _invalid(problem: str, code: str = "invalid-otlp") -> Invalid:
    return Invalid(f"Invalid OpenTelemetry format: {problem}", code=code)
