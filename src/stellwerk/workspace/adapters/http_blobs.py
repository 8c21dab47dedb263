"""The store behind a URL: blobs as streams, many small ones in one request. What arrives is verified here again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from stellwerk.core import digest as digests
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Corrupt, Invalid, NotFound, Unavailable
from stellwerk.store.framing import BLOB_LIMITS, MEDIA, frame, read
from stellwerk.store.rules import checked_range
from stellwerk.workspace.adapters.line import ATTEMPTS, Line

T = TypeVar("T")

API = "/api/v1"
OCTETS, JSON = "application/octet-stream", "application/json"
TOGETHER = 500
"""Blobs that are fetched by one request."""


class HttpBlobs:
    """Blobs of a server. Ranges are verified by the server alone, everything else here too."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def put(self, data: bytes) -> Digest:
        digest = digests.of_bytes(data)
        self._line.request("PUT", f"{API}/blobs/{digest}", body=data, kind=OCTETS, again=True)
        return digest

    def put_stream(self, chunks: Iterable[bytes]) -> Digest:
        hasher = hashlib.sha256()
        source = _Source(chunks, hasher)
        try:
            answer = self._line.request("POST", f"{API}/blobs", body=source, kind=OCTETS)
        except Unavailable:
            if source.failure is not None:
                raise source.failure from None
            raise
        said = json.loads(answer)["digest"]
        if said != "sha256:" + hasher.hexdigest():
            raise Unavailable(
                "the server received other bytes than were sent", code="server-answer", hint="try again"
            )
        return digests.parse(said)

    def put_many(self, items: Iterable[bytes]) -> list[Digest]:
        names: list[Digest] = []
        waiting: list[bytes] = []
        size = 0
        for item in items:
            names.append(digests.of_bytes(item))
            if len(item) > BLOB_LIMITS.framed_bytes:
                self.put(item)
                continue
            waiting.append(item)
            size += len(item)
            if size >= BLOB_LIMITS.kept_together or len(waiting) >= BLOB_LIMITS.batch_blobs:
                self._send(waiting)
                waiting, size = [], 0
        self._send(waiting)
        return names

    def _send(self, items: list[bytes]) -> None:
        if not items:
            return
        body = b"".join(map(frame, items))
        answer = self._line.request("POST", f"{API}/blobs/batch", body=body, kind=MEDIA, again=True)
        if json.loads(answer) != {"blobs": len(items)}:
            raise Unavailable("the server did not keep every blob", code="server-answer", hint="try again")

    def get(self, digest: Digest) -> bytes:
        data = self._line.request("GET", f"{API}/blobs/{digests.parse(digest)}", again=True)
        if digests.of_bytes(data) != digest:
            raise _corrupt(digest)
        return data

    def stream(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        wanted = checked_range(start, stop)
        path = f"{API}/blobs/{digests.parse(digest)}"
        if wanted != slice(0, None):
            yield from self._range(path, digest, wanted)
            return
        hasher, held = hashlib.sha256(), b""
        for piece in self._resumed(path):
            hasher.update(piece)
            if held:
                yield held
            held = piece
        if "sha256:" + hasher.hexdigest() != digest:
            raise _corrupt(digest)
        yield held

    def _resumed(self, path: str) -> Iterator[bytes]:
        """All pieces of an answer. Where the line is cut, the rest is asked for; damage is then said at once."""
        received, left = 0, ATTEMPTS
        while True:
            before = received
            try:
                headers = {"Range": f"bytes={received}-"} if received else {}
                with self._line.receive("GET", path, headers=headers) as answer:
                    for piece in answer.pieces():
                        received += len(piece)
                        yield piece
                return
            except Unavailable:
                left = ATTEMPTS if received > before else left - 1
                if not left:
                    raise
                self._line.wait()

    def _range(self, path: str, digest: Digest, wanted: slice) -> Iterator[bytes]:
        first, last, _ = wanted.indices(self.size(digest))
        if first >= last:
            return
        with self._line.receive("GET", path, headers={"Range": f"bytes={first}-{last - 1}"}) as answer:
            yield from answer.pieces()

    def has(self, digest: Digest) -> bool:
        try:
            self.size(digest)
        except NotFound:
            return False
        return True

    def size(self, digest: Digest) -> int:
        with self._line.receive("HEAD", f"{API}/blobs/{digests.parse(digest)}") as answer:
            return answer.length

    def lengths(self, wanted: Collection[Digest]) -> dict[Digest, int]:
        found: dict[Digest, int] = {}
        for some in _together(map(digests.parse, wanted), BLOB_LIMITS.batch_blobs):
            body = json.dumps({"digests": some}).encode()
            answer = json.loads(self._line.request("POST", f"{API}/blobs.lengths", body=body, kind=JSON, again=True))
            found |= {digests.parse(name): int(size) for name, size in answer.items()}
        return found

    def get_many(self, wanted: Collection[Digest]) -> Iterator[bytes]:
        for some in _together(map(digests.parse, wanted), TOGETHER):
            try:
                yield from self._fetch(some)
            except Invalid as problem:
                if problem.code != "too-large":
                    raise
                yield from map(self.get, some)

    def _fetch(self, some: list[Digest]) -> Iterator[bytes]:
        body = json.dumps({"digests": some}).encode()
        with self._line.receive("POST", f"{API}/blobs/fetch", body=body, kind=JSON) as answer:
            expected = iter(some)
            for data in read(answer.pieces()):
                if digests.of_bytes(data) != next(expected, None):
                    raise Corrupt("the server sent other blobs than were asked for", code="corrupt-blob")
                yield data
            if next(expected, None) is not None:
                raise Unavailable("the server sent fewer blobs than were asked for", code="server-answer")

    def join(self, parts: Sequence[Digest]) -> Digest:
        """Keep the concatenation of blobs that the server has."""
        body = json.dumps({"parts": list(map(digests.parse, parts))}).encode()
        return digests.parse(json.loads(self._line.request("POST", f"{API}/blobs.join", body=body, kind=JSON)))

    def reachable(self, datasets: Collection[str]) -> set[Digest]:
        """What the server's ledger leads to, whether or not its store has it."""
        body = json.dumps({"datasets": list(datasets)}).encode()
        answer = self._line.request("POST", f"{API}/blobs/reachable", body=body, kind=JSON, again=True)
        return {digests.parse(line) for line in answer.decode("ascii").splitlines()}


class _Source:
    """A body that is sent piece by piece; keeps the error of whoever provides it, which is no fault of the line."""

    def __init__(self, chunks: Iterable[bytes], hasher: Any) -> None:
        self._chunks, self._hasher = chunks, hasher
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._chunks:
                self._hasher.update(chunk)
                if chunk:
                    yield chunk
        except Exception as failure:
            self.failure = failure
            raise


def _together(items: Iterable[T], many: int) -> Iterator[list[T]]:
    rest = iter(items)
    while some := list(islice(rest, many)):
        yield some


def _corrupt(digest: Digest) -> Corrupt:
    return Corrupt(f"the server sent other bytes than {digest}", code="corrupt-blob")
