"""What an exporter sent, whichever way it spelled it: what is kept of it, and how much may come at once."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass, field
from typing import Any

from stellwerk.core.errors import Invalid
from stellwerk.tracking.spans import Span

MAX_SPANS = 20_000
MAX_PARTS = 1_000_000
"""Attributes, events, links and values of one request, all together."""
MAX_DEPTH = 32
"""Levels of values within values."""

KINDS = (
    "",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
)
CODES = ("", "STATUS_CODE_OK", "STATUS_CODE_ERROR")
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


class Counter:
    """How much was read so far."""

    def __init__(self) -> None:
        self._parts = self._spans = 0
        self.received = Received()

    def part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise invalid(f"it has more than {MAX_PARTS:,} parts", code="too-many")

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
            raise invalid(f"it has more than {MAX_SPANS:,} spans", code="too-many")


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


def arranged(span: Span) -> Span:
    """In one order, however it was sent, and without what says nothing."""
    return {name: span[name] for name in _SPELLED if span.get(name) not in (None, 0, "", [])}


def named(names: tuple[str, ...], number: int) -> str:
    return names[number] if number < len(names) else ""


def double(found: Any) -> float | str:
    if isinstance(found, str):
        if found in ("NaN", "Infinity", "-Infinity"):
            return found
        raise invalid("something that should be a number is none")
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise invalid("something that should be a number is none")
    try:
        number = float(found)
    except OverflowError as cause:
        raise invalid("a number is too large") from cause
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def said(given: dict[str, Any]) -> dict[str, Any]:
    return {name: found for name, found in given.items() if found not in (None, 0, "", [])}


def invalid(problem: str, code: str = "invalid-otlp") -> Invalid:
    return Invalid(f"Invalid OpenTelemetry format: {problem}", code=code)
