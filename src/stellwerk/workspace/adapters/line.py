"""Requests to a server of ours: errors arrive as the errors they are, answers whole or piece by piece."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from stellwerk.core import errors
from stellwerk.core.errors import StellwerkError, Unavailable

CONNECT_SECONDS, READ_SECONDS = 5.0, 600.0
ATTEMPTS, PAUSE_SECONDS = 4, 0.2
PIECE = 1 << 20
MAX_ERROR = 64 << 10
_CLASSES = {
    name: getattr(errors, name)
    for name in ("NotFound", "Conflict", "Invalid", "Refused", "Corrupt", "Unavailable", "Bug")
}


class Answer:
    """An answer under way."""

    def __init__(self, response: Any, url: str) -> None:
        self._response, self._url = response, url

    @property
    def length(self) -> int:
        """How many bytes the server announced."""
        return int(self._response.headers.get("Content-Length", "0"))

    def pieces(self) -> Iterator[bytes]:
        """The body. Raises `Unavailable` where the line is cut."""
        try:
            while piece := self._response.read1(PIECE):
                yield piece
        except HTTPError as cause:
            raise _cut(self._url) from cause


class Line:
    """Talks to one address. Follows no redirect: whoever answers is whom we asked."""

    def __init__(
        self,
        url: str,
        *,
        pause: float = PAUSE_SECONDS,
        headers: dict[str, str] | None = None,
        seconds: float = READ_SECONDS,
    ) -> None:
        self.url = url.rstrip("/")
        self._pause, self._headers = pause, headers or {}
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=seconds), retries=False, maxsize=16
        )

    def request(self, method: str, path: str, *, body: Any = None, kind: str = "", again: bool = False) -> bytes:
        """One request; returns the body of its answer.

        Args:
            again: Doing it twice does no harm, so it may be tried again where the line is cut or the server is busy.
        """
        pause = self._pause
        for left in range(ATTEMPTS - 1 if again else 0, -1, -1):
            try:
                with self.receive(method, path, body=body, kind=kind) as answer:
                    return b"".join(answer.pieces())
            except Unavailable:
                if not left:
                    raise
            self.wait(pause)
            pause *= 2
        raise AssertionError  # pragma: no cover - the loop returns or raises

    @contextmanager
    def receive(
        self, method: str, path: str, *, body: Any = None, kind: str = "", headers: dict[str, str] | None = None
    ) -> Iterator[Answer]:
        """One request whose answer is read piece by piece; raises the error that the server names."""
        sent = {**self._headers, **({"Content-Type": kind} if kind else {}), **(headers or {})}
        try:
            response = self._pool.request(
                method, self.url + path, body=body, headers=sent, preload_content=False, redirect=False
            )
        except HTTPError as cause:
            raise _cut(self.url) from cause
        try:
            if response.status >= 300:
                raise self._error(response)
            yield Answer(response, self.url)
            response.drain_conn()
        except BaseException:
            response.close()  # what was not read must not be taken for the next answer
            raise
        finally:
            response.release_conn()

    def wait(self, pause: float | None = None) -> None:
        """Give a server time before it is asked again."""
        longest = self._pause if pause is None else pause
        time.sleep(random.uniform(0, longest))  # noqa: S311 - spreads callers, keeps no secret

    def close(self) -> None:
        """Release connections."""
        self._pool.clear()

    def _error(self, response: Any) -> StellwerkError:
        try:
            body = response.read(MAX_ERROR)
        except HTTPError as cause:
            raise _cut(self.url) from cause
        try:
            document = json.loads(body)
            kind = _CLASSES[document["class"]]
            error: StellwerkError = kind(document["error"], code=document["code"], hint=document.get("hint", ""))
        except (ValueError, KeyError, TypeError):
            return _foreign(response.status, body)
        return error


def _foreign(status: int, body: bytes) -> StellwerkError:
    """What a server says that is none of ours: MLflow's say why in `message`."""
    try:
        said = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        said = ""
    kind = {400: errors.Invalid, 404: errors.NotFound}.get(status, Unavailable) if said else None
    kind = kind or (errors.NotFound if status == 404 else Unavailable)
    why = f": {str(said)[:500]}" if said else " without saying why"
    return kind(f"the server answered {status}{why}", code="server-answer")


def _cut(url: str) -> Unavailable:
    return Unavailable(f"no answer from {url}", code="server-unreachable", hint="is `stellwerk up` running there?")
