"""The calls of the door: a function each, with its place, its permission and the fields that it takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from stellwerk.access.model import Permission
from stellwerk.core.errors import Bug
from stellwerk.web.bodies import read_json
from stellwerk.web.doors.mlflow import errors, messages, wire
from stellwerk.web.doors.mlflow.waiting import NotYet, settled
from stellwerk.web.doors.mlflow.wire import Ask, Field
from stellwerk.web.routing import Guard, GuardedRoute, route
from stellwerk.workspace.rooms import Rooms

MAX_BODY = 32 << 20
"""Bytes of a JSON body. The largest thing that the client puts into one is the profile of a dataset, of 16 MB."""
ROOTS = ("/api", "/ajax-api")
"""Everything is answered under both: programs use one, MLflow's own page the other."""

Answer = Mapping[str, Any] | None
Work = Callable[[Rooms, Ask], Answer]
"""Its type of answer is what the description of the door says (`openapi`)."""
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Call:
    """One thing that the client may ask."""

    method: str
    path: str
    permission: Permission
    fields: Mapping[str, Field]
    work: Work
    limit: int


ANY_MEDIA = "*/*"
BYTES: Mapping[str, Any] = {ANY_MEDIA: None}
"""An answer whose bytes are a file, of whatever type."""


@dataclass(frozen=True, slots=True)
class Plain:
    """One thing that the client may ask which reads its request and writes its answer by itself, such as a file.

    Attributes:
        path: Below each of the roots.
        query: What its query may name.
        headers: What its headers may say.
        takes: Its body: the fields of a message, or media types.
        gives: Its answer: the type of a message, or types by media type, None for bytes that are no message.
        fails: What it answers when it is refused, likewise.
        also: What other statuses mean.
    """

    method: str
    path: str
    permission: str
    work: Endpoint
    _: KW_ONLY
    query: Mapping[str, Field] = field(default_factory=dict)
    headers: Mapping[str, Field] = field(default_factory=dict)
    takes: Mapping[str, Field] | tuple[str, ...] = ()
    gives: Any = None
    fails: Any = messages.Failure
    also: Mapping[int, str] = field(default_factory=dict)
    roots: tuple[str, ...] = ROOTS


class Calls:
    """A table of calls under one prefix, such as `/2.0/mlflow`."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.table: list[Call] = []

    def add(
        self, method: str, path: str, permission: Permission, limit: int = MAX_BODY, /, **fields: Field
    ) -> Callable[[Work], Work]:
        """Enter a function. A GET takes its fields from the query, everything else from a JSON body."""

        def enter(work: Work) -> Work:
            if any((known.method, known.path) == (method, path) for known in self.table):
                raise Bug(f"two calls are {method} {path}")
            self.table.append(Call(method, path, permission, fields, work, limit))
            return work

        return enter


def routes(tables: Iterable[Calls], rooms: Rooms, guard: Guard) -> list[GuardedRoute]:
    """A route for each call, under each root."""
    return [
        route(
            f"{root}{table.prefix}/{call.path}",
            endpoint(rooms, call),
            [call.method],
            permission=call.permission,
            guard=guard,
            respond=errors.respond,
            about=call,
        )
        for root in ROOTS
        for table in tables
        for call in table.table
    ]


def plain_routes(plains: Iterable[Plain], guard: Guard | None = None) -> list[GuardedRoute]:
    """A route for each of these, under each of its roots."""
    return [
        route(
            root + one.path,
            one.work,
            [one.method],
            permission=one.permission,
            guard=guard,
            respond=errors.respond,
            about=one,
        )
        for one in plains
        for root in one.roots
    ]


def endpoint(rooms: Rooms, call: Call) -> Endpoint:
    """What answers a call: read here, done in a thread."""

    async def perform(request: Request) -> Response:
        query = request.query_params if call.method == "GET" else None
        # A GET without a query may carry a body, as MLflow's older clients send it.
        body = b"" if query else await _body(request, call)

        def work() -> bytes:
            fields = wire.read_query(query, call.fields) if query else wire.read_body(body, call.fields)
            return wire.write(call.work(rooms, Ask(fields, request.path_params)))

        try:
            data = await run_in_threadpool(work)
        except NotYet as wanted:
            data = wire.write(await settled(rooms.collector.arrivals, wanted))
        return Response(data, media_type="application/json")

    perform.__name__ = f"mlflow {call.path}"
    return perform


async def _body(request: Request, call: Call) -> bytes:
    empty = request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers
    return b"" if empty else await read_json(request, call.limit)
