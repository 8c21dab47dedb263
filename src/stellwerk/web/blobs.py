"""Bytes in and out: one blob at a time as a stream, many small ones in one request. Nothing is held whole in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from stellwerk.core import canonical
from stellwerk.core import digest as digests
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.store import many
from stellwerk.store.framing import BLOB_LIMITS, MEDIA, Frames, frame
from stellwerk.web import streams
from stellwerk.web.bodies import read_json
from stellwerk.web.routing import Guard, GuardedRoute, route
from stellwerk.workspace import reachable
from stellwerk.workspace.rooms import Rooms

MAX_ASKED = 1 << 20
"""Bytes of a list of digests: 10,000 and some space."""


def routes(rooms: Rooms, prefix: str, guard: Guard) -> list[GuardedRoute]:
    """All routes about blobs."""
    desk = _Desk(rooms)
    one = prefix + "/blobs/{digest}"
    return [
        route(one, desk.get, ["GET", "HEAD"], permission="data:read", guard=guard),
        route(one, desk.put, ["PUT"], permission="data:write", guard=guard),
        route(f"{prefix}/blobs", desk.take, ["POST"], permission="data:write", guard=guard),
        route(f"{prefix}/blobs/batch", desk.take_many, ["POST"], permission="data:write", guard=guard),
        route(f"{prefix}/blobs/fetch", desk.give_many, ["POST"], permission="data:read", guard=guard),
        route(f"{prefix}/blobs/reachable", desk.give_names, ["POST"], permission="data:read", guard=guard),
    ]


class _Desk:
    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def get(self, request: Request) -> Response:
        """One blob, or a range of it."""
        digest = digests.parse(request.path_params["digest"])
        return await streams.give(
            request, self._rooms.blobs, digest, {"Content-Disposition": "attachment"}, streams.OCTETS
        )

    async def put(self, request: Request) -> Response:
        """One blob whose name is known."""
        digest = digests.parse(request.path_params["digest"])
        await self._keep(request, digest)
        return Response(status_code=201)

    async def take(self, request: Request) -> Response:
        """One blob whose name is known at its end."""
        digest = await self._keep(request, None)
        return Response(json.dumps({"digest": digest}), 201, media_type="application/json")

    async def _keep(self, request: Request, expected: Digest | None) -> Digest:
        if expected is None:
            return await streams.keep(request, self._rooms.blobs)
        pieces = streams.limited(streams.Pieces(request))

        def checked() -> Iterator[bytes]:
            hasher = hashlib.sha256()
            for piece in pieces:
                hasher.update(piece)
                yield piece
            if "sha256:" + hasher.hexdigest() != expected:
                raise Invalid("the bytes are not those that the digest names", code="digest-mismatch")

        return await run_in_threadpool(self._rooms.blobs.put_stream, checked())

    async def take_many(self, request: Request) -> Response:
        """Many small blobs. They are durable when this answers; told to be too much, some may have been kept."""
        if request.headers.get("content-type", "") != MEDIA:
            raise Invalid(f"expected {MEDIA}", code="unsupported-media-type")
        pieces = streams.Pieces(request)

        def work() -> dict[str, int]:
            frames, waiting, size, kept = Frames(), list[bytes](), 0, 0
            for piece in pieces:
                for data in frames.feed(piece):
                    waiting.append(data)
                    size += len(data)
                if size >= BLOB_LIMITS.kept_together:
                    kept += len(self._rooms.blobs.put_many(waiting))
                    waiting, size = [], 0
            frames.end()
            return {"blobs": kept + len(self._rooms.blobs.put_many(waiting))}

        return Response(json.dumps(await run_in_threadpool(work)), 201, media_type="application/json")

    async def give_many(self, request: Request) -> Response:
        """Many small blobs, in the order in which they are asked for."""
        asked = await _asked(request, "digests")
        wanted = [digests.parse(text) for text in asked]
        if len(wanted) > BLOB_LIMITS.batch_blobs:
            raise Invalid(f"at most {BLOB_LIMITS.batch_blobs:,} blobs in one request", code="too-large")
        sizes = await run_in_threadpool(many.lengths, self._rooms.blobs, set(wanted))
        missing = next((digest for digest in wanted if digest not in sizes), None)
        if missing is not None:
            raise NotFound(f"no blob {missing}")
        longest, total = max(sizes.values(), default=0), sum(sizes[digest] for digest in wanted)
        if longest > BLOB_LIMITS.framed_bytes or total > BLOB_LIMITS.batch_bytes:
            raise Invalid("these are too many bytes for one request", code="too-large", hint="ask for fewer blobs")
        return await streams.streamed(map(frame, many.get_many(self._rooms.blobs, wanted)), 200, {}, MEDIA)

    async def give_names(self, request: Request) -> Response:
        """Every digest that the ledger leads to, or those of some datasets; one in a line."""
        datasets = tuple(await _asked(request, "datasets"))
        found = await run_in_threadpool(reachable.wanted, self._rooms, datasets)
        return await streams.streamed((f"{digest}\n".encode() for digest in sorted(found)), 200, {}, "text/plain")


async def _asked(request: Request, key: str) -> list[str]:
    document: Any = canonical.loads(await read_json(request, MAX_ASKED) or b"{}")
    asked = document.get(key, []) if isinstance(document, dict) and set(document) <= {key} else None
    if not isinstance(asked, list) or not all(isinstance(item, str) for item in asked):
        raise Invalid(f'expected {{"{key}": […]}} with texts', code="invalid-arguments")
    return asked
