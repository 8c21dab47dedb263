"""Spans: what a trace consists of, as they are kept (docs/formats/spans.md), put together and summed up.

A span is a mapping as OpenTelemetry's JSON spells it, with names in snake_case, identities in base64 and integers as
numbers of any size. What has the value that is meant when nothing is said, is not said.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stellwerk.core.errors import Corrupt
from stellwerk.tracking.counting import Count

MAGIC = b"stellwerk-spans/1\n"
MEDIA = "application/vnd.stellwerk.spans"
Span = dict[str, Any]

TRACE_ID = "mlflow.traceRequestId"
INPUTS, OUTPUTS, TYPE = "mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.spanType"
USAGE, COST = "mlflow.chat.tokenUsage", "mlflow.llm.cost"
TAG_PREFIX = "mlflow.traceTag."
MAX_PREVIEW = 1000
_TRACE = re.compile(r"[A-Za-z0-9][\w-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What some spans of a trace say of the whole. Times are milliseconds since 1970."""

    start: int
    end: int | None
    rooted: bool
    """Whether the first span is among them."""
    failed: bool
    request: str | None
    response: str | None
    session: str | None
    user: str | None
    tags: dict[str, str] = field(default_factory=dict)


def encode(spans: Iterable[Span]) -> bytes:
    """Spans as bytes. Equal spans in one order give equal bytes."""
    lines = (json.dumps(span, ensure_ascii=False, separators=(",", ":"), allow_nan=False) for span in spans)
    return MAGIC + b"".join(line.encode() + b"\n" for line in lines)


def decode(data: bytes) -> list[Span]:
    """Spans from bytes. Raises `Corrupt`."""
    if not data.startswith(MAGIC):
        raise Corrupt("the spans of a trace are damaged", code="corrupt-spans")
    try:
        # Not by `splitlines`, which finds ends of lines within texts.
        return [json.loads(line) for line in data[len(MAGIC) :].split(b"\n")[:-1]]
    except ValueError as cause:
        raise Corrupt("the spans of a trace are damaged", code="corrupt-spans") from cause


def merged(spans: Iterable[Span]) -> list[Span]:
    """Each span once: what came later replaces what came before, at its place."""
    return list({span["span_id"]: span for span in spans}.values())


def ordered(spans: Iterable[Span]) -> list[Span]:
    """The first span, and then the others by when they began."""
    return sorted(spans, key=lambda span: ("parent_span_id" in span, span.get("start_time_unix_nano", 0)))


def trace_of(span: Span) -> str:
    """The id of the trace that a span belongs to: as the span says, or made of OpenTelemetry's."""
    for pair in span.get("attributes", ()):
        if pair.get("key") == TRACE_ID:
            said = pair.get("value", {}).get("string_value", "")
            if _TRACE.fullmatch(said):
                return str(said)
    return f"tr-{_hex(span['trace_id'])}"


def value(given: Mapping[str, Any]) -> Any:
    """What an attribute holds, as Python knows it. Bytes stay in base64."""
    for kind, found in given.items():
        if kind == "double_value":
            return float(found)
        if kind == "array_value":
            return [value(one) for one in found.get("values", ())]
        if kind == "kvlist_value":
            return attributes(found.get("values", ()))
        return found
    return None


def attributes(pairs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Attributes by their keys."""
    return {pair.get("key", ""): value(pair.get("value", {})) for pair in pairs}


def dictionary(span: Span) -> dict[str, Any]:
    """A span as MLflow's files of traces spell it (Span.to_dict): attributes are JSON within JSON."""
    own = {TRACE_ID: trace_of(span), **attributes(span.get("attributes", ()))}
    status = span.get("status", {})
    return {
        "trace_id": span["trace_id"],
        "span_id": span["span_id"],
        "parent_span_id": span.get("parent_span_id"),
        "name": span.get("name", ""),
        "start_time_unix_nano": span.get("start_time_unix_nano", 0),
        "end_time_unix_nano": span.get("end_time_unix_nano"),
        "events": [
            {
                "name": event.get("name", ""),
                "time_unix_nano": event.get("time_unix_nano", 0),
                "attributes": attributes(event.get("attributes", ())),
            }
            for event in span.get("events", ())
        ],
        "status": {"code": status.get("code", "STATUS_CODE_UNSET"), "message": status.get("message", "")},
        "attributes": {key: json.dumps(found, ensure_ascii=False) for key, found in own.items()},
        "links": [
            {
                "trace_id": f"tr-{_hex(link.get('trace_id', ''))}",
                "span_id": _hex(link.get("span_id", "")),
                "attributes": attributes(link.get("attributes", ())) or None,
            }
            for link in span.get("links", ())
        ],
    }


def content(span: Span) -> str:
    """The text in which `span.content` is sought."""
    return json.dumps(dictionary(span), ensure_ascii=False)


def summary(spans: Sequence[Span]) -> Summary:
    """What spans say of their trace. There must be one at least."""
    ends = [span["end_time_unix_nano"] for span in spans if span.get("end_time_unix_nano")]
    own = {span["span_id"]: attributes(span.get("attributes", ())) for span in spans}
    root = next((span for span in spans if "parent_span_id" not in span), None)
    of_root = own[root["span_id"]] if root is not None else {}
    return Summary(
        start=min(span.get("start_time_unix_nano", 0) for span in spans) // 1_000_000,
        end=max(ends) // 1_000_000 if ends else None,
        rooted=root is not None,
        failed=root is not None and root.get("status", {}).get("code") == "STATUS_CODE_ERROR",
        request=_preview(of_root.get(INPUTS), "user"),
        response=_preview(of_root.get(OUTPUTS), "assistant"),
        session=_first(own.values(), "session.id", "gen_ai.conversation.id"),
        user=_first(own.values(), "user.id"),
        tags={
            key.removeprefix(TAG_PREFIX): spelled(found)
            for key, found in of_root.items()
            if key.startswith(TAG_PREFIX) and found is not None
        },
    )


def counts(spans: Iterable[Span]) -> list[Count]:
    """What each span counts."""
    return [_count(span) for span in spans]


def _count(span: Span) -> Count:
    said: dict[str, dict[str, float]] = {}
    for pair in span.get("attributes", ()):
        key = pair.get("key")
        if key in (USAGE, COST):
            said[key] = _numbers(value(pair.get("value", {})))
    parent = span.get("parent_span_id", "")
    return Count(span=span["span_id"], parent=parent, usage=said.get(USAGE, {}), cost=said.get(COST, {}))


def spelled(found: Any) -> str:
    """A value as text: texts as they are, the rest as JSON."""
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def _hex(encoded: str) -> str:
    return base64.b64decode(encoded).hex()


def _first(of: Iterable[Mapping[str, Any]], *keys: str) -> str | None:
    return next((spelled(one[key]) for one in of for key in keys if one.get(key)), None)


def _numbers(found: Any) -> dict[str, float]:
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            return {}
    if not isinstance(found, dict):
        return {}
    return {
        str(name): number
        for name, number in found.items()
        if isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < 1e15
    }


def _preview(found: Any, role: str) -> str | None:
    """The beginning of what went in or came out; of a chat the last message of its role."""
    if found is None:
        return None
    text = _said(found, role) or spelled(found)
    return text if len(text) <= MAX_PREVIEW else text[: MAX_PREVIEW - 3] + "..."


def _said(found: Any, role: str) -> str | None:
    if not isinstance(found, dict):
        return None
    said = found.get("messages") or [
        choice.get("message") for choice in found.get("choices") or () if isinstance(choice, dict)
    ]
    if not isinstance(said, list):
        return None
    messages = [one for one in said if isinstance(one, dict) and isinstance(one.get("content"), str)]
    of_role = [one for one in messages if one.get("role") == role] or messages
    return str(of_role[-1]["content"]) if of_role else None
