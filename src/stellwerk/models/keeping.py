"""What every change of the registry shares: finding a model, giving numbers, and watching over aliases."""

from __future__ import annotations

from datetime import datetime

from stellwerk.core.digest import Digest
from stellwerk.core.errors import NotFound, Refused
from stellwerk.ledger.ports import Book, Reader, Transaction
from stellwerk.ledger.shelf import evolve
from stellwerk.models.model import Alias, ModelVersion, RegisteredModel
from stellwerk.models.ports import Releases
from stellwerk.models.shelves import ALIASES, MODELS, PROTECTED, VERSIONS

LEFT = ("model.deleted", "model.renamed")
"""Kinds of entries after which a name is free."""


class NoReleases:
    """Where nothing is ever released."""

    def clear(self, digest: Digest) -> bool:
        """No release holds."""
        return False

    def named(self, digest: Digest) -> bool:
        """There was none."""
        return False


def find_model(reader: Reader, name: str) -> RegisteredModel | None:
    """A model, also one that is only known by its versions."""
    found = MODELS.find(reader, name)
    if found is not None:
        return found
    versions = VERSIONS.select(reader, name=name)
    return implied(versions) if versions else None


def implied(versions: list[ModelVersion]) -> RegisteredModel:
    """The model that versions of one name belong to."""
    return RegisteredModel(
        workspace=versions[0].workspace,
        name=versions[0].name,
        created_at=min(version.created_at for version in versions),
        changed_at=max(version.changed_at or version.created_at for version in versions),
        last=max(version.version for version in versions),
    )


def get_model(reader: Reader, name: str) -> RegisteredModel:
    """A model. Raises `NotFound` in MLflow's words."""
    found = find_model(reader, name)
    if found is None:
        raise NotFound(f"Registered Model with name={name[:256]} not found", code="not-found")
    return found


def get_version(reader: Reader, name: str, number: int) -> ModelVersion:
    """A version of a model. Raises `NotFound` in MLflow's words."""
    found = VERSIONS.find(reader, name, number)
    if found is None:
        raise NotFound(f"Model Version (name={name[:256]}, version={number}) not found", code="not-found")
    return found


def used(book: Book, name: str) -> int:
    """The highest number that versions of former models of this name had."""
    former = book.entries(kinds=LEFT, subject=f"model:{name}")
    return max((int(entry.body.get("last", 0)) for entry in former), default=0)


def fresh(book: Book, tx: Transaction, name: str, now: datetime) -> RegisteredModel:
    """The model of a name, made where there is none."""
    found = find_model(tx, name)
    if found is not None:
        return found
    return RegisteredModel(workspace=tx.workspace, name=name, created_at=now, changed_at=now, last=used(book, name))


def enter(tx: Transaction, model: RegisteredModel, version: ModelVersion) -> None:
    """Put a version on its shelf, and remember that its number is taken."""
    VERSIONS.insert(tx, version)
    MODELS.put(tx, evolve(model, last=version.version, changed_at=version.created_at))


def touch(tx: Transaction, name: str, now: datetime) -> None:
    """Note when a model last changed."""
    MODELS.put(tx, evolve(get_model(tx, name), changed_at=now))


def move_alias(tx: Transaction, releases: Releases, version: ModelVersion, alias: str) -> Alias:
    """Point an alias at a version. Raises `Refused` for a protected one and a version that is not clear now."""
    watch(tx, releases, alias, version)
    moved = Alias(workspace=tx.workspace, name=version.name, alias=alias, version=version.version)
    ALIASES.put(tx, moved)
    tx.record("model.alias-moved", f"model:{version.name}", {"alias": alias, "version": version.version})
    return moved


def drop_alias(tx: Transaction, releases: Releases, gone: Alias) -> Alias:
    """Take an alias away. Raises `Refused` for a protected one."""
    watch(tx, releases, gone.alias)
    ALIASES.remove(tx, gone.name, gone.alias)
    tx.record("model.alias-removed", f"model:{gone.name}", {"alias": gone.alias, "version": gone.version})
    return gone


def drop_aliases(tx: Transaction, releases: Releases, name: str, version: int | None = None) -> dict[str, int]:
    """Take away, within a larger change that tells of it, the aliases of a model or of one version."""
    gone = [one for one in ALIASES.select(tx, name=name) if version in (None, one.version)]
    for one in gone:
        watch(tx, releases, one.alias)
        ALIASES.remove(tx, name, one.alias)
    return {one.alias: one.version for one in gone}


def watch(reader: Reader, releases: Releases, alias: str, to: ModelVersion | None = None) -> None:
    """Refuse that a protected alias moves to what is not released, or goes away."""
    if PROTECTED.find(reader, alias) is None:
        return
    if to is not None and to.digest is not None and releases.clear(to.digest):
        return
    if to is None:
        raise Refused(
            f"the alias {alias!r} is protected: it goes away only after its protection",
            code="protected-alias",
            hint=f"`stellwerk models --unprotect {alias}`",
        )
    raise Refused(
        f"the alias {alias!r} is protected: it moves only to what a release permits now, and none permits "
        f"{to.name}@{to.version}",
        code="protected-alias",
        hint="`stellwerk prove` and `stellwerk release`",
    )


def must_not_be_needed(reader: Reader, releases: Releases, version: ModelVersion) -> None:
    """Refuse that the last version with released bytes goes: what was released leads to it."""
    if version.digest is None or not releases.named(version.digest):
        return
    if len(VERSIONS.select(reader, digest=version.digest, limit=2)) < 2:
        raise Refused(
            f"{version.name}@{version.version} was released; what is told of the release leads to it",
            code="released-version",
        )
