"""Registering model versions and moving aliases. The files are in the store, made by `adapters`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from stellwerk.core.clock import Clock, format_instant
from stellwerk.core.digest import Digest, short
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.core.names import name as checked_name
from stellwerk.ledger.ports import Book
from stellwerk.models.model import Alias, AliasMove, ModelVersion, Signature
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

    def get(self, name: str, version: int | None = None, *, as_of: datetime | None = None) -> ModelVersion:
        """A version of a model; by default the newest, or that of a time. Raises `NotFound`."""
        with self._book.read() as reader:
            if version is not None:
                versions = VERSIONS.select(reader, name=name, version=version)
            else:
                versions = VERSIONS.select(reader, name=name, order="-version", limit=None if as_of else 1)
        if not versions and version is None:
            raise NotFound(f"no model {name!r}", hint="`stellwerk run` trains and registers one")
        made = [one for one in versions if as_of is None or one.created_at <= as_of]
        if not made:
            raise NotFound(
                f"no model version {name}@{'latest' if version is None else version}{_then(as_of)}",
                hint="`stellwerk models` lists them",
            )
        return made[0]

    def find(self, text: str, *, as_of: datetime | None = None) -> ModelVersion:
        """The version that `name`, `name@3`, `name@alias` or a digest means, or meant at a time. Raises `NotFound`."""
        if text.startswith("sha256:"):
            return self.by_digest(Digest(text))
        name, _, which = text.partition("@")
        if not which or which == "latest":
            return self.get(name, as_of=as_of)
        if which.isascii() and which.isdigit():
            return self.get(name, int(which), as_of=as_of)
        if as_of is None:
            with self._book.read() as reader:
                return VERSIONS.get(reader, name, ALIASES.get(reader, name, which).version)
        # Order comes from the ledger, times are labels: of the moves made by then, it is the last in the book.
        moves = [move for move in self.history(name, which) if move.at <= as_of]
        if not moves or moves[-1].version is None:
            raise NotFound(f"{name!r} had no alias {which!r}{_then(as_of)}")
        return self.get(name, moves[-1].version)

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

    def unalias(self, name: str, alias: str) -> Alias:
        """Take an alias away; the ledger keeps where it pointed. Raises `NotFound`."""
        with self._book.write() as tx:
            gone = ALIASES.get(tx, name, alias)
            ALIASES.remove(tx, name, alias)
            tx.record("model.alias-removed", f"model:{name}", {"alias": alias, "version": gone.version})
        return gone

    def aliases(self, name: str | None = None) -> Sequence[Alias]:
        """Where aliases point now, of one model or of all."""
        with self._book.read() as reader:
            return ALIASES.select(reader) if name is None else ALIASES.select(reader, name=name)

    def history(self, name: str, alias: str | None = None) -> tuple[AliasMove, ...]:
        """Who moved which alias when, oldest first."""
        moves, here = [], dict[str, int]()
        for entry in self._book.entries(kinds=_MOVES, subject=f"model:{name}"):
            which = str(entry.body["alias"])
            version = int(entry.body["version"]) if entry.kind == "model.alias-moved" else None
            before = here.pop(which, None)
            if version is not None:
                here[which] = version
            if alias in (None, which):
                moves.append(
                    AliasMove(name=name, alias=which, version=version, before=before, at=entry.at, by=entry.actor)
                )
        return tuple(moves)


_MOVES = ("model.alias-moved", "model.alias-removed")


def _then(as_of: datetime | None) -> str:
    return f" at {format_instant(as_of)}" if as_of else ""
