"""`POST /v1/traces`: spans of every exporter that speaks OTLP over HTTP, MLflow's own client among them.

The header `x-mlflow-experiment-id` says where they belong. What cannot be kept of a request that is whole is named in
the answer (partial success); what is not whole is refused, and nothing of it kept.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from stellwerk.core.errors import Invalid, StellwerkError
from stellwerk.tracking import spans
from stellwerk.tracking.otlp import in_json, in_protobuf
from stellwerk.tracking.otlp.received import Received
from stellwerk.tracking.spans import Span
from stellwerk.web.doors.mlflow import errors, trace_messages
from stellwerk.web.doors.mlflow.calls import Plain, plain_routes
from stellwerk.web.doors.mlflow.wire import SOME_TEXT, TEXT
from stellwerk.web.routing import Guard, GuardedRoute
from stellwerk.workspace.rooms import Rooms

PATH = "/v1/traces"
EXPERIMENT, RUN = "x-mlflow-experiment-id", "x-mlflow-run-id"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
MAX_BODY = 32 << 20
MAX_INFLATED = 64 << 20
"""Bytes of a request as it was sent, and as it is read."""
HIDDEN = ("telemetry.sdk.", "mlflow.")
"""What a resource says of its library and in MLflow's name becomes no tag."""
_GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 503: 14}
"""Status codes of gRPC by those of HTTP, for `google.rpc.Status`."""


def routes(rooms: Rooms, guard: Guard) -> list[GuardedRoute]:
    """The one route."""

    async def export(request: Request) -> Response:
        """Keep spans, as exporters send them over HTTP."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            if kind not in (PROTOBUF, JSON):
                raise Invalid(
                    f"Invalid Content-Type: {kind[:60]}. Expected: {PROTOBUF} or {JSON}",
                    code="unsupported-media-type",
                )
            encoding = request.headers.get("content-encoding", "identity").strip().lower()
            body = await _body(request)
            experiment, run = request.headers.get(EXPERIMENT, ""), request.headers.get(RUN, "")
            received = await run_in_threadpool(_keep, rooms, experiment, run, kind, encoding, body)
        except StellwerkError as error:
            return _refusal(error, kind, own=request.headers.get("user-agent", "").startswith("mlflow-"))
        return Response(_answer(received, kind), media_type=kind)

    export.__name__ = "otlp traces"
    described = Plain(
        "POST",
        PATH,
        "runs:write",
        export,
        headers={EXPERIMENT: SOME_TEXT, RUN: TEXT, "content-encoding": TEXT},
        takes=(PROTOBUF, JSON),
        gives={PROTOBUF: None, JSON: trace_messages.Exported},
        fails={PROTOBUF: None, JSON: trace_messages.ExportRefused},
        roots=("",),
    )
    return plain_routes([described], guard)


def _keep(rooms: Rooms, experiment: str, run: str, kind: str, encoding: str, body: bytes) -> Received:
    if not experiment:
        raise Invalid(
            f"the header {EXPERIMENT} is missing",
            code="invalid-arguments",
            hint=f"set OTEL_EXPORTER_OTLP_TRACES_HEADERS={EXPERIMENT}=<id of an experiment>",
        )
    data = inflated(body, encoding)
    received = in_protobuf.read(data) if kind == PROTOBUF else in_json.read(data)
    if not received.groups:
        raise Invalid("Invalid OpenTelemetry format - no spans found", code="invalid-otlp")
    of: dict[str, list[Span]] = defaultdict(list)
    labels: dict[str, dict[str, str]] = defaultdict(dict)
    for group in received.groups:
        said = {
            key: spans.spelled(value)
            for key, value in spans.attributes(group.resource).items()
            if value is not None and not key.startswith(HIDDEN)
        }
        for span in group.spans:
            trace = spans.trace_of(span)
            of[trace].append(span)
            labels[trace] |= said
    if of:
        rooms.collector.log(experiment, of, labels)
        if run:
            rooms.traces.link_all(of, run)
    return received


def inflated(body: bytes, encoding: str, most: int = MAX_INFLATED) -> bytes:
    """A body as it was before it was sent. Raises `Invalid` for what is no such thing, or would become too large."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise Invalid(f"Unsupported Content-Encoding: {encoding[:20]}", code="unsupported-media-type")
    # Deflate is sent with a header, and by some without.
    bare = encoding == "deflate" and (len(body) < 2 or body[0] & 15 != 8 or int.from_bytes(body[:2], "big") % 31 != 0)
    bits = zlib.MAX_WBITS | 16 if encoding == "gzip" else -zlib.MAX_WBITS if bare else zlib.MAX_WBITS
    parts: list[bytes] = []
    size, rest = 0, body
    try:
        while rest:
            reader = zlib.decompressobj(bits)
            parts.append(reader.decompress(rest, most - size + 1))
            size += len(parts[-1])
            if size > most:
                raise Invalid(f"the request is larger than {most:,} bytes", code="too-large")
            if not reader.eof:
                raise Invalid(f"Failed to decompress {encoding} payload", code="invalid-encoding")
            rest = reader.unused_data if encoding == "gzip" else b""
    except zlib.error as cause:
        raise Invalid(f"Failed to decompress {encoding} payload", code="invalid-encoding") from cause
    return b"".join(parts)


async def _body(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise Invalid(f"the request is larger than {MAX_BODY:,} bytes", code="too-large")
        parts.append(chunk)
    return b"".join(parts)


def _answer(received: Received, kind: str) -> bytes:
    """`ExportTraceServiceResponse`: empty where everything was kept."""
    if kind == JSON:
        partial = {"rejectedSpans": str(received.rejected), "errorMessage": received.why}
        return json.dumps({"partialSuccess": partial} if received.rejected else {}).encode()
    if not received.rejected:
        return b""
    return _field(1, b"\x08" + _varint(received.rejected) + _field(2, received.why.encode()))


def _refusal(error: StellwerkError, kind: str, *, own: bool) -> Response:
    """MLflow's client reads its own errors; others read `google.rpc.Status`."""
    plain = errors.respond(error)
    if own or kind not in (PROTOBUF, JSON):
        return plain
    code, message = _GRPC.get(plain.status_code, 2), json.loads(bytes(plain.body))["message"]
    if kind == JSON:
        return Response(json.dumps({"code": code, "message": message}), plain.status_code, media_type=JSON)
    return Response(b"\x08" + _varint(code) + _field(2, message.encode()), plain.status_code, media_type=PROTOBUF)


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)
