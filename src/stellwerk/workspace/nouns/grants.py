"""Grants of a workspace: who elsewhere may read results of its steps."""

from __future__ import annotations

from datetime import timedelta

from stellwerk.access.model import Granted, ResultGrant
from stellwerk.workspace import operations as ops
from stellwerk.workspace.nouns.asking import call
from stellwerk.workspace.ports import Caller


class Grants:
    """`workspace.grants`: who elsewhere may read results of steps."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def add(self, to: str, *, pipeline: str = "", lasting: timedelta = timedelta(days=30)) -> Granted:
        """Let somebody read results of a pipeline, or of all, by their keys. The token is shown this once."""
        return call(self._caller, ops.add_grant, to=to, pipeline=pipeline, seconds=lasting.total_seconds())

    def list(self) -> tuple[ResultGrant, ...]:
        """Every grant that was ever made, the oldest first."""
        return call(self._caller, ops.list_grants)

    def revoke(self, grant: str) -> ResultGrant:
        """End a grant now, by its id or by whom it was made to."""
        return call(self._caller, ops.revoke_grant, grant=grant)
