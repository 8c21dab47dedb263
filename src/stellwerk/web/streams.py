"""Bytes on their way through the server: bodies in, blobs and ranges of them out, in constant memory."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from itertools import chain

import anyio.from_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.store.framing import BLOB_LIMITS
from stellwerk.store.ports import Blobs

OCTETS = "application/octet-stream"
PIECE = 1 << 20
"""Bytes that change threads together."""
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})|bytes=-(\d{1,18})")


class Pieces:
    """A request's body for a thread that works, piece by piece; the client is read no faster than that."""

    def __init__(self, request: Request) -> None:
        self._stream: AsyncIterator[bytes] = request.stream()  # an iterator: `async for` does not begin it anew

    def __iter__(self) -> Iterator[bytes]:
        while (piece := anyio.from_thread.run(self._next)) is not None:
            if piece:
                yield piece

    async def _next(self) -> bytes | None:
        parts: list[bytes] = []
        size = 0
        async for part in self._stream:
            parts.append(part)
            size += len(part)
            if size >= PIECE:
                break
        return b"".join(parts) if parts else None


async def streamed(
    pieces: Iterator[bytes], status: int, headers: dict[str, str], kind: str | None = None
) -> Response:
    """An answer whose first piece is ready: what goes wrong before it is still an error with a status."""
    first = await run_in_threadpool(_first(pieces))
    return StreamingResponse(chain(first, pieces), status, headers, media_type=kind)


def _first(pieces: Iterator[bytes]) -> Callable[[], list[bytes]]:
    return lambda: [piece for piece in (next(pieces, None),) if piece is not None]


async def give(request: Request, blobs: Blobs, digest: Digest, headers: Mapping[str, str], kind: str) -> Response:
    """A blob, or a range of it, or what is to be said of it alone. Raises `NotFound`."""
    size = await run_in_threadpool(blobs.size, digest)
    # Among the headers, so that nobody adds a character set of which we know nothing.
    known = {**headers, "Accept-Ranges": "bytes", "Content-Type": kind}
    if request.method == "HEAD":
        return Response(headers={**known, "Content-Length": str(size)})
    wanted = _range(request.headers.get("range", ""), size)
    if wanted is None:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
    start, stop, partial = wanted
    known["Content-Length"] = str(stop - start)
    if partial:
        known["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return await streamed(blobs.stream(digest, start=start, stop=stop), 206 if partial else 200, known)


async def keep(request: Request, blobs: Blobs) -> Digest:
    """The body as a blob. A body that breaks off is none."""
    return await run_in_threadpool(blobs.put_stream, limited(Pieces(request)))


def limited(pieces: Iterator[bytes] | Pieces) -> Iterator[bytes]:
    """Pieces, and no more of them than a blob may have. Raises `Invalid` (`too-large`)."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > BLOB_LIMITS.blob_bytes:
            raise Invalid(f"a blob may have at most {BLOB_LIMITS.blob_bytes:,} bytes", code="too-large")
        yield piece


def _range(header: str, size: int) -> tuple[int, int, bool] | None:
    """Start, stop and whether that is a part. Several ranges and other units are ignored, as one may."""
    found = _RANGE.fullmatch(header.replace(" ", ""))
    if found is None:
        return 0, size, False
    if found[3]:
        start, stop = max(0, size - int(found[3])), size
    else:
        start, stop = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
    return (start, stop, True) if start < stop else None
