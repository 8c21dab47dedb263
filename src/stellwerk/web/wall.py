"""The wall against browsers: host allow-list, same-origin changes only, and the headers of `threats` rule 22."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stellwerk.core.errors import Refused
from stellwerk.web import errors

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
SAFE_METHODS = ("GET", "HEAD")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Wall:
    """Middleware around the whole application.

    Args:
        hosts: Host names that requests may name, without port.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = LOOPBACK) -> None:
        self._app, self._hosts = app, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        obstacle = self._obstacle(scope["method"], Headers(scope=scope))
        if obstacle is not None:
            await errors.respond(obstacle)(scope, receive, dressed)
            return
        await self._app(scope, receive, dressed)

    def _obstacle(self, method: str, headers: Headers) -> Refused | None:
        host = headers.get("host", "")
        if _name(host) not in self._hosts:
            return Refused("this server does not answer for that host name", code="foreign-host")
        if method in SAFE_METHODS:
            return None
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", "none")
        if site not in ("same-origin", "none") or (origin is not None and urlsplit(origin).netloc != host):
            return Refused("changes are accepted from this server's own pages only", code="foreign-origin")
        return None


def _name(host: str) -> str:
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and ":" in host else host
