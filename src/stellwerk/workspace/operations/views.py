"""Views over everything."""

from __future__ import annotations

from stellwerk.governance.dossier import Dossier
from stellwerk.governance.dossier import dossier as make_dossier
from stellwerk.governance.model import Board, RunPage, Trace
from stellwerk.governance.story import StoryLine
from stellwerk.governance.story import story as tell_story
from stellwerk.workspace import viewing
from stellwerk.workspace.calls import operation
from stellwerk.workspace.rooms import Rooms


@operation("views.board", "releases:read")
def board(rooms: Rooms) -> Board:
    """Every endpoint with its signal, lease, quality and next step."""
    return viewing.board(rooms)


@operation("views.run", "runs:read")
def run_page(rooms: Rooms, run: str) -> RunPage:
    """One run with everything that is known of it."""
    return viewing.run_page(rooms, run)


@operation("views.trace", "ledger:read")
def trace(rooms: Rooms, subject: str, down: bool = False) -> Trace:
    """From a prediction, model, dataset, run, release or digest to its causes, or to everything it affects."""
    tracer = viewing.tracer(rooms)
    return tracer.down(subject) if down else tracer.up(subject)


@operation("views.story", "ledger:read")
def story(rooms: Rooms, endpoint: str) -> tuple[StoryLine, ...]:
    """What happened to an endpoint, when, with which numbers; all read from the ledger."""
    return tell_story(rooms.book, endpoint)


@operation("views.dossier", "ledger:read")
def dossier(rooms: Rooms, release: str) -> Dossier:
    """Everything behind a release, as a document."""
    return make_dossier(rooms.book, rooms.runs, release, rooms.clock.now())
