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


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultGrant:
    """That somebody elsewhere may ask for results of steps, one by one, by their keys; until it ends."""

    id: str
    to: str
    """Who has the token, in the words of whoever granted it."""
    experiment: str
    """The id of the pipeline whose results are meant; empty for all pipelines."""
    pipeline: str
    """Its name when it was granted."""
    token_hash: str
    """SHA-256 of the token in hex. The token itself is kept by nobody here."""
    granted_at: datetime
    granted_by: str
    until: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A grant that was made, and its token, which is shown this once."""

    grant: ResultGrant
    token: str
