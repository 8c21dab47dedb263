"""Registered models, in Python: versions, aliases, what an alias meant when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from stellwerk.workspace import operations as ops
from stellwerk.workspace.nouns.asking import call

if TYPE_CHECKING:
    from stellwerk.evidence.model import Evidence
    from stellwerk.governance.comparing import Comparison
    from stellwerk.models.model import Alias, AliasMove, ModelVersion, ProtectedAlias, RegisteredModel
    from stellwerk.workspace.ports import Caller


class Models:
    """Registered models of a workspace."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self) -> tuple[ModelVersion, ...]:
        """All versions, by name."""
        return call(self._caller, ops.list_models)

    def get(self, model: str, *, as_of: datetime | None = None) -> ModelVersion:
        """What `name`, `name@3`, `name@alias` or a digest means, or meant at a time."""
        return call(self._caller, ops.get_model, model=model, as_of=as_of)

    def alias(self, name: str, alias: str, version: int) -> Alias:
        """Point an alias at a version."""
        return call(self._caller, ops.alias_model, name=name, alias=alias, version=version)

    def unalias(self, name: str, alias: str) -> Alias:
        """Take an alias away; the ledger keeps where it pointed."""
        return call(self._caller, ops.unalias_model, name=name, alias=alias)

    def aliases(self, name: str | None = None) -> tuple[Alias, ...]:
        """Where aliases point now, of one model or of all."""
        return call(self._caller, ops.list_aliases, name=name)

    def history(self, name: str, alias: str | None = None) -> tuple[AliasMove, ...]:
        """Who moved which alias when, oldest first."""
        return call(self._caller, ops.history_of_model, name=name, alias=alias)

    def about(self, name: str) -> RegisteredModel:
        """What is said of a model: its description and its tags."""
        return call(self._caller, ops.about_model, name=name)

    def describe(
        self,
        name: str,
        version: int | None = None,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        untag: Iterable[str] = (),
    ) -> None:
        """Change the description and the tags of a model, or of one of its versions."""
        call(
            self._caller,
            ops.describe_model,
            name=name,
            version=version,
            description=description,
            tags=dict(tags or {}),
            untag=tuple(untag),
        )

    def delete(self, name: str, version: int) -> ModelVersion:
        """Take a version away with the aliases that point at it; its number is not given again.

        Raises:
            Refused: `released-version`: it was released; `protected-alias`: such an alias points at it.
        """
        return call(self._caller, ops.delete_model, name=name, version=version)

    def protect(self, alias: str) -> ProtectedAlias:
        """Let an alias, in every model, move only to versions that a release permits at that moment."""
        return call(self._caller, ops.protect_alias, alias=alias)

    def unprotect(self, alias: str) -> ProtectedAlias:
        """Let a protected alias move freely again."""
        return call(self._caller, ops.unprotect_alias, alias=alias)

    def protected(self) -> tuple[ProtectedAlias, ...]:
        """Aliases that move only to what is released."""
        return call(self._caller, ops.list_protected)

    def rebuilds(self, model: str) -> tuple[Evidence, ...]:
        """How often a version was rebuilt, and at which level (`facts["level"]`), oldest first."""
        return call(self._caller, ops.list_rebuilds, model=model)

    def compare(self, first: str, second: str) -> Comparison:
        """What two versions share and where they differ."""
        return call(self._caller, ops.compare, first=first, second=second)
