"""Calls about assessments: what people, judges and programs say of traces."""

from __future__ import annotations

from typing import Any

from stellwerk.web.doors.mlflow import trace_messages, trace_shapes
from stellwerk.web.doors.mlflow.calls import Calls
from stellwerk.web.doors.mlflow.trace_shapes import ASSESSMENT
from stellwerk.web.doors.mlflow.wire import SOME_TEXT, Ask, Field
from stellwerk.workspace.rooms import Rooms

CALLS = Calls("/3.0/mlflow")
SENT = Field(kind="row", must=True, inner=ASSESSMENT)


@CALLS.add("POST", "traces/{trace_id}/assessments", "runs:write", assessment=SENT)
def create(rooms: Rooms, ask: Ask) -> trace_messages.OneAssessment:
    """Say something of a trace."""
    said = trace_shapes.read_assessment(ask.row("assessment"), ask.path["trace_id"])
    return {"assessment": trace_shapes.assessment(rooms.assessments.say(said))}


@CALLS.add("GET", "traces/{trace_id}/assessments/{assessment_id}", "runs:read")
def get(rooms: Rooms, ask: Ask) -> trace_messages.OneAssessment:
    """One assessment."""
    found = rooms.assessments.get(ask.path["trace_id"], ask.path["assessment_id"])
    return {"assessment": trace_shapes.assessment(found)}


@CALLS.add(
    "PATCH", "traces/{trace_id}/assessments/{assessment_id}", "runs:write",
    assessment=SENT, update_mask=SOME_TEXT,
)  # fmt: skip
def update(rooms: Rooms, ask: Ask) -> trace_messages.OneAssessment:
    """Change those fields of an assessment that the mask names."""
    sent = ask.row("assessment")
    kind = None
    changes: dict[str, Any] = {}
    for field in ask.text("update_mask").split(","):
        match field.strip():
            case "assessment_name" | "assessmentName":
                changes["name"] = sent.text("assessment_name")
            case "feedback" | "expectation" | "issue":
                kind, changes["value"], changes["error"] = trace_shapes.read_value(sent)
            case "rationale":
                changes["rationale"] = sent.text("rationale") or None
            case "metadata":
                changes["metadata"] = trace_shapes.texts(sent, "metadata")
            case "valid":
                changes["valid"] = sent.flag("valid")
    changed = rooms.assessments.revise(ask.path["trace_id"], ask.path["assessment_id"], kind, **changes)
    return {"assessment": trace_shapes.assessment(changed)}


@CALLS.add("DELETE", "traces/{trace_id}/assessments/{assessment_id}", "runs:write")
def delete(rooms: Rooms, ask: Ask) -> None:
    """Take an assessment back."""
    rooms.assessments.withdraw(ask.path["trace_id"], ask.path["assessment_id"])
