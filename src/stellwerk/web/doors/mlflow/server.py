"""What the door says of itself, and what it says of calls that it does not know."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from stellwerk.core.errors import NotFound
from stellwerk.web.doors.mlflow import errors, messages
from stellwerk.web.doors.mlflow.calls import ROOTS, Plain, plain_routes
from stellwerk.web.routing import OPEN, GuardedRoute, route

SPOKEN = "3.17.2"
"""The version of MLflow's protocol. From 3.4 on, clients send traces the short way."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


def routes() -> list[GuardedRoute]:
    """Routes that everybody may ask; the last ones answer whatever no other route of the door does."""
    about = (
        Plain("GET", "/version", OPEN, _version, gives={"text/plain": None}, roots=("",)),
        Plain("GET", "/3.0/mlflow/server-info", OPEN, _info, gives=messages.ServerInfo),
        Plain("GET", "/3.0/mlflow/server-features", OPEN, _info, gives=messages.ServerInfo),
    )
    unknown = [
        route(f"{root}/{version}/{door}/{{rest:path}}", _unknown, METHODS, permission=OPEN, respond=errors.respond)
        for root in ROOTS
        for version in ("2.0", "3.0")
        for door in ("mlflow", "mlflow-artifacts")
    ]
    return [*plain_routes(about), *unknown]


async def _version(_request: Request) -> Response:
    """The version of MLflow that is spoken."""
    return PlainTextResponse(SPOKEN)


async def _info(_request: Request) -> Response:
    """What this server can."""
    return JSONResponse(
        {
            "store_type": "SqlStore",
            "workspaces_enabled": True,
            "multipart_uploads_enabled": True,
            "multipart_downloads_enabled": True,
        }
    )


async def _unknown(request: Request) -> Response:
    raise NotFound(
        f"there is no {request.method} {request.url.path[:200]}",
        code="unknown-endpoint",
        hint="docs/doors/mlflow.md lists what this door answers",
    )
