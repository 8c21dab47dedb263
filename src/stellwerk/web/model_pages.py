"""The pages of registered models, and of who is told what happens to them. All work without any script."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.requests import Request

from stellwerk.access.model import Permission
from stellwerk.core.clock import parse_moment
from stellwerk.core.errors import Invalid
from stellwerk.web import errors
from stellwerk.web.pages import Draw, address, page
from stellwerk.web.routing import Guard, GuardedRoute, route
from stellwerk.web.ui import render, shelving
from stellwerk.workspace import operations as ops
from stellwerk.workspace.rooms import Rooms


class ModelPages:
    """The pages that show what was registered."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def routes(self, guard: Guard) -> list[GuardedRoute]:
        """Their routes; those of models need `models:read`, that of webhooks `workspace:admin`."""
        made: dict[str, tuple[Draw, Permission]] = {
            "/models": (self._models, "models:read"),
            "/models/{name}": (self._model, "models:read"),
            "/webhooks": (self._webhooks, "workspace:admin"),
        }
        return [route(path, page(draw), ["GET"], permission=need, guard=guard) for path, (draw, need) in made.items()]

    def _webhooks(self, _request: Request) -> str:
        return render.render_webhooks(ops.list_webhooks.perform(self._rooms, {}), simulated=self._simulated())

    def _models(self, request: Request) -> str:
        wanted = request.query_params.get("name", "").strip()
        found = ops.overview_of_models.perform(self._rooms, {"name": wanted})
        return render.render_models(found, wanted, address(request), simulated=self._simulated())

    def _model(self, request: Request) -> tuple[str, int]:
        asked = shelving.read(request.query_params.multi_items(), request.path_params["name"])
        problem: Invalid | None = None
        as_of: datetime | None = None
        try:
            as_of = parse_moment(asked.as_of) if asked.as_of else None
        except Invalid as error:
            problem = error
        shown = ops.page_of_model.perform(
            self._rooms,
            {
                "name": request.path_params["name"],
                "as_of": as_of,
                "limit": shelving.SIZE,
                "offset": (asked.page - 1) * shelving.SIZE,
            },
        )
        drawn = render.render_model(shown, asked, problem=problem, simulated=self._simulated())
        return drawn, 200 if problem is None else errors.status_of(problem)

    def _simulated(self) -> Any:
        return self._rooms.clock.now() if self._rooms.layout.clock == "replay" else None
