"""Deliveries over HTTP, by the one way out."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from stellwerk.core.errors import Refused, Unavailable
from stellwerk.core.outbound import Allowance, Resolve, check_post, safe_post, system_resolve
from stellwerk.delivery.model import Answer

SECONDS = 10.0


class HttpSender:
    """Sends to public addresses with https, and to hosts that whoever runs this allows.

    Args:
        allow: Hosts and networks of our own, which may also be sent to without encryption.
    """

    def __init__(
        self,
        allow: Allowance | None = None,
        *,
        resolve: Resolve = system_resolve,
        trust: ssl.SSLContext | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._allow, self._resolve, self._trust, self._seconds = allow or Allowance(), resolve, trust, seconds

    def check(self, url: str) -> None:
        try:
            check_post(url, allow=self._allow, resolve=self._resolve)
        except Unavailable:
            pass  # a name that nobody knows yet is no harm: it is asked for again at each delivery
        except Refused as problem:
            raise _explained(problem) from problem

    def send(self, url: str, body: bytes, headers: Mapping[str, str], *, most: int = 0) -> Answer:
        try:
            found = safe_post(
                url,
                body,
                headers=headers,
                most=most,
                seconds=self._seconds,
                allow=self._allow,
                resolve=self._resolve,
                trust=self._trust,
            )
        except Refused as problem:
            raise _explained(problem) from problem
        wait = found.headers.get("retry-after", "")
        return Answer(
            status=found.status,
            text=found.data.decode("utf-8", "replace"),
            wait=float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 6 else 0.0,
        )


def _explained(problem: Refused) -> Refused:
    if problem.code == "private-address":
        return Refused(
            "the webhook URL leads into this network, where nothing is sent to",
            code="private-address",
            hint="whoever runs this can allow it with STELLWERK_WEBHOOK_HOSTS",
        )
    if problem.code == "unencrypted":
        return Refused(
            "Invalid webhook URL scheme: 'http'. Allowed schemes are: 'https'.",
            code="unencrypted",
            hint="whoever runs this can allow it with STELLWERK_WEBHOOK_HOSTS",
        )
    return problem
