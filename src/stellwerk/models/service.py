"""Registering model versions and moving aliases. The files are in the store, made by `adapters`.

What people say of models, and versions whose files are elsewhere, are in `catalogue`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from stellwerk.core.clock import Clock, format_instant
from stellwerk.core.digest import Digest, short
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.core.names import name as checked_name
from stellwerk.ledger.model import Entry
from stellwerk.ledger.ports import Book
from stellwerk.models import keeping
from stellwerk.models.model import Alias, AliasMove, ModelVersion, ProtectedAlias, Signature
from stellwerk.models.ports import Releases
from stellwerk.models.shelves import ALIASES, PROTECTED, VERSIONS


class Registry:
    """Registered models of one workspace."""

    def __init__(self, book: Book, clock: Clock, releases: Releases | None = None) -> None:
        self._book, self._clock, self._releases = book, clock, releases or keeping.NoReleases()

    def register(
        self, name: str, digest: Digest, signature: Signature, *, layout: str, run_id: str, seed: int | None = None
    ) -> ModelVersion:
        """Give a model file tree the next version of a name. Equal bytes are the version that exists already."""
        checked_name(name, what="model")
        now = self._clock.now()
        with self._book.write() as tx:
            for known in VERSIONS.select(tx, digest=digest):
                if known.name == name:
                    return known
            model = keeping.fresh(self._book, tx, name, now)
            version = ModelVersion(
                workspace=tx.workspace,
                name=name,
                version=model.last + 1,
                digest=digest,
                signature=signature,
                format=layout,
                run_id=run_id,
                seed=seed,
                created_at=now,
                user=tx.actor,
            )
            keeping.enter(tx, model, version)
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
        name, _, which = text.rpartition("@") if "@" in text else (text, "", "")
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
        _checked_alias(alias)
        with self._book.write() as tx:
            return keeping.move_alias(tx, self._releases, VERSIONS.get(tx, name, version), alias)

    def unalias(self, name: str, alias: str) -> Alias:
        """Take an alias away; the ledger keeps where it pointed. Raises `NotFound`."""
        with self._book.write() as tx:
            return keeping.drop_alias(tx, self._releases, ALIASES.get(tx, name, alias))

    def protect(self, alias: str) -> ProtectedAlias:
        """Let an alias, in every model, move only to versions that a release permits at that moment."""
        _checked_alias(alias)
        with self._book.write() as tx:
            known = PROTECTED.find(tx, alias)
            if known is not None:
                return known
            made = ProtectedAlias(workspace=tx.workspace, alias=alias, since=self._clock.now(), by=tx.actor)
            PROTECTED.insert(tx, made)
            tx.record("model.alias-protected", f"workspace:{tx.workspace}", {"alias": alias})
        return made

    def unprotect(self, alias: str) -> ProtectedAlias:
        """Let an alias move freely again. Raises `NotFound`."""
        with self._book.write() as tx:
            gone = PROTECTED.get(tx, alias)
            PROTECTED.remove(tx, alias)
            tx.record("model.alias-unprotected", f"workspace:{tx.workspace}", {"alias": alias})
        return gone

    def protected(self) -> Sequence[ProtectedAlias]:
        """Aliases that move only to what is released."""
        with self._book.read() as reader:
            return PROTECTED.select(reader)

    def aliases(self, name: str | None = None) -> Sequence[Alias]:
        """Where aliases point now, of one model or of all."""
        with self._book.read() as reader:
            return ALIASES.select(reader) if name is None else ALIASES.select(reader, name=name)

    def history(self, name: str, alias: str | None = None) -> tuple[AliasMove, ...]:
        """Who moved which alias when, oldest first."""
        moves: Sequence[AliasMove] = []
        moves, here = [], dict[str, int]()
        for entry in self._told(name):
            after = _after(entry, here)
            for which in sorted({*here, *after}):
                version = after.get(which)
                again = entry.kind == "model.alias-moved" and which == entry.body["alias"]
                if alias in (None, which) and (here.get(which) != version or again):
                    moves.append(
                        AliasMove(
                            name=name,
                            alias=which,
                            version=version,
                            before=here.get(which),
                            at=entry.at,
                            by=entry.actor,
                        )
                    )
            here = after
        return tuple(moves)

    def _told(self, name: str, until: int | None = None) -> Sequence[Entry]:
        """What the ledger tells of a model's aliases, in order, also of the time before it had this name."""
        told = [e for e in self._book.entries(kinds=_MOVES, subject=f"model:{name}") if _before(e, until)]
        renamed = [e for e in self._book.entries(kinds=["model.renamed"]) if _before(e, until)]
        came = next((e for e in reversed(renamed) if e.body["to"] == name), None)
        if came is None:
            return told
        former = self._told(came.subject.removeprefix("model:"), came.sequence)
        return [*former, *(entry for entry in told if entry.sequence > came.sequence)]


def _before(entry: Entry, until: int | None) -> bool:
    return until is None or entry.sequence < until


_MOVES = ("model.alias-moved", "model.alias-removed", "model.version-deleted", *keeping.LEFT)


def _after(entry: Entry, here: dict[str, int]) -> dict[str, int]:
    """Where aliases point after an entry."""
    if entry.kind == "model.alias-moved":
        return {**here, str(entry.body["alias"]): int(entry.body["version"])}
    gone = {str(entry.body["alias"])} if entry.kind == "model.alias-removed" else set(entry.body["aliases"])
    return {alias: version for alias, version in here.items() if alias not in gone}


def _checked_alias(alias: str) -> None:
    if checked_name(alias, what="alias").isdigit() or alias == "latest":
        raise Invalid(f"{alias!r} cannot be an alias (it means a version)", code="invalid-name")


def _then(as_of: datetime | None) -> str:
    return f" at {format_instant(as_of)}" if as_of else ""
