"""Calls about scorers."""

from __future__ import annotations

from typing import NoReturn

from stellwerk.core.errors import Invalid, Refused
from stellwerk.tracking.scorers import ScorerVersion
from stellwerk.web.doors.mlflow import trace_messages
from stellwerk.web.doors.mlflow.calls import Calls
from stellwerk.web.doors.mlflow.shapes import millis
from stellwerk.web.doors.mlflow.wire import INTEGER, SOME_TEXT, TEXT, TEXTS, Ask
from stellwerk.workspace.rooms import Rooms

CALLS = Calls("/3.0/mlflow")
LARGEST_ID = 2**31 - 1
"""`Scorer` has the id of its experiment as an integer of 32 bits, where all other messages have a text."""


@CALLS.add(
    "POST", "scorers/register", "runs:write",
    experiment_id=SOME_TEXT, name=SOME_TEXT, serialized_scorer=SOME_TEXT,
)  # fmt: skip
def register(rooms: Rooms, ask: Ask) -> trace_messages.RegisteredScorer:
    """Keep the next version of a scorer."""
    made = rooms.scorers.register(ask.text("experiment_id"), ask.text("name"), ask.text("serialized_scorer"))
    return {
        "version": made.version,
        "scorer_id": made.scorer,
        "experiment_id": made.experiment,
        "name": made.name,
        "serialized_scorer": made.text,
        "creation_time": millis(made.created_at),
    }


@CALLS.add("GET", "scorers/list", "runs:read", experiment_id=TEXT, experiment_ids=TEXTS)
def listed(rooms: Rooms, ask: Ask) -> trace_messages.Scorers:
    """The newest version of each scorer, of one experiment, of several, or of all."""
    one, several = ask.text("experiment_id"), ask.texts("experiment_ids")
    if one and "experiment_ids" in ask:
        raise Invalid("Cannot specify both 'experiment_id' and 'experiment_ids'.", code="invalid-arguments")
    if one:
        several = [rooms.experiments.get(one).id]
    asked = several if one or "experiment_ids" in ask else None
    return {"scorers": [scorer(found) for found in rooms.scorers.latest(asked)]}


@CALLS.add("GET", "scorers/versions", "runs:read", experiment_id=SOME_TEXT, name=SOME_TEXT)
def versions(rooms: Rooms, ask: Ask) -> trace_messages.Scorers:
    """All versions of a scorer."""
    found = rooms.scorers.versions(ask.text("experiment_id"), ask.text("name"))
    return {"scorers": [scorer(one) for one in found]}


@CALLS.add("GET", "scorers/get", "runs:read", experiment_id=SOME_TEXT, name=SOME_TEXT, version=INTEGER)
def get(rooms: Rooms, ask: Ask) -> trace_messages.OneScorer:
    """One version of a scorer."""
    return {"scorer": scorer(rooms.scorers.get(ask.text("experiment_id"), ask.text("name"), _version(ask)))}


@CALLS.add("DELETE", "scorers/delete", "runs:write", experiment_id=SOME_TEXT, name=SOME_TEXT, version=INTEGER)
def delete(rooms: Rooms, ask: Ask) -> None:
    """Take a version away, or all."""
    rooms.scorers.delete(ask.text("experiment_id"), ask.text("name"), _version(ask))


@CALLS.add("GET", "scorers/online-configs", "runs:read", scorer_ids=TEXTS)
def online(_rooms: Rooms, _ask: Ask) -> trace_messages.OnlineConfigs:
    """Which scorers judge traces as they come: none, but clients ask after each registration."""
    return {"configs": []}


@CALLS.add("PUT", "scorers/online-config", "runs:write", experiment_id=SOME_TEXT, name=SOME_TEXT)
def set_online(_rooms: Rooms, _ask: Ask) -> NoReturn:
    """Let a scorer judge traces as they come, which would run its code here."""
    raise Refused(
        "this server runs no scorers",
        code="not-offered",
        hint="judge with mlflow.genai.evaluate, where you trust them",
    )


def scorer(one: ScorerVersion) -> trace_messages.Scorer:
    """`Scorer`."""
    shown: trace_messages.Scorer = {
        "scorer_name": one.name,
        "scorer_version": one.version,
        "serialized_scorer": one.text,
        "creation_time": millis(one.created_at),
        "scorer_id": one.scorer,
    }
    if one.experiment.isdecimal() and int(one.experiment) <= LARGEST_ID:
        shown["experiment_id"] = int(one.experiment)
    return shown


def _version(ask: Ask) -> int | None:
    return ask.integer("version") if "version" in ask else None
