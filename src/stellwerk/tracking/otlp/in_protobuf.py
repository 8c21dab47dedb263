"""Spans in protobuf: the few messages that carry them."""

from __future__ import annotations

import base64
from typing import Any

from stellwerk.core.protobuf import Cursor, Malformed
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
    """The spans of an `ExportTraceServiceRequest`. Raises `Invalid` (`invalid-otlp`)."""
    try:
        return _Protobuf(data).request()
    except Malformed as cause:
        raise invalid(str(cause)) from cause


class _Protobuf(Cursor):
    """The messages that carry spans."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._counter = Counter()

    def request(self) -> Received:
        received = self._counter.received
        for number, found in self.message():
            if number == 1:
                self._counter.part()
                group = Group()
                self._resource_spans(found, group)
                received.groups.append(group)
        for group in received.groups:
            group.spans[:] = [arranged(span) for span in group.spans]
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
                    span["kind"] = named(KINDS, self.count(found))
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
                status["code"] = named(CODES, self.count(found))
        return said({name: status.get(name) for name in ("code", "message")}) or None

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
            raise invalid(f"values are nested deeper than {MAX_DEPTH} levels")
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
                    value = {"double_value": double(self.fixed(found, "<d"))}
                case 5:
                    values = [self._value(one, depth + 1) for name, one in self.inside(found) if name == 1]
                    value = {"array_value": {"values": values}}
                case 6:
                    pairs = [self._pair(one, depth + 1) for name, one in self.inside(found) if name == 1]
                    value = {"kvlist_value": {"values": pairs}}
                case 7:
                    value = {"bytes_value": base64.b64encode(self.bytes_of(found)).decode()}
        return value
