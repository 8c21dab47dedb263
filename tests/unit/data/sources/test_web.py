"""Web servers as sources, over real HTTP on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import polars as pl
import pytest

from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Conflict, Invalid, Refused
from stellwerk.core.outbound import Allowance
from stellwerk.data.adapters.web import WebReader
from stellwerk.data.sources import rules, service
from stellwerk.testing.sources import OTHERS, ROWS, SourceContract


class Site:
    """One file on a server of this machine."""

    def __init__(self) -> None:
        self.data: bytes | None = None
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if site.data is not None else 404)
                self.send_header("Content-Length", str(len(site.data or b"")))
                self.send_header("ETag", f'"{of_bytes(site.data or b"")[-8:]}"')
                self.end_headers()
                self.wfile.write(site.data or b"")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.source = f"http://127.0.0.1:{self.server.server_port}/some%20rows.csv"

    def fill(self, rows: pl.DataFrame) -> None:
        self.data = rows.write_csv().encode()

    def remove(self) -> None:
        self.data = None


@pytest.fixture
def place() -> Iterator[Site]:
    site = Site()
    thread = threading.Thread(target=site.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    site.server.shutdown()
    site.server.server_close()
    thread.join()


@pytest.fixture
def reader() -> WebReader:
    return WebReader(Allowance.of(["127.0.0.1"]))


class TestWeb(SourceContract):
    """All promises, over HTTP."""


def pin(source: str, reader: WebReader) -> service.Pinned:
    return service.pin(rules.parse(source), lambda _: reader)[0]


def test_the_pin_names_what_the_server_said(place: Site, reader: WebReader) -> None:
    """Name, size, digest and ETag of the file."""
    place.fill(ROWS)
    (part,) = pin(place.source, reader).parts
    data = ROWS.write_csv().encode()

    assert ("some rows.csv", len(data), of_bytes(data)) == (part.name, part.size, part.digest)
    assert part.version.strip('"') == part.digest[-8:]


def test_a_digest_in_the_name_is_demanded(place: Site, reader: WebReader) -> None:
    """A published digest lets only the published bytes in; the digest is part of the source."""
    place.fill(ROWS)
    named = f"{place.source}#sha256={of_bytes(ROWS.write_csv().encode()).removeprefix('sha256:')}"
    found = pin(named, reader)
    place.fill(OTHERS)

    assert named == found.source
    with pytest.raises(Conflict) as caught:
        pin(named, reader)
    assert "source-changed" == caught.value.code
    with pytest.raises(Invalid):
        pin(f"{place.source}#top", reader)


def test_this_network_is_not_asked_by_default(place: Site) -> None:
    """Without being allowed, a source inside this network is refused when it is pinned, and also when it is read."""
    place.fill(ROWS)
    found = pin(place.source, WebReader(Allowance.of(["127.0.0.1"])))

    with pytest.raises(Refused):
        pin(place.source, WebReader())
    with pytest.raises(Refused) as caught:
        service.frame(found, lambda _: WebReader())
    assert "private-address" == caught.value.code
