"""Endpoints, proofs, releases and their tokens."""

from __future__ import annotations

from typing import Any

from stellwerk.releases.model import EndpointSpec, Release, SignalState, Verdict
from stellwerk.workspace import viewing, watching
from stellwerk.workspace.calls import operation
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.watching import Renewal


@operation("endpoints.declare", "workspace:admin", changes=True)
def declare_endpoint(rooms: Rooms, endpoint: EndpointSpec) -> EndpointSpec:
    """Make an endpoint's declaration known."""
    return rooms.interlocking.declare(endpoint)


@operation("endpoints.list", "releases:read")
def list_endpoints(rooms: Rooms) -> tuple[EndpointSpec, ...]:
    """All declared endpoints."""
    return tuple(rooms.interlocking.endpoints())


@operation("endpoints.signal", "releases:read")
def signal(rooms: Rooms, endpoint: str) -> SignalState:
    """What an endpoint's signal shows, and why."""
    return viewing.signal(rooms, endpoint)


@operation("releases.prove", "evidence:write", changes=True)
def prove(rooms: Rooms, endpoint: str, model: str = "", reason: str = "") -> Verdict:
    """Compute the verdict about a model on an endpoint under a plan frozen beforehand."""
    return watching.prove(rooms, endpoint, model, reason)


@operation("releases.grant", "releases:write", changes=True)
def release(rooms: Rooms, endpoint: str) -> Release:
    """Turn the newest verdict of an endpoint into a release; refused unless it is clear."""
    return watching.release(rooms, endpoint)


@operation("releases.renew", "releases:write", changes=True)
def renew(rooms: Rooms, endpoint: str) -> Renewal:
    """Extend the lease if the labels prove fitness; otherwise it runs on to its end."""
    return watching.renew(rooms, endpoint)


@operation("releases.stop", "releases:write", changes=True)
def stop(rooms: Rooms, endpoint: str, why: str) -> tuple[Release, ...]:
    """End the active release now; answers it, and the one that runs instead where the fallback is `previous`."""
    stopped, instead = rooms.interlocking.stop(endpoint, why)
    rooms.sign_off()  # a stop succeeds whatever is wrong with the key
    return (stopped,) if instead is None else (stopped, instead)


@operation("releases.list", "releases:read")
def list_releases(rooms: Rooms, endpoint: str) -> tuple[Release, ...]:
    """All releases of an endpoint, oldest first."""
    return tuple(rooms.interlocking.history(endpoint))


@operation("releases.token", "predict")
def lease_token(rooms: Rooms, endpoint: str) -> dict[str, Any] | None:
    """The signed lease token of an endpoint's release, or nothing: then the signal is stop."""
    return rooms.interlocking.token(endpoint, rooms.layout.workspace)
