"""Grants: who elsewhere may read results of steps by their keys. Reading under one is in `web.lending`."""

from __future__ import annotations

from datetime import timedelta

from stellwerk.access.model import Granted, ResultGrant
from stellwerk.workspace.calls import operation
from stellwerk.workspace.rooms import Rooms


@operation("grants.add", "workspace:admin", changes=True)
def add_grant(rooms: Rooms, to: str, pipeline: str = "", seconds: float = 30 * 86_400.0) -> Granted:
    """Let somebody elsewhere read results of a pipeline, or of all, by their keys; the token is shown this once."""
    return rooms.lending.grant(to, pipeline=pipeline, lasting=timedelta(seconds=seconds))


@operation("grants.list", "workspace:admin")
def list_grants(rooms: Rooms) -> tuple[ResultGrant, ...]:
    """Every grant that was ever made, the oldest first. Of a token only its digest is known."""
    return tuple(rooms.lending.all())


@operation("grants.revoke", "workspace:admin", changes=True)
def revoke_grant(rooms: Rooms, grant: str) -> ResultGrant:
    """End a grant now, by its id or by whom it was made to. What was taken under it stays where it is."""
    return rooms.lending.revoke(grant)
