"""Calls about workspaces, which clients since 3.10 know: there is one, and what a client asks of another is not here.

Such a client names the workspace in a header of every request, once its user has chosen one.
"""

from __future__ import annotations

from typing import NoReturn

from starlette.requests import Request

from stellwerk.core.errors import NotFound, Refused
from stellwerk.web.doors.mlflow import messages
from stellwerk.web.doors.mlflow.calls import Calls
from stellwerk.web.doors.mlflow.wire import SOME_TEXT, TEXT, Ask, row
from stellwerk.web.routing import Guard
from stellwerk.workspace.rooms import Rooms

HEADER = "x-mlflow-workspace"
CALLS = Calls("/3.0/mlflow")
SETTINGS = {
    "description": TEXT,
    "default_artifact_root": TEXT,
    "trace_archival_config": row(location=TEXT, retention=TEXT),
}


def inside(rooms: Rooms, guard: Guard) -> Guard:
    """A guard that also turns away who asks for another workspace, after it has seen who asks."""

    async def asked(request: Request, permission: str) -> None:
        await guard(request, permission)
        if wanted := request.headers.get(HEADER, "").strip():
            _check(rooms, wanted)

    return asked


@CALLS.add("GET", "workspaces", "runs:read")
def listed(rooms: Rooms, _ask: Ask) -> messages.Workspaces:
    """The workspaces of this server, of which there is one."""
    return {"workspaces": [{"name": rooms.layout.workspace}]}


@CALLS.add("GET", "workspaces/{workspace_name}", "runs:read")
def get(rooms: Rooms, ask: Ask) -> messages.OneWorkspace:
    """A workspace."""
    _check(rooms, ask.path["workspace_name"])
    return {"workspace": {"name": rooms.layout.workspace}}


@CALLS.add("POST", "workspaces", "workspace:admin", name=SOME_TEXT, **SETTINGS)
def create(_rooms: Rooms, _ask: Ask) -> NoReturn:
    """Make a workspace, which a server does not: it serves the one of its folder."""
    raise _refusal("makes no others", "`stellwerk init` in another folder makes one, `stellwerk up` there serves it")


@CALLS.add("PATCH", "workspaces/{workspace_name}", "workspace:admin", **SETTINGS)
def update(rooms: Rooms, ask: Ask) -> NoReturn:
    """Change what is set for a workspace, where nothing can be set."""
    _check(rooms, ask.path["workspace_name"])
    raise _refusal("has no description and no other place for artifacts and traces", "leave it as it is")


@CALLS.add("DELETE", "workspaces/{workspace_name}", "workspace:admin")
def delete(rooms: Rooms, ask: Ask) -> NoReturn:
    """Take a workspace away, which would take the ledger with it."""
    _check(rooms, ask.path["workspace_name"])
    raise _refusal("does not delete it", "stop the server and delete its folder, if that is what you want")


def _check(rooms: Rooms, name: str) -> None:
    if name != rooms.layout.workspace:
        raise NotFound(
            f"Workspace '{name[:100]}' not found",
            code="unknown-workspace",
            hint="this server has one workspace; without the header everything is about that one",
        )


def _refusal(what: str, instead: str) -> Refused:
    return Refused(f"this server has one workspace and {what}", code="not-offered", hint=instead)
