"""Registering model versions and moving aliases. The files are in the store, made by `adapters`."""

from __future__ import annotations

from stellwerk.core.clock import Clock
from stellwerk.core.digest import Digest, short
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.core.names import name as checked_name
from stellwerk.ledger.ports import Book
from stellwerk.models.model import Alias, ModelVersion, Signature
from stellwerk.models.shelves import ALIASES, VERSIONS


class Registry:
    """Registered models of one workspace."""

    def __init__(self, book: Book, clock: Clock) -> None:
        self._book, self._clock = book, clock

    def register(
        self, name: str, digest: Digest, signature: Signature, *, layout: str, run_id: str, seed: int | None = None
    ) -> ModelVersion:
        """Give a model file tree the next version of a name. Equal bytes are the version that exists already."""
        checked_name(name, what="model")
        with self._book.write() as tx:
            versions = VERSIONS.select(tx, name=name)
            for known in versions:
                if known.digest == digest:
                    return known
            version = ModelVersion(
                workspace=tx.workspace,
                name=name,
                version=len(versions) + 1,
                digest=digest,
                signature=signature,
                format=layout,
                run_id=run_id,
                seed=seed,
                created_at=self._clock.now(),
            )
            VERSIONS.insert(tx, version)
            tx.record(
                "model.registered",
                f"model:{digest}",
                {"name": name, "version": version.version, "digest": digest, "run": run_id, "format": layout},
            )
        return version

    def get(self, name: str, version: int | None = None) -> ModelVersion:
        """A version of a model; the newest by default. Raises `NotFound`."""
        with self._book.read() as reader:
            if version is not None:
                return VERSIONS.get(reader, name, version)
            versions = VERSIONS.select(reader, name=name, order="-version", limit=1)
        if not versions:
            raise NotFound(f"no model {name!r}", hint="`stellwerk run` trains and registers one")
        return versions[0]

    def find(self, text: str) -> ModelVersion:
        """The version that `name`, `name@3`, `name@alias` or a digest means. Raises `NotFound`."""
        if text.startswith("sha256:"):
            return self.by_digest(Digest(text))
        name, _, which = text.partition("@")
        if not which or which == "latest":
            return self.get(name)
        if which.isascii() and which.isdigit():
            return self.get(name, int(which))
        with self._book.read() as reader:
            return VERSIONS.get(reader, name, ALIASES.get(reader, name, which).version)

    def by_digest(self, digest: Digest) -> ModelVersion:
        """The first version with these bytes. Raises `NotFound`."""
        with self._book.read() as reader:
            found = VERSIONS.select(reader, digest=digest, order="created_at", limit=1)
        if not found:
            raise NotFound(f"no model version has the digest {short(digest)}…")
        return found[0]

    def list(self) -> list[ModelVersion]:
        """All versions, by name."""
        with self._book.read() as reader:
            return VERSIONS.select(reader)

    def alias(self, name: str, alias: str, version: int) -> Alias:
        """Point an alias at a version."""
        if checked_name(alias, what="alias").isdigit() or alias == "latest":
            raise Invalid(f"{alias!r} cannot be an alias (it means a version)", code="invalid-name")
        with self._book.write() as tx:
            VERSIONS.get(tx, name, version)
            moved = Alias(workspace=tx.workspace, name=name, alias=alias, version=version)
            ALIASES.put(tx, moved)
            tx.record("model.alias-moved", f"model:{name}", {"alias": alias, "version": version})
        return moved
