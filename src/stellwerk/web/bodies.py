"""Reading request bodies: of the declared type, whole, and never more than allowed."""

from __future__ import annotations

from starlette.requests import Request

from stellwerk.core.errors import Invalid
from stellwerk.serving.model import LIMITS


async def read_json(request: Request, limit: int = LIMITS.body_bytes) -> bytes:
    """The body of a request that declares JSON. Raises `Invalid` before reading what will not be taken."""
    kind, _, options = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != "application/json" or "charset" in options.lower().replace("charset=utf-8", ""):
        raise Invalid(
            f"the content type is {kind.strip()[:60]!r}, expected 'application/json'",
            code="unsupported-media-type",
            hint="send the header Content-Type: application/json",
        )
    return await read_body(request, limit)


async def read_body(request: Request, limit: int) -> bytes:
    """The body of a request, whatever it is. Raises `Invalid` before reading what will not be taken."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise Invalid(f"the content encoding {encoding[:20]!r} is not understood", code="unsupported-media-type")
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        parts.append(chunk)
    return b"".join(parts)


def _too_large(limit: int) -> Invalid:
    return Invalid(
        f"the request is larger than {limit:,} bytes", code="too-large", hint="send it in several requests"
    )
