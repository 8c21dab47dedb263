"""The pages of cases: what waits for a person, and the forms that decide it or hand it on. No script is needed."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from stellwerk.core.errors import Invalid, StellwerkError
from stellwerk.web import errors
from stellwerk.web.bodies import read_body
from stellwerk.web.pages import page
from stellwerk.web.routing import Guard, GuardedRoute, route
from stellwerk.web.ui import render, words
from stellwerk.workspace import operations as ops
from stellwerk.workspace.rooms import Rooms

MOST_SHOWN = 200
MOST_TYPED = 64 << 10
FORM = "application/x-www-form-urlencoded"
SAYS_ORIGIN = {"Referrer-Policy": "same-origin"}
"""Else a browser does not say from where a form was sent, and the wall does not take it."""


class CasePages:
    """The list of open cases, and each with what can be done about it."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def routes(self, guard: Guard) -> list[GuardedRoute]:
        """Their routes; looking needs `cases:read`, changing `cases:decide`."""
        return [
            route("/cases", page(self._cases), ["GET"], permission="cases:read", guard=guard),
            route("/cases/{case}", self._case, ["GET"], permission="cases:read", guard=guard),
            route("/cases/{case}", self._changed, ["POST"], permission="cases:decide", guard=guard),
        ]

    def _cases(self, _request: Request) -> str:
        found = ops.list_cases.perform(self._rooms, {"limit": MOST_SHOWN + 1})
        return render.render_cases(found[:MOST_SHOWN], more=len(found) > MOST_SHOWN, simulated=self._simulated())

    async def _case(self, request: Request) -> Response:
        return await run_in_threadpool(self._drawn, request.path_params["case"], None, {})

    async def _changed(self, request: Request) -> Response:
        """What a form says is done; what is wrong with it is told above the form, with what was typed."""
        case = request.path_params["case"]
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await read_body(request, MOST_TYPED)
        return await run_in_threadpool(self._do, case, kind, body)

    def _do(self, case: str, kind: str, body: bytes) -> Response:
        typed: dict[str, str] = {}
        try:
            if kind != FORM:
                raise Invalid(f"the content type is {kind[:60]!r}, expected {FORM!r}", code="unsupported-media-type")
            typed = {
                name: text.strip() for name, text in parse_qsl(body.decode("utf-8", "replace"), max_num_fields=10)
            }
            self._act(case, typed)
        except ValueError:
            return self._drawn(case, Invalid("the form has too many fields", code="invalid-arguments"), {})
        except StellwerkError as problem:
            return self._drawn(case, problem, typed)
        return RedirectResponse(words.page("cases", case), 303)

    def _act(self, case: str, typed: dict[str, str]) -> None:
        reason = typed.get("reason", "")
        if typed.get("decision"):
            ops.decide_case.perform(self._rooms, {"case": case, "decision": typed["decision"], "reason": reason})
            return
        to = {name: typed.get(name, "") for name in ("to", "queue")}
        ops.delegate_case.perform(self._rooms, {"case": case, **to, "reason": reason})

    def _drawn(self, case: str, problem: StellwerkError | None, typed: dict[str, str]) -> Response:
        try:
            found = ops.get_case.perform(self._rooms, {"case": case})
        except StellwerkError as error:
            status = errors.status_of(error)
            return HTMLResponse(render.render_error(status, error.message, error.hint), status)
        drawn = render.render_case(
            found, actor=self._rooms.actor, problem=problem, typed=typed, simulated=self._simulated()
        )
        return HTMLResponse(drawn, 200 if problem is None else errors.status_of(problem), headers=SAYS_ORIGIN)

    def _simulated(self) -> Any:
        return self._rooms.clock.now() if self._rooms.layout.clock == "replay" else None
