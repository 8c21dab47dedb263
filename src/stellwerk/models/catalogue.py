"""Registered models as people arrange them: names, descriptions, tags, stages, and versions whose files are elsewhere.

Versions whose files are in the store, aliases and their past are in `service`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from stellwerk.core.clock import Clock
from stellwerk.core.errors import Conflict, Invalid, NotFound
from stellwerk.ledger.ports import Book, Reader
from stellwerk.ledger.shelf import evolve
from stellwerk.models import keeping, naming, search, sources
from stellwerk.models.model import Alias, ModelVersion, RegisteredModel, Stage
from stellwerk.models.ports import Files, Finder, KnownRuns, Logged, LoggedModels, Releases
from stellwerk.models.shelves import ALIASES, MODELS, VERSIONS
from stellwerk.models.sources import Source

FOREIGN = "foreign"
"""Format of files that something else wrote: kept, and never clear, because nothing here loads them."""
T = TypeVar("T", RegisteredModel, ModelVersion)
N = TypeVar("N", ModelVersion, Alias)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What people see of a model.

    Attributes:
        aliases: Where its aliases point.
        latest: The newest version of each stage, the oldest first.
        versions: How many there are.
    """

    model: RegisteredModel
    aliases: Mapping[str, int]
    latest: tuple[ModelVersion, ...]
    versions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What follows from a source."""

    source: str
    run_id: str
    model_id: str
    location: str = ""
    copied: Mapping[str, Any] = field(default_factory=dict)


class Catalogue:
    """Registered models of one workspace.

    Args:
        finder: Finds models and versions by what is said of them.
        releases: What endpoints may run.
        knows_run: Whether a run exists; without it none is known.
        files: What runs logged here; without, only copies have bytes.
        logged: Models that runs logged; without them ids are not looked up.
    """

    def __init__(
        self,
        book: Book,
        clock: Clock,
        finder: Finder,
        *,
        releases: Releases | None = None,
        knows_run: KnownRuns | None = None,
        logged: LoggedModels | None = None,
        files: Files | None = None,
    ) -> None:
        self._book, self._clock, self._finder = book, clock, finder
        self._releases = releases or keeping.NoReleases()
        self._knows_run: Callable[[str], bool] = knows_run or (lambda run_id: False)
        self.logged, self._files = logged, files

    def create(self, name: str, *, description: str = "", tags: Mapping[str, str] | None = None) -> RegisteredModel:
        """Make a model without versions. Raises `Conflict` (`already-exists`) where the name is taken."""
        naming.model_name(name)
        made_tags = naming.few_tags(naming.tags(tags or {}))
        now = self._clock.now()
        with self._book.write() as tx:
            known = keeping.find_model(tx, name)
            if known is not None:
                raise _taken(known, made_tags)
            model = evolve(
                keeping.fresh(self._book, tx, name, now),
                description=naming.description(description),
                tags=made_tags,
            )
            MODELS.insert(tx, model)
            tx.record("model.created", f"model:{name}", {"tags": sorted(made_tags)})
        return model

    def get(self, name: str) -> Page:
        """A model. Raises `NotFound`."""
        with self._book.read() as reader:
            return self._pages(reader, [keeping.get_model(reader, name)])[0]

    def describe(
        self,
        name: str,
        version: int | None = None,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        untag: Sequence[str] = (),
    ) -> RegisteredModel | ModelVersion:
        """Change what is said of a model or of one of its versions. The ledger keeps that, and not the words."""
        naming.tags(tags or {})
        for key in untag:
            naming.tag_key(key)
        now = self._clock.now()
        with self._book.write() as tx:
            if version is None:
                model = keeping.get_model(tx, name)
                said = _said(model, description, tags or {}, untag, now)
                if said != model:
                    MODELS.put(tx, said)
                    tx.record("model.described", f"model:{name}", _change(model, said))
                return said
            known = keeping.get_version(tx, name, version)
            told = _said(known, description, tags or {}, untag, now)
            if told != known:
                VERSIONS.put(tx, told)
                tx.record("model.described", f"model:{name}", {"version": version, **_change(known, told)})
            return told

    def rename(self, name: str, to: str) -> RegisteredModel:
        """Give a model another name; its versions and aliases go with it."""
        naming.model_name(to, field="new_name")
        now = self._clock.now()
        with self._book.write() as tx:
            model = keeping.get_model(tx, name)
            if keeping.find_model(tx, to) is not None:
                raise Conflict(f"Registered Model (name={to}) already exists.", code="already-exists")
            aliases = ALIASES.select(tx, name=name)
            for alias in aliases:
                keeping.watch(tx, self._releases, alias.alias)
            moved = evolve(model, name=to, changed_at=now, last=max(model.last, keeping.used(self._book, to)))
            MODELS.remove(tx, name)
            MODELS.put(tx, moved)
            for version in VERSIONS.select(tx, name=name):
                VERSIONS.remove(tx, name, version.version)
                VERSIONS.insert(tx, evolve(version, name=to, changed_at=now))
            for alias in aliases:
                ALIASES.remove(tx, name, alias.alias)
                ALIASES.put(tx, evolve(alias, name=to))
            told = {"to": to, "last": model.last, "aliases": {alias.alias: alias.version for alias in aliases}}
            tx.record("model.renamed", f"model:{name}", told)
        return moved

    def delete(self, name: str) -> None:
        """Take a model away with its versions and aliases; the ledger keeps that they were there."""
        with self._book.write() as tx:
            model = keeping.get_model(tx, name)
            versions = VERSIONS.select(tx, name=name)
            for version in versions:  # one after another: two may have the same bytes
                keeping.must_not_be_needed(tx, self._releases, version)
                VERSIONS.remove(tx, name, version.version)
            aliases = keeping.drop_aliases(tx, self._releases, name)
            MODELS.remove(tx, name)
            told = {"last": model.last, "versions": [one.version for one in versions], "aliases": aliases}
            tx.record("model.deleted", f"model:{name}", told)

    def add(
        self,
        name: str,
        source: str,
        *,
        run_id: str | None = None,
        model_id: str | None = None,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        run_link: str = "",
    ) -> ModelVersion:
        """Register what a source names as the next version. Copies have the bytes of what they copy.

        Raises:
            NotFound: there is no such model.
            Invalid: `invalid-source`: a local path, a text with two readings, or something that does not exist.
        """
        said = sources.read(source, beside="model_id" if model_id else "run_id")
        version_tags = naming.few_tags(naming.tags(tags or {}))
        for text, what in ((run_id or "", "run_id"), (model_id or "", "model_id"), (run_link, "run_link")):
            if len(text) > sources.MAX_SOURCE:
                raise Invalid(
                    f"'{what}' exceeds the maximum length of {sources.MAX_SOURCE} characters", code="invalid-text"
                )
        now = self._clock.now()
        with self._book.read() as reader:
            foreseen = self._follow(reader, said, run_id, model_id)
        # A tree of many files is made before the change, which keeps all other writers waiting.
        copied = foreseen.copied or self._bytes(foreseen)
        with self._book.write() as tx:
            model = keeping.get_model(tx, name)
            made = self._follow(tx, said, run_id, model_id)
            if made != foreseen:
                copied = made.copied or self._bytes(made)
            version = ModelVersion(
                workspace=tx.workspace,
                name=name,
                version=model.last + 1,
                created_at=now,
                run_id=made.run_id,
                model_id=made.model_id,
                source=made.source,
                location=made.location,
                run_link=run_link,
                description=naming.description(description),
                tags=version_tags,
                user=tx.actor,
                **{"digest": None, "signature": None, "format": "", "seed": None, **copied},
            )
            keeping.enter(tx, model, version)
            if self.logged is not None and made.model_id:
                self.logged.registered(tx, made.model_id, name, version.version)
            told = {"name": name, "version": version.version, "run": made.run_id, "source": made.source}
            told |= {"digest": version.digest, "format": version.format} if version.digest else {}
            about = version.digest or f"{name}@{version.version}"
            tx.record("model.registered", f"model:{about}", told)
        return version

    def version(self, name: str, number: int) -> ModelVersion:
        """One version. Raises `NotFound`."""
        with self._book.read() as reader:
            return keeping.get_version(reader, name, number)

    def delete_version(self, name: str, number: int) -> ModelVersion:
        """Take a version away, and the aliases that point at it. Its number is not given again."""
        with self._book.write() as tx:
            gone = keeping.get_version(tx, name, number)
            model = keeping.get_model(tx, name)
            keeping.must_not_be_needed(tx, self._releases, gone)
            aliases = keeping.drop_aliases(tx, self._releases, name, number)
            VERSIONS.remove(tx, name, number)
            MODELS.put(tx, evolve(model, changed_at=self._clock.now()))
            told = {"version": number, "aliases": aliases} | ({"digest": gone.digest} if gone.digest else {})
            tx.record("model.version-deleted", f"model:{name}", told)
        return gone

    def stage(self, name: str, number: int, stage: str, *, archive: bool = False) -> ModelVersion:
        """Move a version to a stage, and on demand whatever is there to the archive.

        A stage whose name is a protected alias is watched like that alias.
        """
        wanted = naming.stage(stage)
        if archive and wanted not in naming.ACTIVE:
            raise Invalid(
                f"Model version transition cannot archive existing model versions because '{stage[:60]}' is not an "
                f"Active stage. Valid stages are {list(naming.ACTIVE)}",
                code="invalid-stage",
            )
        now = self._clock.now()
        with self._book.write() as tx:
            version = keeping.get_version(tx, name, number)
            self._watch_stage(tx, version, wanted)
            archived = [
                one
                for one in (VERSIONS.select(tx, name=name) if archive else ())
                if one.stage == wanted and one.version != number
            ]
            moved = evolve(version, stage=wanted, changed_at=now)
            for one in (moved, *(evolve(one, stage="Archived", changed_at=now) for one in archived)):
                VERSIONS.put(tx, one)
            keeping.touch(tx, name, now)
            told = {"version": number, "stage": wanted, "archived": [one.version for one in archived]}
            tx.record("model.staged", f"model:{name}", told)
        return moved

    def _watch_stage(self, reader: Reader, version: ModelVersion, wanted: Stage) -> None:
        if wanted != version.stage:
            keeping.watch(reader, self._releases, wanted.lower(), version)

    def latest(self, name: str, stages: Sequence[str] = ()) -> tuple[ModelVersion, ...]:
        """The newest version of each stage, or of those asked for."""
        among = {naming.stage(stage) for stage in stages} or set(naming.STAGES)
        return tuple(one for one in self.get(name).latest if one.stage in among)

    def by_alias(self, name: str, alias: str) -> ModelVersion:
        """What an alias means; `latest` is the newest version. Raises `NotFound` and `Invalid` as MLflow does."""
        with self._book.read() as reader:
            keeping.get_model(reader, name)
            if alias.lower() == "latest":
                newest = VERSIONS.select(reader, name=name, order="-version", limit=1)
                if not newest:
                    raise NotFound(f"Latest version not found for model {name}.")
                return newest[0]
            found = ALIASES.find(reader, name, alias)
            if found is None:
                raise Invalid(f"Registered model alias {alias[:255]} not found.", code="unknown-alias")
            return keeping.get_version(reader, name, found.version)

    def set_alias(self, name: str, alias: str, number: int) -> Alias:
        """Point an alias, of the names that MLflow allows, at a version."""
        naming.alias_name(alias)
        with self._book.write() as tx:
            return keeping.move_alias(tx, self._releases, keeping.get_version(tx, name, number), alias)

    def drop_alias(self, name: str, alias: str) -> None:
        """Take an alias away, if it is there."""
        with self._book.write() as tx:
            keeping.get_model(tx, name)
            gone = ALIASES.find(tx, name, alias)
            if gone is not None:
                keeping.drop_alias(tx, self._releases, gone)

    def names_of(self, versions: Sequence[ModelVersion]) -> dict[tuple[str, int], list[str]]:
        """The aliases of versions."""
        named: dict[tuple[str, int], list[str]] = {}
        with self._book.read() as reader:
            for alias in ALIASES.among(reader, "name", {version.name for version in versions}):
                named.setdefault((alias.name, alias.version), []).append(alias.alias)
        return {key: sorted(found) for key, found in named.items()}

    def location(self, name: str, number: int) -> str:
        """Where the files of a version can be fetched. What was kept is judged again: whoever reads trusts no writer."""
        version = self.version(name, number)
        found = version.location or version.source
        if not found:
            raise Invalid(
                f"{name}@{number} was not registered from an address; its files are in the store of the workspace",
                code="no-location",
                hint="workspace.models.get in Python",
            )
        return sources.read(found).text

    def search_models(
        self, where: str = "", order: Sequence[str] = (), *, limit: int = 100, offset: int = 0, prompts: bool = False
    ) -> list[Page]:
        """Models that meet all conditions, by default by name.

        Args:
            prompts: Prompts too. Without, they are only for those whose conditions ask for them.
        """
        clauses, asked = search.wanted(where, search.MODELS)
        criteria = search.order(order, search.ORDER_OF_MODELS)
        with self._book.read() as reader:
            names = self._finder.models(
                reader, where=clauses, order=criteria, prompts=prompts or asked, limit=limit, offset=offset
            )
            return self._pages(reader, MODELS.keyed(reader, [(name,) for name in names]))

    def search_versions(
        self,
        where: str = "",
        order: Sequence[str] = (),
        *,
        limit: int = 10_000,
        offset: int = 0,
        prompts: bool = False,
    ) -> list[ModelVersion]:
        """Versions that meet all conditions, by default the last changed first; `prompts` as for models."""
        clauses, asked = search.wanted(where, search.VERSIONS)
        criteria = search.order(order or ("last_updated_timestamp DESC",), search.ORDER_OF_VERSIONS)
        with self._book.read() as reader:
            keys = self._finder.versions(
                reader, where=clauses, order=criteria, prompts=prompts or asked, limit=limit, offset=offset
            )
            return VERSIONS.keyed(reader, keys)

    def _pages(self, reader: Reader, models: Sequence[RegisteredModel]) -> list[Page]:
        names = [model.name for model in models]
        aliases = _by_name(ALIASES.among(reader, "name", names))
        newest, counts = self._finder.newest(reader, names), self._finder.counts(reader, names)
        latest = _by_name(
            VERSIONS.keyed(reader, [(name, number) for name in names for number in newest.get(name, ())])
        )
        return [
            Page(
                model=model,
                aliases={one.alias: one.version for one in aliases.get(model.name, ())},
                latest=tuple(latest.get(model.name, ())),
                versions=counts.get(model.name, 0),
            )
            for model in models
        ]

    def _follow(self, tx: Reader, source: Source, run_id: str | None, model_id: str | None) -> _Made:
        """What a source means now. Only the book is asked; no address is."""
        match source.kind:
            case "version":
                return self._copied(tx, source, run_id, model_id)
            case "logged":
                logged = self._logged(source, source.name, model_id)
                location = logged.location if logged else ""
                run = run_id or (logged.run_id if logged else "")
                return _Made(source=source.text, run_id=run, model_id=source.name, location=location)
            case "run":
                return _Made(source=source.text, run_id=self._run(source, run_id), model_id=model_id or "")
            case _:
                if not run_id and model_id and self.logged is not None:
                    beside = self.logged.find(model_id)
                    run_id = beside.run_id if beside else ""
                return _Made(source=source.text, run_id=run_id or "", model_id=model_id or "")

    def _bytes(self, made: _Made) -> dict[str, Any]:
        """The files as they are now: later changes of what was logged do not change a version."""
        found = self._files.tree(made.location or made.source) if self._files is not None else None
        return {"digest": found, "format": FOREIGN} if found else {}

    def _run(self, source: Source, run_id: str | None) -> str:
        known = self._knows_run(source.name)
        if (known and run_id not in (None, "", source.name)) or (not known and sources.looks_like_ours(source.name)):
            raise sources.unrelated(source.text, "run_id")
        return run_id or (source.name if known else "")

    def _logged(self, source: Source, name: str, model_id: str | None) -> Logged | None:
        found = self.logged.find(name) if self.logged is not None else None
        if (model_id and model_id != name) or (self.logged is not None and found is None):
            raise sources.unrelated(source.text, "model_id")
        return found

    def _copied(self, tx: Reader, source: Source, run_id: str | None, model_id: str | None) -> _Made:
        model = keeping.get_model(tx, source.name)
        if naming.is_prompt(model.tags):
            raise sources.prompt(source.text)
        original = self._meant(tx, source)
        if (run_id or original.run_id) != original.run_id or (model_id or original.model_id) != original.model_id:
            raise sources.contradiction(source.text)
        location = original.location or original.source
        return _Made(
            source=f"models:/{original.name}/{original.version}",
            run_id=original.run_id,
            model_id=original.model_id,
            location=sources.read(location).text if location else "",
            copied={
                "digest": original.digest,
                "signature": original.signature,
                "format": original.format,
                "seed": original.seed,
            },
        )

    def _meant(self, reader: Reader, source: Source) -> ModelVersion:
        number = sources.number_of(source)
        if number is not None:
            return keeping.get_version(reader, source.name, number)
        if source.which.startswith("@"):
            alias = ALIASES.find(reader, source.name, source.which[1:])
            if alias is None:
                raise Invalid(f"Registered model alias {source.which[1:256]} not found.", code="unknown-alias")
            return keeping.get_version(reader, source.name, alias.version)
        found = VERSIONS.select(reader, name=source.name, order="-version")
        if source.which.lower() != "latest":
            stage = naming.stage(source.which)
            found = [one for one in found if one.stage == stage]
        if not found:
            raise NotFound(
                f"No versions of model with name '{source.name[:256]}' and stage '{source.which[:60]}' found"
            )
        return found[0]


def _said(thing: T, description: str | None, tags: Mapping[str, str], untag: Sequence[str], now: datetime) -> T:
    kept = {key: value for key, value in {**thing.tags, **tags}.items() if key not in untag}
    said: T = evolve(thing, tags=naming.few_tags(kept))
    if description is None:
        return said
    return evolve(said, description=naming.description(description), changed_at=now)


def _change(before: T, after: T) -> dict[str, Any]:
    keys = {*before.tags, *after.tags}
    return {
        "description": before.description != after.description,
        "tags": sorted(key for key in keys if before.tags.get(key) != after.tags.get(key)),
    }


def _taken(known: RegisteredModel, tags: Mapping[str, str]) -> Conflict:
    old, new = ("Prompt" if naming.is_prompt(found) else "Registered Model" for found in (known.tags, tags))
    if old == new:
        return Conflict(f"{new} (name={known.name}) already exists.", code="already-exists")
    return Conflict(
        f"Tried to create a {new.lower()} with name {known.name!r}, but the name is already taken by a {old.lower()}. "
        "A model and a prompt cannot have the same name.",
        code="already-exists",
    )


def _by_name(things: Iterable[N]) -> dict[str, list[N]]:
    found: dict[str, list[N]] = {}
    for thing in things:
        found.setdefault(thing.name, []).append(thing)
    return found
