"""Errors as MLflow's client reads them: `{"error_code", "message"}` (mlflow/exceptions.py, 3.17).

The client makes its exception from the code and not from the status, and sends a request again after 408, 429 and
most 5xx: so nothing that stays wrong may have one of these.
"""

from __future__ import annotations

import json

from starlette.responses import Response

from stellwerk.core.errors import Conflict, Corrupt, Invalid, NotFound, Refused, StellwerkError, Unavailable
from stellwerk.web import errors

BY_CODE = {
    "unauthenticated": ("UNAUTHENTICATED", 401),
    "already-exists": ("RESOURCE_ALREADY_EXISTS", 400),
    "unknown-endpoint": ("ENDPOINT_NOT_FOUND", 404),
    "not-offered": ("FEATURE_DISABLED", 403),
    "wrong-state": ("INVALID_STATE", 400),
}
BY_CLASS: tuple[tuple[type[StellwerkError], str, int], ...] = (
    (Invalid, "INVALID_PARAMETER_VALUE", 400),
    (NotFound, "RESOURCE_DOES_NOT_EXIST", 404),
    (Conflict, "RESOURCE_CONFLICT", 409),
    (Refused, "PERMISSION_DENIED", 403),
    (Unavailable, "TEMPORARILY_UNAVAILABLE", 503),
    (Corrupt, "DATA_LOSS", 500),
)


def respond(error: BaseException) -> Response:
    """The answer to a request that failed."""
    plain = errors.respond(error)  # which logs, and says nothing of what strangers' exceptions say
    shown = json.loads(bytes(plain.body))
    name, status = _named(error)
    message = f"{shown['error']} ({shown['hint']})" if shown["hint"] else shown["error"]
    headers = {key: value for key, value in plain.headers.items() if key in ("retry-after", "www-authenticate")}
    body = json.dumps({"error_code": name, "message": message})
    return Response(body, status, headers, "application/json")


def _named(error: BaseException) -> tuple[str, int]:
    if not isinstance(error, StellwerkError):
        # A client that went away reads nothing; everything else is our own fault.
        return "INTERNAL_ERROR", 500
    if error.code in BY_CODE:
        return BY_CODE[error.code]
    return next(
        ((name, status) for kind, name, status in BY_CLASS if isinstance(error, kind)), ("INTERNAL_ERROR", 500)
    )
