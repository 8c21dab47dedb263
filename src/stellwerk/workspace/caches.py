"""What this machine keeps for its user beside all workspaces."""

from __future__ import annotations

from stellwerk.pipelines.adapters.environments import Environments


def environments() -> Environments:
    """The virtual environments of steps and rebuilds."""
    return Environments()
