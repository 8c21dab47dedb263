"""Registered models as values: columns, signatures, versions, aliases. Answering is in `tabular`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from stellwerk.core.digest import Digest

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
class ModelVersion:
    """One immutable version of a registered model; `digest` names the tree of its files."""

    workspace: str
    name: str
    version: int
    digest: Digest
    signature: Signature
    format: str
    run_id: str
    seed: int | None
    created_at: datetime
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A movable name for one version of a model, such as `champion`."""

    workspace: str
    name: str
    alias: str
    version: int


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
