"""The pages of files: folders to open, previews that execute nothing, pictures, all without any script.

What a run wrote is a stranger's. Texts and tables are shown as text; pictures of four formats, told by their bytes, are
sent as what they are to a document that may do nothing; everything else is downloaded and not opened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from stellwerk.web import streams
from stellwerk.web.pages import Draw, page
from stellwerk.web.routing import Guard, GuardedRoute, route
from stellwerk.web.ui import render
from stellwerk.workspace import filing
from stellwerk.workspace import operations as ops
from stellwerk.workspace.rooms import Rooms

INERT = {
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Content-Disposition": "inline",
    "Cache-Control": "private, no-cache",
}
"""Of a picture, should anybody open it by itself."""
_HOMES = {"runs": "run", "logged-models": "model"}


class FilePages:
    """The pages that show what was written."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def routes(self, guard: Guard) -> list[GuardedRoute]:
        """Their routes; all need `runs:read`."""
        made: list[GuardedRoute] = []
        for place, kind in _HOMES.items():
            home = f"/{place}/{{{kind}}}"
            drawn, given = page(self._draw(kind)), self._picture(kind)
            for path, answer in (
                (f"{home}/files", drawn),
                (f"{home}/files/{{path:path}}", drawn),
                (f"{home}/picture/{{path:path}}", given),
            ):
                made.append(route(path, answer, ["GET"], permission="runs:read", guard=guard))
        return made

    def _draw(self, kind: str) -> Draw:
        def files(request: Request) -> str:
            offset = request.query_params.get("offset", "")
            asked = {
                kind: request.path_params[kind],
                "path": request.path_params.get("path", ""),
                "offset": int(offset) if offset.isascii() and offset.isdigit() and len(offset) < 8 else 0,
            }
            return render.render_files(ops.show_files.perform(self._rooms, asked), simulated=self._simulated())

        return files

    def _picture(self, kind: str) -> Callable[[Request], Any]:
        async def picture(request: Request) -> Response:
            asked = {kind: request.path_params[kind], "path": request.path_params["path"]}
            found, digest = await run_in_threadpool(lambda: filing.picture(self._rooms, **asked))
            return await streams.give(request, self._rooms.blobs, digest, INERT, found.media)

        return picture

    def _simulated(self) -> Any:
        return self._rooms.clock.now() if self._rooms.layout.clock == "replay" else None
