"""The decision whether an actor may do something. Deny by default."""

from __future__ import annotations

from datetime import datetime

from stellwerk.access.model import ROLES, Grant, Permission, ResultGrant
from stellwerk.core.errors import NotFound, Refused


def allowed(grant: Grant | None, permission: Permission) -> bool:
    """Whether a grant includes a permission; no grant includes none."""
    return grant is not None and permission in ROLES[grant.role]


def require(grant: Grant | None, actor: str, permission: Permission) -> None:
    """Raise unless allowed. Without any grant the workspace looks as if it did not exist (law 10)."""
    if grant is None:
        raise NotFound("no such workspace", code="not-found")
    if not allowed(grant, permission):
        raise Refused(
            f"{actor!r} has the role {grant.role!r}, which does not include {permission!r}",
            code="permission-denied",
            hint="ask an owner of the workspace",
        )


def covers(grant: ResultGrant | None, experiment: str, now: datetime) -> bool:
    """Whether results of an experiment may be read under a grant at this moment; under none nothing may."""
    if grant is None or grant.revoked_at is not None or not grant.granted_at <= now < grant.until:
        return False
    return not grant.experiment or grant.experiment == experiment
