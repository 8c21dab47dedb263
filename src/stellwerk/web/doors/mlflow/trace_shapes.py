"""Traces and assessments, as MLflow's messages spell them (service.proto and assessments.proto, 3.17)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from stellwerk.core.clock import parse_instant
from stellwerk.core.errors import Invalid
from stellwerk.tracking import rules
from stellwerk.tracking.traced import STATES, Assessment, Found, Kind, State, Trace
from stellwerk.web.doors.mlflow import trace_messages, wire
from stellwerk.web.doors.mlflow.wire import ANY, FLAG, TEXT, Ask, Field, pairs, row

STATE_NAMES = {0: "STATE_UNSPECIFIED", 1: "OK", 2: "ERROR", 3: "IN_PROGRESS"}
OLD_NAMES = {0: "TRACE_STATUS_UNSPECIFIED", 1: "OK", 2: "ERROR", 3: "IN_PROGRESS"}
MEANT: Mapping[str, State] = {
    "STATE_UNSPECIFIED": "unspecified",
    "TRACE_STATUS_UNSPECIFIED": "unspecified",
    "OK": "ok",
    "ERROR": "failed",
    "IN_PROGRESS": "running",
}
SOURCES = {0: "SOURCE_TYPE_UNSPECIFIED", 1: "HUMAN", 2: "LLM_JUDGE", 3: "CODE"}
_OLD_STATUS: Mapping[State, trace_messages.OldStatus] = {
    "unspecified": "TRACE_STATUS_UNSPECIFIED",
    "ok": "OK",
    "failed": "ERROR",
    "running": "IN_PROGRESS",
}
_AS_JSON = "JSON_FORMAT"
_ERROR = ("error_code", "error_message", "stack_trace")
_DURATION = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,9}))?s")

ASSESSMENT: Mapping[str, Field] = {
    "assessment_id": TEXT,
    "assessment_name": TEXT,
    "trace_id": TEXT,
    "span_id": TEXT,
    "source": row(source_type=Field(names=SOURCES), source_id=TEXT),
    "create_time": TEXT,
    "last_update_time": TEXT,
    # `value` may be null, which is something else than no value.
    "feedback": ANY,
    "expectation": ANY,
    "issue": row(issue_name=TEXT),
    "rationale": TEXT,
    "metadata": ANY,
    "overrides": TEXT,
    "valid": FLAG,
}
INFO: Mapping[str, Field] = {
    "trace_id": TEXT,
    "client_request_id": TEXT,
    "trace_location": row(type=ANY, mlflow_experiment=row(experiment_id=TEXT)),
    "request": TEXT,
    "response": TEXT,
    "request_preview": TEXT,
    "response_preview": TEXT,
    "request_time": TEXT,
    "execution_duration": TEXT,
    "state": Field(names=STATE_NAMES),
    "trace_metadata": ANY,
    "tags": ANY,
    "assessments": Field(kind="row", many=True, inner=ASSESSMENT),
}


def read_trace(ask: Ask) -> Trace:
    """`TraceInfoV3` as it is sent."""
    experiment = ask.row("trace_location").row("mlflow_experiment").text("experiment_id")
    if not experiment:
        raise wire.missing("trace.trace_info.trace_location.mlflow_experiment.experiment_id")
    return Trace(
        id=ask.text("trace_id"),
        experiment=experiment,
        at=_milliseconds(ask.text("request_time")),
        duration=_duration(ask.text("execution_duration")) if ask.text("execution_duration") else None,
        state=MEANT[ask.text("state") or "STATE_UNSPECIFIED"],
        client_id=ask.maybe("client_request_id"),
        request=ask.maybe("request_preview"),
        response=ask.maybe("response_preview"),
        tags=texts(ask, "tags"),
        metadata=texts(ask, "trace_metadata"),
    )


def read_assessment(ask: Ask, trace: str) -> Assessment:
    """`Assessment` as it is sent."""
    kind, value, error = read_value(ask)
    source = ask.row("source")
    return Assessment(
        trace=trace,
        id=ask.text("assessment_id"),
        name=ask.text("assessment_name"),
        kind=kind,
        value=value,
        error=error,
        source_kind=source.text("source_type") or SOURCES[0],
        source=source.text("source_id"),
        created=_milliseconds(ask.text("create_time")),
        changed=_milliseconds(ask.text("last_update_time")),
        span=ask.text("span_id") or None,
        rationale=ask.text("rationale") or None,
        metadata=texts(ask, "metadata"),
        overrides=ask.text("overrides") or None,
    )


def read_value(ask: Ask) -> tuple[Kind, str, dict[str, str] | None]:
    """What an assessment says, as JSON, and what went wrong when a judge was to say it."""
    if "expectation" in ask:
        said = _mapping(ask, "expectation")
        serialized = said.get("serialized_value")
        if serialized is None:
            return "expectation", _json(said.get("value")), None
        if not isinstance(serialized, dict) or serialized.get("serialization_format", _AS_JSON) != _AS_JSON:
            raise Invalid("Unknown serialization format. Only JSON_FORMAT is supported.", code="invalid-arguments")
        try:
            return "expectation", _json(json.loads(serialized.get("value", "null"))), None
        except (ValueError, TypeError, RecursionError) as cause:
            raise Invalid("the serialized value of an expectation is not JSON", code="invalid-json") from cause
    if "feedback" in ask:
        said = _mapping(ask, "feedback")
        error = said.get("error")
        if error is not None and not (
            isinstance(error, dict) and all(isinstance(error.get(one) or "", str) for one in _ERROR)
        ):
            raise wire.invalid("assessment.feedback.error", error)
        return "feedback", _json(said.get("value")), error and {one: error[one] for one in _ERROR if error.get(one)}
    if "issue" in ask:
        return "issue", _json(ask.row("issue").text("issue_name")), None
    raise Invalid(
        "Unknown assessment type: an assessment is a feedback, an expectation or an issue", code="invalid-arguments"
    )


def texts(ask: Ask, name: str) -> dict[str, str]:
    """A map from texts to texts."""
    if name not in ask:
        return {}
    found = _mapping(ask, name)
    if not all(isinstance(text, str) for text in found.values()):
        raise wire.invalid(name, found)
    return dict(found)


def trace(found: Found) -> trace_messages.TraceInfo:
    """`TraceInfoV3`."""
    one = found.trace
    shown: dict[str, Any] = {
        "trace_id": one.id,
        "client_request_id": one.client_id,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": one.experiment}},
        "request_preview": one.request,
        "response_preview": one.response,
        "request_time": _time(one.at),
        "execution_duration": None if one.duration is None else _seconds(one.duration),
        "state": STATES[one.state],
        "trace_metadata": one.metadata,
        "tags": one.tags,
        "assessments": [assessment(said) for said in found.assessments],
    }
    return cast(trace_messages.TraceInfo, {name: value for name, value in shown.items() if value is not None})


def old_trace(found: Found) -> trace_messages.OldTraceInfo:
    """`TraceInfo` of before."""
    one = found.trace
    return {
        "request_id": one.id,
        "experiment_id": one.experiment,
        "timestamp_ms": one.at,
        "execution_time_ms": one.duration or 0,
        "status": _OLD_STATUS[one.state],
        "request_metadata": pairs(one.metadata),
        "tags": pairs(one.tags),
    }


def assessment(one: Assessment) -> trace_messages.Assessment:
    """`Assessment`."""
    shown: dict[str, Any] = {
        "assessment_id": one.id,
        "assessment_name": one.name,
        "trace_id": one.trace,
        "span_id": one.span,
        "source": {"source_type": one.source_kind, "source_id": one.source},
        "create_time": _time(one.created),
        "last_update_time": _time(one.changed),
        one.kind: _value(one),
        "rationale": one.rationale,
        "metadata": one.metadata or None,
        "overrides": one.overrides,
        "valid": one.valid,
    }
    return cast(trace_messages.Assessment, {name: value for name, value in shown.items() if value is not None})


def _value(one: Assessment) -> dict[str, Any]:
    if one.kind == "issue":
        return {"issue_name": json.loads(one.value)}
    if one.kind == "expectation" and one.value[:1] in ("[", "{"):
        return {"serialized_value": {"serialization_format": _AS_JSON, "value": one.value}}
    value = {"value": msgspec.Raw(one.value.encode())}
    return {**value, "error": one.error} if one.error is not None else value


def _mapping(ask: Ask, name: str) -> Mapping[str, Any]:
    found = ask.values[name]
    if not isinstance(found, dict):
        raise wire.invalid(name, found)
    return found


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError) as cause:
        raise Invalid("the value of an assessment has no JSON form", code="invalid-json") from cause


def _milliseconds(text: str) -> int:
    return rules.milliseconds(parse_instant(text)) if text else 0


def _time(at: int) -> str:
    return rules.instant(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _duration(text: str) -> int:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise wire.invalid("execution_duration", text)
    return int(match[1]) * 1000 + int(((match[2] or "") + "000")[:3])


def _seconds(duration: int) -> str:
    whole, rest = divmod(abs(duration), 1000)
    return f"{'-' if duration < 0 else ''}{whole}.{rest:03}s"
