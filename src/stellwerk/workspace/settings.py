"""Everything the environment can set, read in one place into one frozen value. The table is the documentation."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings with their environment variables (`STELLWERK_` and the name in capitals)."""

    actor: str = ""
    """Who is acting; the login name by default."""
    root: str = ""
    """Folder or URL of the workspace, for commands that are not told otherwise."""
    allow_unsandboxed: bool = False
    """Judge models without a sandbox where the kernel has none. Each piece of quality evidence
    says which walls there were."""
    database_url: str = field(default="", repr=False)
    """Address of the PostgreSQL database, `postgresql://user:password@host/name`, for a workspace that keeps
    its book there. It is written nowhere."""


def read(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of a process."""
    source = os.environ if environment is None else environment
    return Settings(
        actor=source.get("STELLWERK_ACTOR", "") or _login(),
        root=source.get("STELLWERK_ROOT", ""),
        allow_unsandboxed=source.get("STELLWERK_ALLOW_UNSANDBOXED", "") == "1",
        database_url=source.get("STELLWERK_DATABASE_URL", ""),
    )


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
