"""A socket, uvicorn on it, and an orderly end within seconds. What is served is in `serving`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from stellwerk.core.errors import Invalid, Refused, Unavailable

BACKLOG = 2048
GRACE_SECONDS = 2
"""For requests under way when the end is asked for; what follows must fit into five seconds with them."""


class _NoTraces(logging.Filter):
    """A request that was cut off at the end is one line, not a trace."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def loopback(host: str) -> str:
    """A host name of this machine alone. Anything else is refused: there is no authentication yet."""
    name = host.strip("[]")
    if name == "localhost":
        return "127.0.0.1"
    try:
        alone = ipaddress.ip_address(name).is_loopback
    except ValueError:
        alone = False
    if not alone:
        raise Refused(
            f"{host[:60]!r} would let other machines in, and nobody would be asked who they are",
            code="not-loopback",
            hint="serve on 127.0.0.1, and reach it from elsewhere through `ssh -L 7700:127.0.0.1:7700`",
        )
    return name


@contextlib.contextmanager
def bound(host: str, port: int) -> Iterator[tuple[socket.socket, str]]:
    """A listening socket and its address. Raises `Unavailable` where the port is in use; 0 picks a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(BACKLOG)
        except OSError as cause:
            raise _not_bound(host, port, cause) from cause
        shown = f"[{host}]" if family == socket.AF_INET6 else host
        yield listener, f"http://{shown}:{listener.getsockname()[1]}"


def _not_bound(host: str, port: int, cause: OSError) -> Invalid | Unavailable:
    if cause.errno == errno.EADDRINUSE:
        return Unavailable(
            f"port {port} is in use", code="port-in-use", hint="--port 0 picks a free one, or stop what uses it"
        )
    if cause.errno == errno.EACCES:
        return Unavailable(
            f"port {port} is not yours to use", code="port-not-allowed", hint="take one above 1023, or --port 0"
        )
    return Unavailable(f"cannot listen on {host}: {cause.strerror}", code="cannot-listen")


class _Uvicorn(uvicorn.Server):
    """Uvicorn that says when it is ready, and leaves signals to us: its own way ends the process too early."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(application: Any, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM. Requests under way get a moment to end; a second signal takes that away.

    Args:
        ready: Called when requests are answered.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("uvicorn.error").addFilter(_NoTraces())
    server = _Uvicorn(
        uvicorn.Config(
            application,
            access_log=False,
            log_config=None,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        ),
        ready,
    )

    def end(_number: int, _frame: object) -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, end)
    try:
        server.run(sockets=[listener])
    finally:
        # The end must not be interrupted: from here on it is short anyhow.
        for number in heard:
            signal.signal(number, signal.SIG_IGN)


def within(seconds: float, work: Callable[[], None]) -> bool:
    """Do work for at most so long. Answers whether it ended; if not, it goes on until the process ends."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def leave(code: int) -> int:
    """End the process at once if requests still work in threads that nobody can stop; else answer the exit code."""
    if all(thread.daemon or thread is threading.main_thread() for thread in threading.enumerate()):
        return code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
