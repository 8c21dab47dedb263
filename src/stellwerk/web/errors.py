"""From errors to HTTP answers: the one place that knows status codes. Bodies never hold traces or paths."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from stellwerk.core.errors import Bug, Conflict, Corrupt, Invalid, NotFound, Refused, StellwerkError, Unavailable

LOGGER = logging.getLogger("stellwerk.web")

RETRY_AFTER_SECONDS = 5

BY_CODE = {
    "invalid-json": 400,
    "unauthenticated": 401,
    "method-not-allowed": 405,
    "too-large": 413,
    "unsupported-media-type": 415,
    "disk-full": 507,
}
"""Codes whose status is not the one of their class."""

BY_CLASS: tuple[tuple[type[StellwerkError], int], ...] = (
    (Invalid, 422),
    (NotFound, 404),
    (Conflict, 409),
    # Clients retry 408, 429 and most 5xx by themselves; a refusal must be none of these.
    (Refused, 403),
    (Unavailable, 503),
    (Corrupt, 500),
    (Bug, 500),
)

CLASSES: dict[str, type[StellwerkError]] = {kind.__name__: kind for kind, _ in BY_CLASS} | {"Error": StellwerkError}
"""The class of an error is part of its answer, so that a remote caller raises what a local one would."""


def status_of(error: BaseException) -> int:
    """The HTTP status of an error; whatever is not foreseen is 500."""
    if not isinstance(error, StellwerkError):
        return 500
    if error.code in BY_CODE:
        return BY_CODE[error.code]
    return next((status for kind, status in BY_CLASS if isinstance(error, kind)), 500)


def respond(error: BaseException, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that failed: `{"error", "code", "hint", "class"}`."""
    shown = error if isinstance(error, StellwerkError) else _stand_in(error)
    status = status_of(shown)
    if status >= 500 and status != 503:
        LOGGER.error("%s: %s", shown.code, shown.message, exc_info=error)
    extra = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status in (503, 507) else {}
    if status == 401:
        extra["WWW-Authenticate"] = "Bearer"
    kind = next(name for name in CLASSES if isinstance(shown, CLASSES[name]))
    body = json.dumps({"error": shown.message, "code": shown.code, "hint": shown.hint, "class": kind})
    return Response(body, status, {**(headers or {}), **extra}, "application/json")


def _stand_in(error: BaseException) -> StellwerkError:
    if isinstance(error, ClientDisconnect):
        return Invalid("the client went away before its request was complete", code="client-gone")
    # What a stranger's exception says may be anything, so only the log gets to see it.
    return Bug("something went wrong inside; it is in the server's log", hint="please report it")


async def on_http_exception(request: Request, error: Exception) -> Response:
    """For the errors that the framework raises itself, such as unknown paths and wrong methods."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = (error.headers if isinstance(error, HTTPException) else None) or {}
    if status == 404:
        return respond(NotFound("there is nothing under this path"), headers)
    if status == 405:
        shown = Invalid(f"this path does not take {request.method[:20]}", code="method-not-allowed")
        return respond(shown, headers)
    body = json.dumps({"error": f"HTTP {status}", "code": "http-error", "hint": ""})
    return Response(body, status, dict(headers), "application/json")


async def on_exception(_request: Request, error: Exception) -> Response:
    """For everything that no route caught."""
    return respond(error)


HANDLERS = {HTTPException: on_http_exception, StellwerkError: on_exception, Exception: on_exception}
"""For the `exception_handlers` of an application."""
