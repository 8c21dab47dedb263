"""Results of steps of a workspace at the other end of a URL, read under a grant (`docs/formats/grant.md`)."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from stellwerk.core.canonical import loads
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, Unavailable
from stellwerk.ledger import documents
from stellwerk.pipelines.lending import FORMAT, Lent
from stellwerk.workspace.adapters.http_blobs import API, JSON
from stellwerk.workspace.adapters.line import Line
from stellwerk.workspace.remembering import is_loopback

SECONDS = 30.0
"""How long nothing may come before a step is rather computed."""


class HttpResults:
    """Asks `stellwerk up` elsewhere. The token goes nowhere without encryption but to this machine."""

    def __init__(self, url: str, token: str) -> None:
        if not _private(url):
            raise Invalid(
                "results are asked of a folder, of an https:// address, or of this machine",
                code="invalid-url",
                hint="the token of a grant is a secret",
            )
        if not token.isascii() or not token.isprintable() or " " in token:
            raise Invalid("STELLWERK_RESULTS_TOKEN is no token", code="invalid-setting")
        self._line = Line(url, headers={"Authorization": f"Bearer {token}"}, seconds=SECONDS)

    def find(self, key: Digest) -> Lent:
        answer = self._line.request("POST", f"{API}/results/{key}", body=b"{}", kind=JSON)
        try:
            body = loads(answer)
            if body.pop("format") != FORMAT:
                raise Invalid(f"expected {FORMAT}", code="invalid-arguments")
            found: Lent = documents.load_exactly(Lent, body)
        except (Invalid, KeyError, AttributeError) as cause:
            raise Unavailable("the answer is no result of a step", code="server-answer") from cause
        return found

    def open(self, key: Digest, position: int) -> Iterator[bytes]:
        path = f"{API}/results/{key}/{position}"
        with self._line.receive("POST", path, body=b"{}", kind=JSON) as answer:
            yield from answer.pieces()

    def close(self) -> None:
        self._line.close()


def _private(url: str) -> bool:
    """Whether nobody on the way hears what is sent there, and the address itself holds no secret."""
    try:
        parts = urlsplit(url)
        plain = not (parts.username or parts.password or parts.query or parts.fragment)
        return plain and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(url)))
    except ValueError:
        return False
