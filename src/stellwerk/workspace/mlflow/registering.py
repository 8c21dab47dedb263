"""Registered models of another tracker, with sources that mean what is here."""

from __future__ import annotations

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.ledger.parameters import MAX_INTEGER
from stellwerk.models import naming
from stellwerk.models.catalogue import FOREIGN
from stellwerk.models.model import ModelVersion, RegisteredModel
from stellwerk.tracking import paths, rules
from stellwerk.workspace.mlflow.model import FoundRegistered, FoundVersion
from stellwerk.workspace.mlflow.tally import Tally, elsewhere
from stellwerk.workspace.rooms import Rooms


class Registering:
    """Takes over one model after the other, once the runs and logged models are here that they come from."""

    def __init__(self, rooms: Rooms, tally: Tally) -> None:
        self._rooms, self._tally = rooms, tally

    def take(self, found: FoundRegistered) -> None:
        """Take over one model, as far as it can be kept."""
        where = f"model {found.name}"
        try:
            naming.model_name(found.name)
            tags = self._tally.fitting(found.tags, "tag", where, _check_model_tag)
            model = RegisteredModel(
                workspace="",
                name=found.name,
                created_at=rules.instant(self._tally.time(found.created, where, "creation_time")),
                changed_at=rules.instant(self._tally.time(found.changed, where, "last_updated_time")),
                description=self._tally.described(found.description, where),
                tags=dict(tags),
            )
            aliases = dict(self._tally.fitting(found.aliases.items(), "alias", where, _check_alias))
            versions = [one for one in (self._version(found.name, each) for each in found.versions) if one]
            done = self._rooms.model_adoption.adopt(model, versions, aliases, self._tally.origin())
        except Invalid as refused:
            self._tally.problem("model", where, found.name, refused.message)
            return
        (self._tally.made if done.model == "made" else self._tally.known)["registered models"] += 1
        for kind, outcomes in (("versions", done.versions), ("aliases", done.aliases)):
            for name, outcome in outcomes.items():
                if outcome == "taken":
                    singular = "version" if kind == "versions" else "alias"
                    self._tally.problem(
                        singular, where, str(name), "it means something else here, is protected, or was here"
                    )
                else:
                    (self._tally.made if outcome == "made" else self._tally.known)[kind] += 1

    def _version(self, name: str, found: FoundVersion) -> ModelVersion | None:
        where = f"version {name}@{found.number}"
        try:
            if not 0 < found.number <= MAX_INTEGER:
                raise Invalid(f"{found.number} is no version", code="invalid-version")
            location, run = self._source(found)
            tree = self._rooms.beside.tree(location or found.source)
            return ModelVersion(
                workspace="",
                name=name,
                version=found.number,
                digest=tree,
                signature=None,
                format=FOREIGN if tree else "",
                seed=None,
                run_id=run,
                created_at=rules.instant(self._tally.time(found.created, where, "creation_time")),
                changed_at=None
                if found.changed is None
                else rules.instant(self._tally.time(found.changed, where, "changed")),
                description=self._tally.described(found.description, where),
                tags=dict(self._tally.fitting(found.tags, "tag", where, _check_model_tag)),
                stage=naming.stage(found.stage),
                source=found.source,
                location=location,
                run_link=found.run_link,
                model_id=found.model or _model_of(found.source),
                user=found.user,
            )
        except Invalid as refused:
            self._tally.problem("version", where, str(found.number), refused.message)
            return None

    def _source(self, found: FoundVersion) -> tuple[str, str]:
        """Where the files of a version are here, if they are, and the run that it comes from."""
        model = found.model or _model_of(found.source)
        logged_model = self._rooms.beside.find(model) if model else None
        if logged_model is not None:
            return logged_model.location, found.run or logged_model.run_id
        parts = [part for part in found.source.split("/") if part]
        if found.run in parts and not elsewhere(found.source):
            inner = parts[parts.index(found.run) + 1 :]
            inner = inner[1:] if inner[:1] == ["artifacts"] else inner
            try:
                run = self._rooms.logbook.get(found.run).run
                return rules.below(rules.artifacts_of(run), paths.read("/".join(inner))), found.run
            except (NotFound, Invalid):
                return "", found.run
        return "", found.run


def _model_of(source: str) -> str:
    rest = source.removeprefix("models:/")
    return rest if rest != source and "/" not in rest and "@" not in rest else ""


def _check_model_tag(key: str, value: str) -> None:
    naming.tags({key: value})


def _check_alias(alias: str, _number: int) -> None:
    naming.alias_name(alias)
