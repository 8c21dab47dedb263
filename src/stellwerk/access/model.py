"""Permissions and grants. Who decides with them is in `rules`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

Permission = Literal[
    "data:read", "data:write",
    "runs:read", "runs:write",
    "models:read", "models:write",
    "evidence:read", "evidence:write",
    "releases:read", "releases:write",
    "predict", "outcomes:write",
    "cases:read", "cases:decide",
    "ledger:read",
    "workspace:admin",
]  # fmt: skip
"""Everything that can be asked for. Each route and each operation names exactly one."""

PERMISSIONS: tuple[Permission, ...] = get_args(Permission)

Role = Literal["owner", "editor", "viewer"]

ROLES: dict[Role, frozenset[Permission]] = {
    "owner": frozenset(PERMISSIONS),
    "editor": frozenset(PERMISSIONS) - {"workspace:admin", "releases:write"},
    "viewer": frozenset(p for p in PERMISSIONS if p.endswith(":read")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one actor may do in one workspace."""

    actor: str
    role: Role
    granted_at: datetime
    granted_by: str
