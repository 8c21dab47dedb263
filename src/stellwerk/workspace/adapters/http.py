"""A workspace at the other end of a URL: operations as JSON, blobs as bytes, errors as the errors they are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from stellwerk.core.clock import parse_instant
from stellwerk.ledger import documents
from stellwerk.workspace.adapters.http_blobs import API, JSON, HttpBlobs
from stellwerk.workspace.adapters.line import Line
from stellwerk.workspace.settings import CAUSE_HEADER


class HttpCaller:
    """Talks to `stellwerk up`. Nothing is retried that might have been done already."""

    local = False

    def __init__(self, url: str, cause: str = "") -> None:
        """Take the address, and the firing of a trigger that this process works for, if any."""
        self._url, self._line = url.rstrip("/"), Line(url, headers={CAUSE_HEADER: cause} if cause else None)
        self.blobs = HttpBlobs(self._line)
        self.clock = HttpClock(self._line)

    @property
    def home(self) -> Path:
        here = Path.cwd()
        return next((folder for folder in (here, *here.parents) if (folder / "stellwerk.toml").is_file()), here)

    @property
    def memory(self) -> Path:
        return Path.home() / ".cache" / "stellwerk" / hashlib.sha256(self._url.encode()).hexdigest()[:32]

    def call(self, operation: Any, arguments: dict[str, Any]) -> Any:
        known = operation.arguments
        body = {key: documents.dump_as(known[key][0], value) for key, value in arguments.items()}
        answer = self._line.request("POST", f"{API}/{operation.name}", body=json.dumps(body).encode(), kind=JSON)
        return documents.load(operation.answer, json.loads(answer))

    def close(self) -> None:
        self._line.close()


class HttpClock:
    """The server's time."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def now(self) -> Any:
        return parse_instant(json.loads(self._line.request("GET", f"{API}/now"))["now"])
