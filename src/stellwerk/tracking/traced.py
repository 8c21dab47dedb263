"""What is known of traces: a row each, the spans of which are blobs that it names, and what was said of it.

What is done with them is in `traces`, how they are found in `sought`.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from stellwerk.core.digest import Digest
from stellwerk.ledger.ports import Reader
from stellwerk.ledger.shelf import Shelf
from stellwerk.ledger.sought import Said, SoughtShelf

State = Literal["unspecified", "running", "ok", "failed"]
Kind = Literal["feedback", "expectation", "issue"]

NAME_TAG = "mlflow.traceName"
LOCATION_TAG = "mlflow.artifactLocation"
SPANS_TAG = "mlflow.trace.spansLocation"
SPANS_HERE = "TRACKING_STORE"
OURS = (LOCATION_TAG, SPANS_TAG, "mlflow.trace.archiveLocation", "mlflow.trace.archivalFailure")
"""Tags that say where things are: nobody else sets them."""
RUN_KEY = "mlflow.sourceRun"
SIZE_KEY = "mlflow.trace.sizeStats"
USER_KEY, SESSION_KEY = "mlflow.trace.user", "mlflow.trace.session"
USAGE_KEY, COST_KEY = "mlflow.trace.tokenUsage", "mlflow.trace.cost"
"""Metadata that clients and pages read."""

_AT_ONCE, _AT_MOST = 250, 16_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some spans of a trace, as one blob."""

    digest: Digest
    spans: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One request to an application, and how it went. Times are milliseconds since 1970."""

    id: str
    experiment: str
    at: int
    duration: int | None = None
    state: State = "unspecified"
    client_id: str | None = None
    """What the application itself calls the request."""
    request: str | None = None
    response: str | None = None
    """The beginnings of what was asked and answered."""
    tags: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    told: bool = False
    """Whether the application told of it as a whole: spans that come later do not change what it told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What a person, a judge or a program said of a trace or of a span of it."""

    trace: str
    id: str
    name: str
    """Of an issue, its id."""
    kind: Kind
    value: str
    """JSON; of an issue its name."""
    error: dict[str, str] | None = None
    source_kind: str = "SOURCE_TYPE_UNSPECIFIED"
    source: str = ""
    created: int
    changed: int
    span: str | None = None
    rationale: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    overrides: str | None = None
    """The assessment that it corrects, which is not valid while this one is here."""
    valid: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceLink:
    """That a trace belongs to a run, or used a version of a prompt (`name/version`). It may come before the trace."""

    id: str
    """`trace/kind/target`."""
    trace: str
    kind: Literal["run", "prompt"]
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A trace with what was said of it."""

    trace: Trace
    assessments: Sequence[Assessment]


STATES = {"unspecified": "STATE_UNSPECIFIED", "running": "IN_PROGRESS", "ok": "OK", "failed": "ERROR"}
"""How states are spelled where they are asked for."""
PROMPTS_TAG = "mlflow.linkedPrompts"


def prompts_of(trace: Trace) -> set[str]:
    """Versions of prompts that the client itself wrote into a tag."""
    try:
        said = json.loads(trace.tags.get(PROMPTS_TAG, "[]"))
        return {f"{one['name']}/{one['version']}" for one in said}
    except (ValueError, TypeError, KeyError, RecursionError):
        return set()


def attribute(trace: Trace, key: str) -> float | str | None:
    """What a trace has under the name of an attribute."""
    match key:
        case "request_id":
            return trace.id
        case "name":
            return trace.tags.get(NAME_TAG)
        case "status":
            return STATES[trace.state]
        case "client_request_id":
            return trace.client_id
        case "run_id":
            return trace.metadata.get(RUN_KEY)
        case "experiment_id":
            return trace.experiment
        case "timestamp_ms":
            return trace.at
        case "execution_time_ms":
            return trace.duration
        case _:
            return trace.at + (trace.duration or 0)


_SOUGHT = ("name", "status", "client_request_id", "run_id", "execution_time_ms", "end_time_ms")


def _said_of(trace: Trace) -> Said:
    yield from (("tag", key, text) for key, text in trace.tags.items())
    yield from (("metadata", key, text) for key, text in trace.metadata.items())
    for key in _SOUGHT:
        found = attribute(trace, key)
        if found is not None:
            yield "attribute", key, found
    yield from (("prompt", prompt, "") for prompt in prompts_of(trace))


def judged(value: str) -> tuple[float | None, str]:
    """A value that was given, as it is compared: as a number, if it is one, and as a text, of which JSON is one form."""
    found = json.loads(value)
    number = found if isinstance(found, int | float) and not isinstance(found, bool) else None
    return _real(number), found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def _real(number: float | None) -> float | None:
    try:
        return None if number is None else float(number)
    except OverflowError:
        return math.inf if number is not None and number > 0 else -math.inf


def _said_by(assessment: Assessment) -> Said:
    if assessment.valid:
        value = "" if assessment.kind == "issue" else judged(assessment.value)
        yield assessment.kind, assessment.name, value


TRACES = SoughtShelf(
    "traces",
    Trace,
    key=("id",),
    index=("experiment", "at"),
    said=_said_of,
    values="trace_values",
    columns={"request_id": "id", "experiment_id": "experiment", "timestamp_ms": "at"},
    ordered=("experiment", "-at", "id"),
)
ASSESSMENTS = SoughtShelf(
    "trace_assessments", Assessment, key=("trace", "id"), said=_said_by, values="assessment_values"
)
LINKS = Shelf("trace_links", TraceLink, key=("id",), index=("trace", "target"))


def newest(reader: Reader, experiment: str) -> Iterator[list[Trace]]:
    """The traces of an experiment, the newest first, some at a time."""
    offset, count = 0, _AT_ONCE
    while some := TRACES.select(reader, order="-at", experiment=experiment, limit=count, offset=offset):
        yield some
        # The further one looks, the more one needs: a page costs as much as what is before it.
        offset, count = offset + len(some), min(2 * count, _AT_MOST)


def with_assessments(reader: Reader, traces: Sequence[Trace]) -> list[Found]:
    """Traces with what was said of them, the oldest first."""
    said: dict[str, list[Assessment]] = defaultdict(list)
    for one in ASSESSMENTS.among(reader, "trace", [trace.id for trace in traces]):
        said[one.trace].append(one)
    return [
        Found(trace=trace, assessments=sorted(said[trace.id], key=lambda one: (one.created, one.id)))
        for trace in traces
    ]


def complete(trace: Trace, count: int) -> bool:
    """Whether as many spans are here as the application said."""
    try:
        wanted = json.loads(trace.metadata.get(SIZE_KEY, "{}")).get("num_spans", 0)
    except (ValueError, AttributeError, RecursionError):
        return count > 0
    return count > 0 and (not isinstance(wanted, int) or count >= wanted)
