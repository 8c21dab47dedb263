"""Tables on web servers, fetched by the one way out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from stellwerk.core import digest as digests
from stellwerk.core.errors import Conflict, Invalid
from stellwerk.core.outbound import Allowance, Fetched, safe_fetch
from stellwerk.data.sources.model import Content, Source

MOST = 2 << 30
SECONDS = 300.0


class WebReader:
    """Reads one file by HTTP or HTTPS. Redirects are not followed: a source says where it is.

    Args:
        allow: Places inside our own network that may be asked.
        fetch: The way out.
    """

    def __init__(self, allow: Allowance | None = None, fetch: Callable[..., Fetched] = safe_fetch) -> None:
        self._allow, self._fetch = allow, fetch

    def list(self, source: Source) -> Sequence[str]:
        return [_name(source)]

    def read(self, source: Source, part: str, version: str = "") -> Content:
        if part != _name(source):
            raise Invalid(f"{part[:60]!r} is no part of {source}", code="invalid-source")
        if "#" in source.location:
            raise Invalid(
                "the part of a URL after `#` means nothing to a server",
                code="invalid-source",
                hint="only #sha256= and 64 hexadecimal digits may stand there",
            )
        found = self._fetch(f"{source.kind}:{source.location}", allow=self._allow, most=MOST, seconds=SECONDS)
        if source.pin and digests.of_bytes(found.data) != f"sha256:{source.pin}":
            raise Conflict(
                f"{source.location} holds other bytes than the digest that the source names",
                code="source-changed",
                hint="compare with who gave you the digest",
            )
        tag = found.headers.get("etag", "")
        return Content(data=found.data, version=tag if tag.isprintable() and len(tag) <= 256 else "")


def _name(source: Source) -> str:
    """The last piece of the path, which may say by its ending how to read the file."""
    path = urlsplit(f"{source.kind}:{source.location}").path
    name = unquote(PurePosixPath(path).name)
    return name if name and name.isprintable() and "/" not in name else "table"
