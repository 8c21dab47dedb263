"""Results of steps for other workspaces: routes that ask for the token of a grant instead of a permission.

Whatever the reason, whoever may not read gets the answer that nothing is there, byte for byte.
"""

from __future__ import annotations

import json

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from stellwerk.core import digest as digests
from stellwerk.ledger import documents
from stellwerk.pipelines.lending import FORMAT, MAX_TOKEN, nothing
from stellwerk.web import streams
from stellwerk.web.bodies import read_body
from stellwerk.web.routing import GRANT, GuardedRoute, route
from stellwerk.workspace.rooms import Rooms

MAX_BODY = 1 << 10
"""Nothing is read of it; what is longer is refused."""


def routes(rooms: Rooms, api: str) -> list[GuardedRoute]:
    """The two routes."""

    async def find(request: Request) -> Response:
        await read_body(request, MAX_BODY)
        key = digests.parse(request.path_params["key"])
        found = await run_in_threadpool(rooms.lending.find, _token(request), key)
        body = {"format": FORMAT, **documents.dump(found)}
        return Response(json.dumps(body), headers={"Cache-Control": "no-store"}, media_type="application/json")

    async def take(request: Request) -> Response:
        await read_body(request, MAX_BODY)
        key, place = digests.parse(request.path_params["key"]), request.path_params["position"]
        if not (place.isascii() and place.isdigit() and len(place) < 6):
            raise nothing()
        output, pieces = await run_in_threadpool(rooms.lending.open, _token(request), key, int(place))
        headers = {"Cache-Control": "no-store", "Content-Length": str(output.size)}
        return await streams.streamed(pieces, 200, headers, streams.OCTETS)

    return [
        route(f"{api}/results/{{key}}", find, ["POST"], permission=GRANT),
        route(f"{api}/results/{{key}}/{{position}}", take, ["POST"], permission=GRANT),
    ]


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip()[:MAX_TOKEN] if scheme.lower() == "bearer" else ""
