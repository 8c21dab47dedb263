"""Where verdicts, releases and declarations are kept."""

from __future__ import annotations

from stellwerk.ledger.shelf import Shelf
from stellwerk.releases.model import EndpointSpec, Release, Verdict

ENDPOINTS = Shelf("endpoints", EndpointSpec, key=("name",))
VERDICTS = Shelf("verdicts", Verdict, key=("id",), index=("endpoint", "plan", "model", "given_at"))
RELEASES = Shelf("releases", Release, key=("id",), index=("endpoint", "status", "model", "granted_at"))
