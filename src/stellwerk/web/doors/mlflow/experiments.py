"""Calls about experiments."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from stellwerk.core.errors import Invalid
from stellwerk.web.doors.mlflow import messages, shapes, wire
from stellwerk.web.doors.mlflow.calls import Calls
from stellwerk.web.doors.mlflow.wire import INTEGER, PAIRS, SOME_TEXT, TEXT, TEXTS, Ask, Field
from stellwerk.workspace.rooms import Rooms

CALLS = Calls("/2.0/mlflow")
MOST = 50_000
USUAL = 1000


@CALLS.add("POST", "experiments/create", "runs:write", name=SOME_TEXT, artifact_location=TEXT, tags=PAIRS)
def create(rooms: Rooms, ask: Ask) -> messages.CreatedExperiment:
    """Make an experiment."""
    location = _location(ask.text("artifact_location"))
    made = rooms.experiments.create(ask.text("name"), tags=ask.pairs("tags"), location=location)
    return {"experiment_id": made.id}


@CALLS.add("GET", "experiments/get", "runs:read", experiment_id=SOME_TEXT)
def get(rooms: Rooms, ask: Ask) -> messages.OneExperiment:
    """One experiment."""
    return {"experiment": shapes.experiment(rooms.experiments.get(ask.text("experiment_id")))}


@CALLS.add("GET", "experiments/get-by-name", "runs:read", experiment_name=SOME_TEXT)
def get_by_name(rooms: Rooms, ask: Ask) -> messages.OneExperiment:
    """The experiment of a name."""
    return {"experiment": shapes.experiment(rooms.experiments.named(ask.text("experiment_name")))}


def search(rooms: Rooms, ask: Ask) -> messages.Experiments:
    """Experiments that meet a filter."""
    limit, offset = ask.integer("max_results", USUAL), wire.offset_of(ask.text("page_token"))
    if not 0 < limit <= MOST:
        raise Invalid(
            f"Invalid value {limit} for parameter 'max_results' supplied. It must be at most {MOST} and positive",
            code="invalid-number",
        )
    found = rooms.experiments.search(
        where=ask.text("filter"),
        order=ask.texts("order_by"),
        deleted=shapes.VIEWS[ask.text("view_type") or "ACTIVE_ONLY"],
        limit=limit + 1,
        offset=offset,
    )
    shown, token = wire.page(found, limit, offset)
    return {"experiments": [shapes.experiment(one) for one in shown], **token}


for _method in ("POST", "GET"):
    CALLS.add(
        _method,
        "experiments/search",
        "runs:read",
        max_results=INTEGER,
        page_token=TEXT,
        filter=TEXT,
        order_by=TEXTS,
        view_type=Field(names=shapes.VIEW_NAMES),
    )(search)


@CALLS.add("POST", "experiments/delete", "runs:write", experiment_id=SOME_TEXT)
def delete(rooms: Rooms, ask: Ask) -> None:
    """Put an experiment into the bin."""
    rooms.experiments.delete(ask.text("experiment_id"))


@CALLS.add("POST", "experiments/restore", "runs:write", experiment_id=SOME_TEXT)
def restore(rooms: Rooms, ask: Ask) -> None:
    """Take an experiment out of the bin."""
    rooms.experiments.restore(ask.text("experiment_id"))


@CALLS.add("POST", "experiments/update", "runs:write", experiment_id=SOME_TEXT, new_name=SOME_TEXT)
def update(rooms: Rooms, ask: Ask) -> None:
    """Give an experiment another name."""
    rooms.experiments.rename(ask.text("experiment_id"), ask.text("new_name"))


@CALLS.add("POST", "experiments/set-experiment-tag", "runs:write", experiment_id=SOME_TEXT, key=SOME_TEXT, value=TEXT)
def set_tag(rooms: Rooms, ask: Ask) -> None:
    """Set a tag of an experiment."""
    rooms.experiments.tag(ask.text("experiment_id"), ask.text("key"), ask.text("value"))


@CALLS.add("POST", "experiments/delete-experiment-tag", "runs:write", experiment_id=SOME_TEXT, key=SOME_TEXT)
def delete_tag(rooms: Rooms, ask: Ask) -> None:
    """Take a tag of an experiment away."""
    rooms.experiments.tag(ask.text("experiment_id"), ask.text("key"), None)


def _location(text: str) -> str:
    """Where artifacts go if not here: an address that clients use by themselves. This server never opens it.

    Raises `Invalid` for what some reader could take for another place than another one.
    """
    if not text:
        return ""
    if len(text) > 2048:
        raise Invalid("'artifact_location' exceeds the maximum length of 2048 characters", code="too-long")
    parts = urlsplit(text)
    if parts.fragment or ";" in text or "#" in text:
        raise Invalid("'artifact_location' URL can't include fragments or params.", code="invalid-location")
    plain = text.lower()
    while "%25" in plain:
        plain = plain.replace("%25", "%")
    plain = plain.replace("%2e", ".").replace("%2f", "/").replace("%5c", "\\")
    if ".." in re.split(r"[/\\?=&]", plain) or any(ord(letter) < 32 for letter in text) or "\\" in plain:
        raise Invalid(f"Invalid artifact location: {text[:200]!r}", code="invalid-location")
    return text
