"""Which adapter speaks to which forge."""

from __future__ import annotations

from stellwerk.workspace.ports import Target, Thread


def open_thread(target: Target) -> Thread:
    """The comments of a merge request at GitHub or GitLab."""
    from stellwerk.workspace.adapters.forges import thread

    return thread(target)
