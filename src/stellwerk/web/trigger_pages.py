"""The page of triggers: what begins runs by itself. It works without any script."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from stellwerk.web.pages import address, page
from stellwerk.web.routing import Guard, GuardedRoute, route
from stellwerk.web.ui import render
from stellwerk.workspace import operations as ops
from stellwerk.workspace.rooms import Rooms


class TriggerPages:
    """The page that shows what fires, when it fires next, and what became of it."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def routes(self, guard: Guard) -> list[GuardedRoute]:
        """Its route; it needs `runs:read`."""
        return [route("/triggers", page(self._triggers), ["GET"], permission="runs:read", guard=guard)]

    def _triggers(self, request: Request) -> str:
        found = ops.list_triggers.perform(self._rooms, {})
        return render.render_triggers(found, address(request), simulated=self._simulated())

    def _simulated(self) -> Any:
        return self._rooms.clock.now() if self._rooms.layout.clock == "replay" else None
