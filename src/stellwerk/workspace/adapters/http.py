"""A workspace at the other end of a URL: operations as JSON, blobs as bytes, errors as the errors they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from stellwerk.core import digest as digests
from stellwerk.core import errors
from stellwerk.core.clock import parse_instant
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Corrupt, StellwerkError, Unavailable
from stellwerk.ledger import documents
from stellwerk.store.rules import checked_range

API = "/api/v1"
CONNECT_SECONDS, READ_SECONDS = 5.0, 600.0
_CLASSES = {
    name: getattr(errors, name)
    for name in ("NotFound", "Conflict", "Invalid", "Refused", "Corrupt", "Unavailable", "Bug")
}


class HttpCaller:
    """Talks to `stellwerk up`. Nothing is retried that might have been done already."""

    local = False

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS), retries=False, maxsize=8
        )
        self.blobs = HttpBlobs(self)
        self.clock = HttpClock(self)

    def call(self, operation: Any, arguments: dict[str, Any]) -> Any:
        known = operation.arguments
        body = {key: documents.dump_as(known[key][0], value) for key, value in arguments.items()}
        answer = self.request(
            "POST", f"{API}/{operation.name}", body=json.dumps(body).encode(), kind="application/json"
        )
        return documents.load(operation.answer, json.loads(answer))

    def request(self, method: str, path: str, *, body: bytes | None = None, kind: str = "") -> bytes:
        """One request; raises the error that the server names."""
        headers = {"Content-Type": kind} if kind else {}
        try:
            response = self._pool.request(method, self._url + path, body=body, headers=headers)
        except HTTPError as cause:
            raise Unavailable(
                f"no answer from {self._url}", code="server-unreachable", hint="is `stellwerk up` running there?"
            ) from cause
        if response.status >= 400:
            raise _error(response.status, response.data)
        return bytes(response.data)

    def close(self) -> None:
        self._pool.clear()


class HttpBlobs:
    """The store behind a URL. What arrives is verified here again."""

    def __init__(self, caller: HttpCaller) -> None:
        self._caller = caller

    def put(self, data: bytes) -> Digest:
        digest = digests.of_bytes(data)
        self._caller.request("PUT", f"{API}/blobs/{digest}", body=data, kind="application/octet-stream")
        return digest

    def put_stream(self, chunks: Iterable[bytes]) -> Digest:
        return self.put(b"".join(chunks))

    def put_many(self, items: Iterable[bytes]) -> list[Digest]:
        return [self.put(item) for item in items]

    def get(self, digest: Digest) -> bytes:
        data = self._caller.request("GET", f"{API}/blobs/{digests.parse(digest)}")
        if digests.of_bytes(data) != digest:
            raise Corrupt(f"the server sent other bytes than {digest}", code="corrupt-blob")
        return data

    def stream(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        yield self.get(digest)[checked_range(start, stop)]

    def has(self, digest: Digest) -> bool:
        try:
            self._caller.request("HEAD", f"{API}/blobs/{digests.parse(digest)}")
        except errors.NotFound:
            return False
        return True

    def size(self, digest: Digest) -> int:
        return len(self.get(digest))


class HttpClock:
    """The server's time."""

    def __init__(self, caller: HttpCaller) -> None:
        self._caller = caller

    def now(self) -> Any:
        return parse_instant(json.loads(self._caller.request("GET", f"{API}/now"))["now"])


def _error(status: int, body: bytes) -> StellwerkError:
    try:
        document = json.loads(body)
        kind = _CLASSES[document["class"]]
        error: StellwerkError = kind(document["error"], code=document["code"], hint=document.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        fallback = errors.NotFound if status == 404 else Unavailable
        return fallback(f"the server answered {status} without saying why", code="server-answer")
    return error
