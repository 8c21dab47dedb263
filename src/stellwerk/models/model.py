"""Registered models as values: columns, signatures, versions, aliases. Answering is in `tabular`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Refused

Stage = Literal["None", "Staging", "Production", "Archived"]
Kind = Literal["number", "category", "boolean", "time"]
Task = Literal["binary", "multiclass", "regression"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One input of a model; `vocabulary` belongs to categories and gives each its number."""

    name: str
    kind: Kind
    vocabulary: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a model asks for and answers. `classes` fixes the order of its probabilities; empty for regression."""

    inputs: tuple[Column, ...]
    target: str
    task: Task
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    """A name under which versions are registered.

    Attributes:
        changed_at: When a version came or went, a stage or the description changed. Tags and aliases do not count.
        last: The highest number that a version of this name ever had; none is given twice.
    """

    workspace: str
    name: str
    created_at: datetime
    changed_at: datetime
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    last: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One version of a registered model. What it is never changes; what is said of it may.

    Attributes:
        digest: Names the tree of its files; None where they are not in the store.
        signature: None where they are not in the store, or of a format that is not ours.
        source: Where the files are, in the words of whoever registered them. Nobody follows it here.
        location: What the source meant when it was registered; empty where it means itself.
        run_link: Where a person finds its run.
        model_id: The logged model that it is.
        user: Who registered it.
    """

    workspace: str
    name: str
    version: int
    digest: Digest | None
    signature: Signature | None
    format: str
    run_id: str
    seed: int | None
    created_at: datetime
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    stage: Stage = "None"
    source: str = ""
    location: str = ""
    run_link: str = ""
    changed_at: datetime | None = None
    model_id: str = ""
    user: str = ""

    def bytes(self) -> Digest:
        """The digest of its files. Raises `Refused` where they are not in the store."""
        if self.digest is None:
            raise self._elsewhere()
        return self.digest

    def interface(self) -> Signature:
        """What it asks for and answers. Raises `Refused` where its files are not in the store."""
        if self.signature is None:
            if self.digest is not None:
                raise Refused(
                    f"the files of {self.name}@{self.version} are of a format that says nothing about inputs and answers "
                    "that could be proven",
                    code="no-interface",
                    hint="train it in a pipeline, or with `stellwerk ship`",
                )
            raise self._elsewhere()
        return self.signature

    def _elsewhere(self) -> Refused:
        return Refused(
            f"the files of {self.name}@{self.version} are not in the store, so nothing about them can be proven",
            code="no-bytes",
            hint="register the files themselves, as a pipeline does",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A movable name for one version of a model, such as `champion`."""

    workspace: str
    name: str
    alias: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectedAlias:
    """An alias that moves only to what is released, in every model of the workspace."""

    workspace: str
    alias: str
    since: datetime
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasMove:
    """That somebody moved an alias, as the ledger tells it.

    Attributes:
        version: Where it pointed afterwards; None if it was taken away.
        before: Where it pointed until then; None if it was new.
    """

    name: str
    alias: str
    version: int | None
    before: int | None
    at: datetime
    by: str
