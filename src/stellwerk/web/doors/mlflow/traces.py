"""Calls about traces: the present ones, and those of clients before 3.0."""

from __future__ import annotations

import json
import math
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.tracking import spans
from stellwerk.tracking.traced import SIZE_KEY, SPANS_HERE, SPANS_TAG, Found, complete
from stellwerk.web.doors.mlflow import messages, trace_messages, trace_shapes, wire
from stellwerk.web.doors.mlflow.calls import BYTES, Calls, Plain, plain_routes
from stellwerk.web.doors.mlflow.trace_shapes import INFO, OLD_NAMES
from stellwerk.web.doors.mlflow.waiting import NotYet
from stellwerk.web.doors.mlflow.wire import (
    ANY,
    FLAG,
    INTEGER,
    PAIRS,
    SOME_TEXT,
    TEXT,
    TEXTS,
    Ask,
    Field,
    row,
)
from stellwerk.web.routing import Guard, GuardedRoute
from stellwerk.workspace.rooms import Rooms

CALLS = Calls("/3.0/mlflow")
OLD_CALLS = Calls("/2.0/mlflow")
MOST = 500
USUAL = 100
MOST_SPANS = 200_000
"""In one answer about several traces."""
PATIENCE = 1.7
"""Seconds that a request for a trace waits for spans that are on their way. MLflow's own server waits for three."""
ON_THEIR_WAY = 0.35
"""Seconds to wait for spans that clients since 3.5 send at the same time: where the answer does not say that they are
here, they are sent again as a file."""
FILE = "traces.json"

SOME_TEXTS = Field(many=True, must=True)
SEARCH = {
    "filter": TEXT,
    "max_results": Field(kind="integer", most=MOST),
    "order_by": TEXTS,
    "page_token": TEXT,
}
DELETE = {"experiment_id": SOME_TEXT, "max_timestamp_millis": INTEGER, "max_traces": INTEGER, "request_ids": TEXTS}


@CALLS.add("POST", "traces", "runs:write", trace=Field(kind="row", must=True, inner={"trace_info": row(**INFO)}))
def tell(rooms: Rooms, ask: Ask) -> trace_messages.OneTrace:
    """Keep what the client tells of a trace when it is over."""
    info = ask.row("trace").row("trace_info")
    told = trace_shapes.read_trace(info)
    said = [trace_shapes.read_assessment(one, told.id) for one in info.rows("assessments")]
    found = rooms.traces.tell(told, said)
    if SPANS_TAG not in found.trace.tags and SIZE_KEY in found.trace.metadata:
        raise NotYet(told.id, ON_THEIR_WAY, partial(_told, rooms, told.id))
    return {"trace": {"trace_info": trace_shapes.trace(found)}}


def _told(rooms: Rooms, trace: str, last: bool) -> trace_messages.OneTrace:
    found = rooms.traces.get(trace)
    if SPANS_TAG not in found.trace.tags and not last:
        raise NotYet(trace, ON_THEIR_WAY, partial(_told, rooms, trace))
    return {"trace": {"trace_info": trace_shapes.trace(found)}}


@CALLS.add("GET", "traces/get", "runs:read", trace_id=SOME_TEXT, allow_partial=FLAG)
def get(rooms: Rooms, ask: Ask) -> trace_messages.OneTrace:
    """A trace with its spans."""
    return _whole(rooms, ask.text("trace_id"), ask.flag("allow_partial"))


def _whole(rooms: Rooms, trace: str, some: bool, last: bool = False) -> trace_messages.OneTrace:
    found = rooms.traces.get(trace)
    if some or complete(found.trace, sum(part.spans for part in found.trace.parts)):  # else none need be read
        there = rooms.collector.spans(found.trace)
        if some or complete(found.trace, len(there)):
            return {"trace": {"trace_info": trace_shapes.trace(found), "spans": there}}
    if found.trace.tags.get(SPANS_TAG) != SPANS_HERE:
        raise Invalid("Trace data not stored in tracking store", code="wrong-state")
    if not last:
        raise NotYet(trace, PATIENCE, partial(_whole, rooms, trace, some))
    raise NotFound(f"Trace with ID {trace} is not fully exported yet, please try again later.")


@CALLS.add("GET", "traces/batchGet", "runs:read", trace_ids=SOME_TEXTS, experiment_ids=TEXTS)
def get_many(rooms: Rooms, ask: Ask) -> trace_messages.Traces:
    """Those of some traces whose spans are all here."""
    shown: list[trace_messages.Trace] = []
    count = 0
    for found in _among(rooms, ask):
        there = rooms.collector.spans(found.trace)
        count += len(there)
        if count > MOST_SPANS:
            raise Invalid(f"these traces have more than {MOST_SPANS:,} spans", code="too-many", hint="ask for fewer")
        if complete(found.trace, len(there)):
            shown.append({"trace_info": trace_shapes.trace(found), "spans": there})
    return {"traces": shown}


@CALLS.add("GET", "traces/batchGetInfos", "runs:read", trace_ids=SOME_TEXTS, experiment_ids=TEXTS)
@CALLS.add("POST", "traces/batchGetInfos", "runs:read", trace_ids=SOME_TEXTS, experiment_ids=TEXTS)
def get_infos(rooms: Rooms, ask: Ask) -> trace_messages.TraceInfos:
    """What is known of some traces, without spans."""
    return {"trace_infos": [trace_shapes.trace(found) for found in _among(rooms, ask)]}


@CALLS.add("GET", "traces/{trace_id}", "runs:read")
def get_info(rooms: Rooms, ask: Ask) -> trace_messages.OneTrace:
    """What is known of a trace, without spans."""
    return {"trace": {"trace_info": trace_shapes.trace(rooms.traces.get(ask.path["trace_id"]))}}


@CALLS.add(
    "POST", "traces/search", "runs:read",
    locations=Field(
        kind="row", many=True, must=True, inner={"type": ANY, "mlflow_experiment": row(experiment_id=SOME_TEXT)}
    ),
    **SEARCH,
)  # fmt: skip
def search(rooms: Rooms, ask: Ask) -> trace_messages.FoundTraces:
    """Traces of some experiments that meet a filter."""
    homes = [one.row("mlflow_experiment").text("experiment_id") for one in ask.rows("locations")]
    shown, token = _search(rooms, ask, [home for home in homes if home])
    return {"traces": [trace_shapes.trace(found) for found in shown], **token}


def set_tag(rooms: Rooms, ask: Ask) -> None:
    """Set a tag of a trace."""
    rooms.traces.tag(ask.path["trace_id"], ask.text("key"), ask.text("value"))


def delete_tag(rooms: Rooms, ask: Ask) -> None:
    """Take a tag of a trace away."""
    rooms.traces.tag(ask.path["trace_id"], ask.text("key"), None)


def delete(rooms: Rooms, ask: Ask) -> trace_messages.Deleted:
    """Delete traces of an experiment, some or the oldest ones."""
    until = ask.integer("max_timestamp_millis") if "max_timestamp_millis" in ask else None
    most = ask.integer("max_traces") if "max_traces" in ask else None
    some = ask.texts("request_ids")
    if until is None and not some:
        raise Invalid("Either `max_timestamp_millis` or `trace_ids` must be specified.", code="invalid-arguments")
    if until is not None and some:
        raise Invalid(
            "Only one of `max_timestamp_millis` and `trace_ids` can be specified.", code="invalid-arguments"
        )
    if some and most is not None:
        raise Invalid("`max_traces` can't be specified if `trace_ids` is specified.", code="invalid-arguments")
    if most is not None and most <= 0:
        raise Invalid(f"`max_traces` must be a positive integer, received {most}.", code="invalid-arguments")
    deleted = rooms.traces.delete(ask.text("experiment_id"), until=until, most=most, traces=some)
    return {"traces_deleted": deleted}


for _calls in (CALLS, OLD_CALLS):
    _calls.add("PATCH", "traces/{trace_id}/tags", "runs:write", key=SOME_TEXT, value=TEXT)(set_tag)
    _calls.add("DELETE", "traces/{trace_id}/tags", "runs:write", key=SOME_TEXT)(delete_tag)
    _calls.add("POST", "traces/delete-traces", "runs:write", **DELETE)(delete)


@CALLS.add(
    "POST", "traces/calculate-filter-correlation", "runs:read",
    experiment_ids=SOME_TEXTS, filter_string1=SOME_TEXT, filter_string2=SOME_TEXT, base_filter=TEXT,
)  # fmt: skip
def correlate(rooms: Rooms, ask: Ask) -> trace_messages.Correlation:
    """How often two filters find the same traces."""
    found = rooms.traces.correlation(
        ask.texts("experiment_ids"), ask.text("filter_string1"), ask.text("filter_string2"), ask.text("base_filter")
    )
    said: trace_messages.Correlation = {
        "filter1_count": found.first,
        "filter2_count": found.second,
        "joint_count": found.joint,
        "total_count": found.total,
    }
    if not math.isnan(found.npmi):
        said["npmi"] = found.npmi
    if not math.isnan(found.smoothed):
        said["npmi_smoothed"] = found.smoothed
    return said


@OLD_CALLS.add("POST", "traces/link-to-run", "runs:write", trace_ids=SOME_TEXTS, run_id=SOME_TEXT)
def link_to_run(rooms: Rooms, ask: Ask) -> None:
    """Say to which run traces belong."""
    rooms.traces.link(ask.texts("trace_ids"), "run", [ask.text("run_id")])


@OLD_CALLS.add(
    "POST", "traces/link-prompts", "runs:write",
    trace_id=SOME_TEXT,
    prompt_versions=Field(kind="row", many=True, must=True, inner={"name": SOME_TEXT, "version": SOME_TEXT}),
)  # fmt: skip
def link_prompts(rooms: Rooms, ask: Ask) -> None:
    """Say which versions of prompts a trace used, which clients do while it goes on."""
    prompts = [f"{one.text('name')}/{one.text('version')}" for one in ask.rows("prompt_versions")]
    rooms.traces.link([ask.text("trace_id")], "prompt", prompts)


@OLD_CALLS.add(
    "POST", "traces", "runs:write",
    experiment_id=SOME_TEXT, timestamp_ms=INTEGER, request_metadata=PAIRS, tags=PAIRS,
)  # fmt: skip
def begin(rooms: Rooms, ask: Ask) -> trace_messages.OneOldTrace:
    """Begin a trace, as clients before 3.0 do."""
    metadata, tags = dict(ask.pairs("request_metadata")), dict(ask.pairs("tags"))
    made = rooms.traces.begin(ask.text("experiment_id"), ask.integer("timestamp_ms"), metadata, tags)
    return {"trace_info": trace_shapes.old_trace(made)}


@OLD_CALLS.add(
    "PATCH", "traces/{trace_id}", "runs:write",
    timestamp_ms=INTEGER, status=Field(names=OLD_NAMES), request_metadata=PAIRS, tags=PAIRS,
)  # fmt: skip
def end(rooms: Rooms, ask: Ask) -> trace_messages.OneOldTrace:
    """End a trace that was begun."""
    changed = rooms.traces.end(
        ask.path["trace_id"],
        ask.integer("timestamp_ms"),
        trace_shapes.MEANT[ask.text("status") or OLD_NAMES[0]],
        dict(ask.pairs("request_metadata")),
        dict(ask.pairs("tags")),
    )
    return {"trace_info": trace_shapes.old_trace(changed)}


@OLD_CALLS.add("GET", "traces/{trace_id}/info", "runs:read")
def old_info(rooms: Rooms, ask: Ask) -> trace_messages.OneOldTrace:
    """What is known of a trace, as clients before 3.0 read it."""
    return {"trace_info": trace_shapes.old_trace(rooms.traces.get(ask.path["trace_id"]))}


@OLD_CALLS.add("GET", "traces", "runs:read", experiment_ids=SOME_TEXTS, **SEARCH)
def old_search(rooms: Rooms, ask: Ask) -> trace_messages.FoundOldTraces:
    """Traces of some experiments that meet a filter, as clients before 3.0 read them."""
    shown, token = _search(rooms, ask, ask.texts("experiment_ids"))
    return {"traces": [trace_shapes.old_trace(found) for found in shown], **token}


def routes(rooms: Rooms, guard: Guard) -> list[GuardedRoute]:
    """The spans of a trace as the file that clients before 3.4 wrote, for pages."""

    async def perform(request: Request) -> Response:
        """The spans of a trace as a file, for pages."""
        trace, path = request.query_params.get("request_id", ""), request.query_params.get("path", "")
        return await run_in_threadpool(_file, rooms, trace, path)

    perform.__name__ = "mlflow get-trace-artifact"
    query = {"request_id": SOME_TEXT, "path": TEXT}
    paths = [f"/{version}/mlflow/get-trace-artifact" for version in ("2.0", "3.0")]
    return plain_routes([Plain("GET", path, "runs:read", perform, query=query, gives=BYTES) for path in paths], guard)


def _file(rooms: Rooms, trace: str, path: str) -> Response:
    if not trace:
        raise Invalid('Request must include the "request_id" query parameter.', code="invalid-arguments")
    found = rooms.traces.get(trace).trace
    there = [] if path else rooms.collector.spans(found)
    data: bytes | None
    if there or (not path and rooms.traces.elsewhere is None):
        data = json.dumps({"spans": [spans.dictionary(one) for one in there]}, ensure_ascii=False).encode()
    else:
        data = (
            rooms.traces.elsewhere(found, f"attachments/{path}" if path else FILE) if rooms.traces.elsewhere else None
        )
    if data is None:
        raise NotFound(f"Trace with ID '{trace}' has no such file.")
    headers = {"content-disposition": f"attachment; filename={FILE}", "x-content-type-options": "nosniff"}
    return Response(data, headers=headers, media_type="application/octet-stream")


def _among(rooms: Rooms, ask: Ask) -> list[Found]:
    wanted = ask.texts("trace_ids")
    if len(wanted) > MOST:
        raise Invalid(f"at most {MOST} traces are read at once, got {len(wanted)}", code="too-many")
    return rooms.traces.among(wanted, ask.texts("experiment_ids") if "experiment_ids" in ask else None)


def _search(rooms: Rooms, ask: Ask, homes: list[str]) -> tuple[list[Found], messages.Next]:
    limit, offset = ask.integer("max_results", USUAL), wire.offset_of(ask.text("page_token"))
    if limit < 1:
        raise wire.invalid("max_results", limit)
    found = rooms.traces.search(
        homes, where=ask.text("filter"), order=ask.texts("order_by"), limit=limit + 1, offset=offset
    )
    shown, token = wire.page(found, limit, offset)
    return list(shown), token
