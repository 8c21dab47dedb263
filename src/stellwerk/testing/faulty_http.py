"""A small HTTP proxy that does what networks and services do on bad days, by plan. For tests of remote stores."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, get_args
from urllib.parse import urlsplit

Fault = Literal[
    "error-500", "slow-down-503", "hang", "slow", "reset", "truncate", "flip-answer", "flip-request", "missing",
    "expired", "lost-reply", "error-in-200", "wrong-etag", "redirect",
]  # fmt: skip
"""What can go wrong with one request.

`slow` gives 1 KB/s; `flip-…` changes one bit of a body, another
one on the way back; `missing` is a 404 although the object is there; `lost-reply`
carries the request out and closes the line; `error-in-200` says 200 and means an error; `redirect` names another host.
"""
FAULTS: tuple[Fault, ...] = get_args(Fault)

_XML = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{0}</Code><Message>by plan</Message></Error>'
_SAID: dict[str, tuple[int, str]] = {
    "error-500": (500, "InternalError"),
    "slow-down-503": (503, "SlowDown"),
    "missing": (404, "NoSuchKey"),
    "expired": (400, "ExpiredToken"),
    "error-in-200": (200, "InternalError"),
}
PIECE, SLOWLY = 64, 16.0
"""Bytes and times a second of a slow answer: 1 KB/s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request that came by."""

    method: str
    path: str
    headers: dict[str, str]


Plan = Callable[[Seen], "Fault | None"]


class Proxy:
    """Between a client and a service. Plans are asked for each request; what they do not mind is passed on."""

    def __init__(self, upstream: str, elsewhere: str = "http://127.0.0.1:9/") -> None:
        parts = urlsplit(upstream)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._lock = threading.Lock()
        self._plan: Plan = lambda _: None
        self._ended = threading.Event()
        self.elsewhere = elsewhere
        self.seen: list[Seen] = []
        self.done: list[Fault] = []
        """Faults that happened, so that a test can demand it."""

    def calm(self) -> None:
        """Nothing goes wrong any more."""
        self._plan = lambda _: None

    def always(self, fault: Fault, *methods: str) -> None:
        """Every request of these methods goes wrong; of all, if none is said."""
        self._plan = lambda request: fault if not methods or request.method in methods else None

    def next(self, fault: Fault, *methods: str, times: int = 1) -> None:
        """The next few requests of these methods go wrong."""
        left = [times]

        def plan(request: Seen) -> Fault | None:
            if (methods and request.method not in methods) or not left[0]:
                return None
            left[0] -= 1
            return fault

        self._plan = plan

    def chaos(self, seed: int, share: float, faults: tuple[Fault, ...]) -> None:
        """A share of all requests goes wrong in any of these ways; the same for the same seed and order."""
        rolled = random.Random(seed)
        self._plan = lambda _: rolled.choice(faults) if rolled.random() < share else None

    def fault_of(self, request: Seen) -> Fault | None:
        """Note a request and say what happens to it."""
        with self._lock:
            self.seen.append(request)
            fault = self._plan(request)
            if fault is not None:
                self.done.append(fault)
            return fault

    def forward(self, request: Seen, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """What the service answers."""
        line = HTTPConnection(self._host, self._port, timeout=60)
        try:
            line.request(request.method, request.path, body=body or None, headers=request.headers)
            answer: HTTPResponse = line.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            line.close()

    def wait(self, seconds: float | None = None) -> bool:
        """Let time pass, but not beyond the end of the proxy; returns whether it ended."""
        return self._ended.wait(seconds)

    def end(self) -> None:
        """Let go of everybody who waits."""
        self._ended.set()


@contextmanager
def faulty(upstream: str, **options: str) -> Iterator[tuple[str, Proxy]]:
    """A proxy in front of a service; its address and its plans."""
    proxy = Proxy(upstream, **options)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", proxy
    finally:
        proxy.end()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: Proxy

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        request = Seen(method=self.command, path=self.path, headers=dict(self.headers.items()))
        fault = self.proxy.fault_of(request)
        try:
            self._with(fault, request, body)
        except (OSError, HTTPException):
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - the names that http.server calls

    def _with(self, fault: Fault | None, request: Seen, body: bytes) -> None:
        if fault in _SAID and not (fault == "error-in-200" and request.method in ("GET", "HEAD")):
            status, code = _SAID[fault]
            self._say(status, [("Content-Type", "application/xml")], _XML.format(code).encode())
            return
        if fault == "redirect":
            self._say(307, [("Location", self.proxy.elsewhere + request.path.lstrip("/"))], b"")
            return
        if fault == "hang":
            self.proxy.wait()
            self.close_connection = True
            return
        status, headers, data = self.proxy.forward(request, _flipped(body, 0x10) if fault == "flip-request" else body)
        if fault == "lost-reply":
            self._cut()
        elif fault in ("reset", "truncate"):
            self._head(status, headers, len(data))
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self._cut(abruptly=fault == "reset")
        elif fault == "slow":
            self._head(status, headers, len(data))
            for at in range(0, len(data), PIECE):
                self.wfile.write(data[at : at + PIECE])
                self.wfile.flush()
                if self.proxy.wait(1 / SLOWLY):
                    return
        else:
            if fault == "wrong-etag":
                headers = [
                    (key, '"0123456789abcdef0123456789abcdef"' if key.lower() == "etag" else value)
                    for key, value in headers
                ]
            self._say(status, headers, _flipped(data, 0x01) if fault == "flip-answer" and status < 300 else data)

    def _say(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self._head(status, headers, len(data))
        if self.command != "HEAD":
            self.wfile.write(data)

    def _head(self, status: int, headers: list[tuple[str, str]], length: int) -> None:
        self.send_response_only(status)
        told = {key.lower(): value for key, value in headers}
        for key, value in headers:
            if key.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(key, value)
        self.send_header("Content-Length", told.get("content-length", "0") if self.command == "HEAD" else str(length))
        self.end_headers()

    def _cut(self, *, abruptly: bool = False) -> None:
        if abruptly:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server has
        """Say nothing."""


def _flipped(data: bytes, bit: int) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[len(changed) // 2] ^= bit
    return bytes(changed)
