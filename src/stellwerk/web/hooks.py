"""Incoming webhooks: a route that asks for a signature instead of a permission, checked over the bytes as they came."""

from __future__ import annotations

import json

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from stellwerk.ledger import documents
from stellwerk.triggers.signing import MAX_BODY
from stellwerk.web.bodies import read_body
from stellwerk.web.routing import SIGNATURE, GuardedRoute, route
from stellwerk.workspace.rooms import Rooms

MAX_HEADER = 2000


def routes(rooms: Rooms, api: str) -> list[GuardedRoute]:
    """The one route."""

    async def take(request: Request) -> Response:
        body = await read_body(request, MAX_BODY)
        # What stands there twice counts as one text, which no signature fits.
        headers = {name: ",".join(request.headers.getlist(name))[:MAX_HEADER] for name in request.headers}
        taken = await run_in_threadpool(rooms.hooks.take, request.path_params["hook"], headers, body)
        return Response(json.dumps(documents.dump(taken)), 202, media_type="application/json")

    return [route(f"{api}/hooks/{{hook}}", take, ["POST"], permission=SIGNATURE)]
