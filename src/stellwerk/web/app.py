"""The server of a workspace: control-plane API, pages, and inference, in one application with one wall around it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from stellwerk.access.rules import require
from stellwerk.core import canonical
from stellwerk.core.clock import format_instant
from stellwerk.core.errors import NotFound
from stellwerk.governance.dossier import Dossier
from stellwerk.ledger.database import working_for
from stellwerk.serving.service import EndpointServer
from stellwerk.web import blobs, errors, hooks, inference, lending, openapi
from stellwerk.web.bodies import read_json
from stellwerk.web.case_pages import CasePages
from stellwerk.web.doors import mlflow
from stellwerk.web.file_pages import FilePages
from stellwerk.web.model_pages import ModelPages
from stellwerk.web.pages import RunPages, page
from stellwerk.web.routing import OPEN, GuardedRoute, arranged, route
from stellwerk.web.trigger_pages import TriggerPages
from stellwerk.web.ui import render
from stellwerk.web.wall import LOOPBACK, Wall
from stellwerk.workspace import operations as ops
from stellwerk.workspace.calls import Operation
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.settings import CAUSE_HEADER, named_cause

API = "/api/v1"
MAX_ARGUMENTS = 64 << 20


def application(rooms: Rooms, servers: Mapping[str, EndpointServer], hosts: tuple[str, ...] = LOOPBACK) -> Starlette:
    """The whole application. Every route declares its permission, or this raises `Bug`."""
    desk = _Desk(rooms)
    routes = [
        *inference.build(servers, guard=desk.guard),
        *desk.operations(),
        *blobs.routes(rooms, API, desk.guard),
        *hooks.routes(rooms, API),
        *lending.routes(rooms, API),
        *mlflow.routes(rooms, desk.guard),
        *desk.pages(),
    ]
    return Starlette(
        routes=arranged(routes), middleware=[Middleware(Wall, hosts=hosts)], exception_handlers=errors.HANDLERS
    )


class _Desk:
    """Answers everything but predictions. Work happens in threads; the event loop only carries."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def guard(self, _request: Request, permission: str) -> None:
        """Loopback only for now: whoever reaches this server acts as its owner, and the ledger says so."""
        require(self._rooms.grant, self._rooms.actor, permission)  # type: ignore[arg-type]

    def operations(self) -> list[GuardedRoute]:
        """One route per operation, the description of all, the time."""
        return [
            *(
                route(f"{API}/{name}", self._operation(item), ["POST"], permission=item.permission, guard=self.guard)
                for name, item in ops.table().items()
            ),
            route(f"{API}/openapi.json", self._openapi, ["GET"], permission=OPEN),
            route(f"{API}/openapi/mlflow.json", self._openapi_of_mlflow, ["GET"], permission=OPEN),
            route(f"{API}/now", self._now, ["GET"], permission=OPEN),
            route("/health", self._health, ["GET"], permission=OPEN),
        ]

    def _operation(self, operation: Operation[..., Any]) -> Any:
        async def perform(request: Request) -> Response:
            body = await read_json(request, MAX_ARGUMENTS)
            cause = named_cause(request.headers.get(CAUSE_HEADER, ""))

            def work() -> Response:
                arguments = operation.read(canonical.loads(body) if body else {})
                with working_for(cause):
                    return _json(operation.write(operation.perform(self._rooms, arguments)))

            return await run_in_threadpool(work)

        perform.__name__ = operation.name
        return perform

    async def _openapi(self, _request: Request) -> Response:
        return _json(await run_in_threadpool(openapi.describe, API))

    async def _openapi_of_mlflow(self, _request: Request) -> Response:
        return _json(await run_in_threadpool(lambda: self._described))

    @cached_property
    def _described(self) -> dict[str, Any]:
        return mlflow.described(self._rooms, self.guard)

    async def _now(self, _request: Request) -> Response:
        return _json({"now": format_instant(self._rooms.clock.now())})

    async def _health(self, _request: Request) -> Response:
        return _json({"status": "alive", "entries": await run_in_threadpool(self._rooms.database.size)})

    # Pages

    def pages(self) -> list[GuardedRoute]:
        """The pages for people."""
        made = [
            ("/", self._board, "releases:read"),
            ("/trace/{subject:path}", self._trace, "ledger:read"),
            ("/dossier/{release}", self._dossier, "ledger:read"),
        ]
        pages = [route(path, page(draw), ["GET"], permission=need, guard=self.guard) for path, draw, need in made]
        pages += [*RunPages(self._rooms).routes(self.guard), *ModelPages(self._rooms).routes(self.guard)]
        pages += [*FilePages(self._rooms).routes(self.guard), *TriggerPages(self._rooms).routes(self.guard)]
        pages += CasePages(self._rooms).routes(self.guard)
        return [*pages, route("/static/{name}", self._static, ["GET"], permission=OPEN)]

    def _board(self, _request: Request) -> str:
        return render.render_board(ops.board.perform(self._rooms, {}))

    def _trace(self, request: Request) -> str:
        asked = {"subject": request.path_params["subject"], "down": request.query_params.get("down") == "1"}
        return render.render_trace(ops.trace.perform(self._rooms, asked), simulated=self._simulated())

    def _dossier(self, request: Request) -> str:
        found: Dossier = ops.dossier.perform(self._rooms, {"release": request.path_params["release"]})
        return render.render_dossier(found, simulated=self._simulated())

    def _simulated(self) -> Any:
        return self._rooms.clock.now() if self._rooms.layout.clock == "replay" else None

    async def _static(self, request: Request) -> Response:
        found = render.static_files().get(request.path_params["name"])
        if found is None:
            raise NotFound("there is nothing under this path")
        return Response(found[0], media_type=found[1], headers={"Cache-Control": "no-cache"})


def _json(value: Any) -> Response:
    return Response(json.dumps(value, allow_nan=False), media_type="application/json")
