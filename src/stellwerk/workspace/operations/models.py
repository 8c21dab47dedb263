"""Registered models and sealed gate sets."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Literal

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.evidence.model import GateSet
from stellwerk.evidence.shelves import GATES
from stellwerk.governance.comparing import Comparison
from stellwerk.governance.comparing import compare as compare_models
from stellwerk.ledger import documents
from stellwerk.models.model import Alias, AliasMove, ModelVersion, ProtectedAlias, RegisteredModel, Signature
from stellwerk.store import service as trees
from stellwerk.workspace import frames
from stellwerk.workspace.calls import operation
from stellwerk.workspace.operations.kept import must_be_kept
from stellwerk.workspace.rooms import Rooms


@operation("models.register", "models:write", changes=True)
def register_model(
    rooms: Rooms, name: str, digest: Digest, signature: Signature, layout: str, run: str, seed: int | None = None
) -> ModelVersion:
    """Give a model's file tree the next version of a name."""
    trees.check_tree(rooms.blobs, digest)
    files = trees.files(rooms.blobs, digest)
    must_be_kept(rooms, files.values())
    _must_be_its_own(rooms, files, signature)
    return rooms.registry.register(name, digest, signature, layout=layout, run_id=run, seed=seed)


def _must_be_its_own(rooms: Rooms, files: dict[str, Digest], signature: Signature) -> None:
    """What is registered is what the model's own document says: serving and proof must not read two signatures."""
    if "model.json" not in files:
        return  # files of another format: never clear, because nothing here could load them
    try:
        document = canonical.loads(rooms.blobs.get(files["model.json"]))
    except Invalid:
        return  # not a document of ours: kept as it is, and stopped where its files are judged
    found = document.get("signature") if isinstance(document, dict) else None
    if found is not None and documents.load(Signature, found) != signature:
        raise Invalid("the signature is not the one in the model's own files", code="wrong-signature")


@operation("models.list", "models:read")
def list_models(rooms: Rooms) -> tuple[ModelVersion, ...]:
    """All model versions, by name."""
    return tuple(rooms.registry.list())


@operation("models.get", "models:read")
def get_model(rooms: Rooms, model: str, as_of: datetime | None = None) -> ModelVersion:
    """The model version that `name`, `name@3`, `name@alias` or a digest means, or meant at a time."""
    return rooms.registry.find(model, as_of=as_of)


@operation("models.alias", "models:write", changes=True)
def alias_model(rooms: Rooms, name: str, alias: str, version: int) -> Alias:
    """Point an alias at a version."""
    return rooms.registry.alias(name, alias, version)


@operation("models.unalias", "models:write", changes=True)
def unalias_model(rooms: Rooms, name: str, alias: str) -> Alias:
    """Take an alias away."""
    return rooms.registry.unalias(name, alias)


@operation("models.aliases", "models:read")
def list_aliases(rooms: Rooms, name: str | None = None) -> tuple[Alias, ...]:
    """Where aliases point now."""
    return tuple(rooms.registry.aliases(name))


@operation("models.history", "models:read")
def history_of_model(rooms: Rooms, name: str, alias: str | None = None) -> tuple[AliasMove, ...]:
    """Who moved which alias when, oldest first."""
    return rooms.registry.history(name, alias)


@operation("models.about", "models:read")
def about_model(rooms: Rooms, name: str) -> RegisteredModel:
    """What is said of a model: its description and its tags."""
    return rooms.catalogue.get(name).model


@operation("models.describe", "models:write", changes=True)
def describe_model(
    rooms: Rooms,
    name: str,
    version: int | None = None,
    description: str | None = None,
    tags: dict[str, str] | None = None,
    untag: tuple[str, ...] = (),
) -> None:
    """Change the description and the tags of a model, or of one of its versions."""
    rooms.catalogue.describe(name, version, description=description, tags=tags, untag=untag)


@operation("models.delete", "models:write", changes=True)
def delete_model(rooms: Rooms, name: str, version: int) -> ModelVersion:
    """Take a version away with the aliases that point at it. What was released stays."""
    return rooms.catalogue.delete_version(name, version)


@operation("models.protect", "workspace:admin", changes=True)
def protect_alias(rooms: Rooms, alias: str) -> ProtectedAlias:
    """Let an alias, in every model, move only to versions that a release permits at that moment."""
    return rooms.registry.protect(alias)


@operation("models.unprotect", "workspace:admin", changes=True)
def unprotect_alias(rooms: Rooms, alias: str) -> ProtectedAlias:
    """Let a protected alias move freely again."""
    return rooms.registry.unprotect(alias)


@operation("models.protected", "models:read")
def list_protected(rooms: Rooms) -> tuple[ProtectedAlias, ...]:
    """Aliases that move only to what is released."""
    return tuple(rooms.registry.protected())


@operation("models.compare", "models:read")
def compare(rooms: Rooms, first: str, second: str) -> Comparison:
    """What two model versions share, where they differ, and what paired proofs say."""
    return compare_models(rooms.book, rooms.runs, rooms.registry.find(first), rooms.registry.find(second))


@operation("gates.seal", "evidence:write", changes=True)
def seal_gate(
    rooms: Rooms,
    name: str,
    features: str,
    labels: str,
    rows: int,
    target: str,
    task: Literal["binary", "multiclass", "regression"],
) -> GateSet:
    """Seal gate cases: Parquet of features and labels, each as base64."""
    try:
        cases, sealed = (base64.b64decode(text, validate=True) for text in (features, labels))
    except ValueError as cause:
        raise Invalid(f"features and labels must be base64: {cause}", code="invalid-arguments") from cause
    with rooms.book.read() as reader:
        known = [gate for gate in GATES.select(reader) if gate.name == name or gate.target == target]
    older = (frames.read(rooms.blobs.get(gate.features)) for gate in known)
    return rooms.gates.seal(
        name=name,
        features=cases,
        labels=sealed,
        rows=rows,
        target=target,
        task=task,
        marks=frames.marks(frames.read(cases), older),
    )
