"""Registration of routes. None exists without a permission, and none with a permission lacks a guard."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import Receive, Scope, Send

from stellwerk.access.model import PERMISSIONS
from stellwerk.core.errors import Bug
from stellwerk.web import errors

OPEN = "none"
"""The permission of routes that everybody may ask, such as health."""
SIGNATURE = "signature"
"""The permission of routes whose endpoints take nothing but bodies that are signed, and check that themselves."""
GRANT = "grant"
"""The permission of routes that give only what the grant covers whose token is sent, and check that themselves."""
_OF_NOBODY = (OPEN, SIGNATURE, GRANT)

Endpoint = Callable[[Request], Awaitable[Response]]
Guard = Callable[[Request, str], Awaitable[None]]
"""Raises `Refused` (code `unauthenticated` for 401) unless the caller of a request has a permission."""


class GuardedRoute(Route):
    """A route that knows what it requires.

    Attributes:
        about: What it takes and answers, in the words of its door, for whoever describes it.
    """

    requires: str
    about: object

    def __init__(self, path: str, endpoint: Endpoint, *, methods: list[str], name: str) -> None:
        super().__init__(path, endpoint, methods=methods, name=name)
        # A path holds whatever a name may hold, line breaks too, and ends where it ends.
        self.path_regex = re.compile(self.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)


class Directory(BaseRoute):
    """Routes whose paths hold nothing variable, found by one look instead of by asking each of hundreds."""

    def __init__(self, routes: Iterable[GuardedRoute]) -> None:
        self.routes = list(routes)
        self._at: dict[str, list[GuardedRoute]] = defaultdict(list)
        for one in self.routes:
            self._at[one.path].append(one)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        best: tuple[Match, Scope] = Match.NONE, {}
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        for one in self._at.get(path, ()):
            match, found = one.matches(scope)
            if match.value > best[0].value:
                best = match, {**found, _FOUND: one}
        return best

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope[_FOUND].handle(scope, receive, send)


_FOUND = "stellwerk.route"


def arranged(routes: Iterable[GuardedRoute]) -> list[BaseRoute]:
    """The same routes, sooner found: those without anything variable first. Raises `Bug` as `matrix` does."""
    listed = list(routes)
    matrix(listed)
    fixed = [one for one in listed if not one.param_convertors]
    return [Directory(fixed), *(one for one in listed if one.param_convertors)]


def route(
    path: str,
    endpoint: Endpoint,
    methods: Sequence[str],
    *,
    permission: str,
    guard: Guard | None = None,
    respond: Callable[[BaseException], Response] = errors.respond,
    about: object = None,
) -> GuardedRoute:
    """Make a route whose guard is asked before its endpoint, and whose errors become answers.

    Args:
        permission: One of the workspace's permissions, `none`, `signature`, or `grant`.
        guard: Required for every permission of the workspace.
        respond: How errors are spelled: doors of other protocols have their own way.
        about: What it takes and answers.
    """
    if permission not in _OF_NOBODY and permission not in PERMISSIONS:
        raise Bug(f"route {path} requires {permission!r}, which is no permission", code="unguarded-route")
    if permission not in _OF_NOBODY and guard is None:
        raise Bug(f"route {path} requires {permission!r}, but nothing checks it", code="unguarded-route")

    async def guarded(request: Request) -> Response:
        try:
            if permission not in _OF_NOBODY and guard is not None:
                await guard(request, permission)
            return await endpoint(request)
        except Exception as error:  # noqa: BLE001 - the rim: every error becomes an answer here
            return respond(error)

    result = GuardedRoute(path, guarded, methods=list(methods), name=getattr(endpoint, "__name__", path))
    result.requires, result.about = permission, about
    return result


def matrix(routes: Iterable[BaseRoute]) -> list[tuple[str, tuple[str, ...], str]]:
    """Path, methods and permission of every route. Raises `Bug` for one without permission: call it at start."""
    rows: list[tuple[str, tuple[str, ...], str]] = []
    for item in routes:
        path = str(getattr(item, "path", item))
        required = getattr(item, "requires", None) or getattr(getattr(item, "endpoint", None), "requires", None)
        if isinstance(item, Directory):
            rows += matrix(item.routes)
            continue
        if required is None and isinstance(item, Mount) and item.routes:
            rows += [(path + inner, methods, permission) for inner, methods, permission in matrix(item.routes)]
            continue
        if required not in _OF_NOBODY and required not in PERMISSIONS:
            raise Bug(f"route {path} declares no permission", code="unguarded-route")
        rows.append((path, tuple(sorted(getattr(item, "methods", None) or ())), str(required)))
    return rows
