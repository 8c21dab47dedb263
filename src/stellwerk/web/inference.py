"""The inference application: the plain way and the Open Inference Protocol in front of endpoint servers.

It runs with or without the control plane. Who may call is the guard's decision, which the composition brings.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from stellwerk._version import __version__
from stellwerk.core.errors import NotFound, Refused, StellwerkError, Unavailable
from stellwerk.releases.model import SignalState
from stellwerk.serving import oip, plain, wire
from stellwerk.serving.model import LIMITS, BatchAnswer
from stellwerk.serving.service import EndpointServer
from stellwerk.web import errors
from stellwerk.web.bodies import read_json
from stellwerk.web.routing import OPEN, Guard, GuardedRoute, matrix, route

Servers = Mapping[str, EndpointServer]
Answer = tuple[bytes, Mapping[str, str]]
Work = Callable[[EndpointServer], Answer]


def build(servers: Servers, *, guard: Guard, prefix: str = "") -> list[GuardedRoute]:
    """All routes of the inference application.

    Args:
        servers: Endpoint servers by endpoint; may be changed while running.
        guard: Asked before every request but those about health.
        prefix: Put before every path, such as `/serve`.
    """
    doors = _Doors(servers)

    def guarded(path: str, door: Callable[[Request], Awaitable[Response]], method: str) -> GuardedRoute:
        return route(prefix + path, door, [method], permission="predict", guard=guard)

    return [
        route(prefix + "/v2/health/live", doors.live, ["GET"], permission=OPEN),
        route(prefix + "/v2/health/ready", doors.ready, ["GET"], permission=OPEN),
        guarded("/v2", doors.server, "GET"),
        guarded("/v2/models/{endpoint}", doors.model, "GET"),
        guarded("/v2/models/{endpoint}/ready", doors.model_ready, "GET"),
        guarded("/v2/models/{endpoint}/infer", doors.infer, "POST"),
        guarded("/predict", doors.predict, "POST"),
        guarded("/predict/{endpoint}", doors.predict, "POST"),
    ]


def application(servers: Servers, *, guard: Guard, prefix: str = "") -> Starlette:
    """The inference application by itself, for a serving process."""
    routes = build(servers, guard=guard, prefix=prefix)
    matrix(routes)
    app = Starlette(routes=routes, exception_handlers=errors.HANDLERS)
    app.router.redirect_slashes = False  # one spelling per path
    return app


class _Doors:
    """The endpoints of all routes. Work that may wait for a disk runs in threads, so that one fsync serves many."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._under_way = 0

    async def live(self, _request: Request) -> Response:
        return _json(wire.encode({"live": True}))

    async def ready(self, _request: Request) -> Response:
        """Whether predictions could be logged; the signals are each endpoint's own matter."""
        await run_in_threadpool(self._check_logs)
        return _json(wire.encode({"ready": True}))

    def _check_logs(self) -> None:
        for server in tuple(self._servers.values()):
            server.check_log()

    async def server(self, _request: Request) -> Response:
        return _json(wire.encode(oip.server_metadata(__version__)))

    async def model(self, request: Request) -> Response:
        return await self._answer(request, _describe)

    async def model_ready(self, request: Request) -> Response:
        return await self._answer(request, _ready)

    async def infer(self, request: Request) -> Response:
        body = await read_json(request, LIMITS.body_bytes)
        return await self._answer(request, partial(_infer, body=body))

    async def predict(self, request: Request) -> Response:
        body = await read_json(request, LIMITS.body_bytes)
        return await self._answer(request, partial(_predict, body=body))

    async def _answer(self, request: Request, work: Work) -> Response:
        """Run work in a thread, unless too much is under way."""
        if self._under_way >= LIMITS.concurrent:
            raise Unavailable(f"{self._under_way} requests are under way", code="overloaded")
        self._under_way += 1
        try:
            return await run_in_threadpool(self._respond, request, work)
        finally:
            self._under_way -= 1

    def _respond(self, request: Request, work: Work) -> Response:
        """The answer with the endpoint's signal on it, also when it is an error."""
        server = self._server(request)
        try:
            body, headers = work(server)
            return _json(body, headers)
        except Exception as error:  # noqa: BLE001 - becomes an answer that carries the signal
            return errors.respond(error, _signal_headers(server))

    def _server(self, request: Request) -> EndpointServer:
        servers = self._servers
        name = request.path_params.get("endpoint") or (next(iter(servers)) if len(servers) == 1 else None)
        if name is None:
            raise NotFound(
                f"{len(servers)} endpoints are served here", code="unknown-endpoint", hint="use /predict/<endpoint>"
            )
        if name not in servers:
            raise NotFound(f"no endpoint {name[:60]!r} is served here", code="unknown-endpoint")
        return servers[name]


def _predict(server: EndpointServer, body: bytes) -> Answer:
    columns, keys = plain.request(body)
    answer = server.predict(columns, keys)
    return plain.response(answer), _headers(answer)


def _infer(server: EndpointServer, body: bytes) -> Answer:
    asked = oip.request(body, server.signature())
    answer = server.predict(asked.columns, asked.keys)
    return oip.response(server.endpoint, asked, answer), _headers(answer)


def _describe(server: EndpointServer) -> Answer:
    state, signature = server.state(), server.signature()
    if signature is None:
        raise Refused(f"endpoint {server.endpoint!r} is at stop: {state.why}", code="signal-stop")
    release = state.token.release if state.token else ""
    return wire.encode(oip.model_metadata(server.endpoint, release, signature)), _state_headers(state)


def _ready(server: EndpointServer) -> Answer:
    state = server.ready()
    if state.token is None:
        raise Refused(f"endpoint {server.endpoint!r} is at stop: {state.why}", code="signal-stop")
    return wire.encode({"name": server.endpoint, "ready": True}), _state_headers(state)


def _headers(answer: BatchAnswer) -> dict[str, str]:
    return {
        "Stellwerk-Model": answer.model,
        "Stellwerk-Release": answer.release,
        "Stellwerk-Signal": answer.signal,
    }


def _state_headers(state: SignalState) -> dict[str, str]:
    return {
        "Stellwerk-Model": state.token.model if state.token else "",
        "Stellwerk-Release": state.token.release if state.token else "",
        "Stellwerk-Signal": state.signal,
    }


def _signal_headers(server: EndpointServer) -> dict[str, str]:
    try:
        return _state_headers(server.state())
    except StellwerkError:
        return {"Stellwerk-Signal": "stop"}


def _json(body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, 200, dict(headers or {}), "application/json")
