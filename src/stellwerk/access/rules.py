"""The decision whether an actor may do something. Deny by default."""

from __future__ import annotations

from stellwerk.access.model import ROLES, Grant, Permission
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
