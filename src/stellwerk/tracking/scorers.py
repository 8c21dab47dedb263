"""Scorers: how answers are judged, in versions, as experiments keep them. Kept as text; nothing runs them here."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from stellwerk.core.clock import Clock
from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.ledger.ports import Book, Reader
from stellwerk.ledger.shelf import Shelf, evolve
from stellwerk.tracking import experiments, rules

MAX_NAME = 256
MAX_TEXT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """A name in an experiment; `last` is its highest version ever, and none is given twice."""

    experiment: str
    name: str
    id: str
    last: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerVersion:
    """One version: JSON in the words of whoever made it. Loading it may run code, which is for its reader to judge."""

    experiment: str
    name: str
    version: int
    scorer: str
    text: str
    created_at: datetime


SCORERS = Shelf("scorers", Scorer, key=("experiment", "name"))
SCORER_VERSIONS = Shelf("scorer_versions", ScorerVersion, key=("experiment", "name", "version"))


class Scorers:
    """Scorers of one workspace."""

    def __init__(self, book: Book, clock: Clock) -> None:
        self._book, self._clock = book, clock

    def register(self, experiment: str, name: str, text: str) -> ScorerVersion:
        """Keep the next version of a scorer. Raises `Invalid` for what is no JSON, and for an experiment in the bin."""
        if not name.strip() or len(name) > MAX_NAME:
            raise Invalid(f"a scorer's name has 1 to {MAX_NAME} characters", code="invalid-name")
        if len(text) > MAX_TEXT:
            raise rules.too_long("serialized_scorer", MAX_TEXT)
        try:
            json.loads(text)
        except (ValueError, RecursionError) as cause:
            raise Invalid("serialized_scorer must be valid JSON", code="invalid-json") from cause
        with self._book.write() as tx:
            home = experiments.find(tx, experiment)
            if home.stage == "deleted":
                raise Invalid(
                    f"The experiment {experiment} must be in the 'active' state. Current state is deleted.",
                    code="deleted-experiment",
                )
            known = SCORERS.find(tx, experiment, name)
            known = known or Scorer(experiment=experiment, name=name, id=str(uuid.uuid4()))
            made = ScorerVersion(
                experiment=experiment,
                name=name,
                version=known.last + 1,
                scorer=known.id,
                text=text,
                created_at=self._clock.now(),
            )
            SCORERS.put(tx, evolve(known, last=made.version))
            SCORER_VERSIONS.insert(tx, made)
            told = {"experiment": experiment, "name": name, "version": made.version}
            tx.record("scorer.registered", f"scorer:{known.id}", told | {"text": of_bytes(text.encode())})
        return made

    def latest(self, of: Sequence[str] | None = None) -> list[ScorerVersion]:
        """The newest version of each scorer of some experiments, or of all that are not in the bin."""
        with self._book.read() as reader:
            if of is None:
                binned = set(experiments.deleted(reader))
                versions = [one for one in SCORER_VERSIONS.select(reader) if one.experiment not in binned]
            else:
                versions = SCORER_VERSIONS.among(reader, "experiment", dict.fromkeys(of))
        newest: dict[tuple[str, str], ScorerVersion] = {}
        for one in sorted(versions, key=lambda one: one.version):
            newest[one.experiment, one.name] = one
        return [one for _, one in sorted(newest.items())]

    def versions(self, experiment: str, name: str) -> list[ScorerVersion]:
        """All versions of a scorer, the oldest first. Raises `NotFound`."""
        with self._book.read() as reader:
            return _versions(reader, experiment, name)

    def get(self, experiment: str, name: str, version: int | None = None) -> ScorerVersion:
        """A version, by default the newest. Raises `NotFound`."""
        found = self.versions(experiment, name)
        return found[-1] if version is None else _one(found, version)

    def delete(self, experiment: str, name: str, version: int | None = None) -> None:
        """Take a version away, or the scorer with all of them. Raises `NotFound`."""
        with self._book.write() as tx:
            found = _versions(tx, experiment, name)
            gone = found if version is None else [_one(found, version)]
            for one in gone:
                SCORER_VERSIONS.remove(tx, experiment, name, one.version)
            if version is None:
                SCORERS.remove(tx, experiment, name)
            told = {"experiment": experiment, "name": name, "versions": [one.version for one in gone]}
            tx.record("scorer.deleted", f"scorer:{gone[0].scorer}", told)


def _versions(reader: Reader, experiment: str, name: str) -> list[ScorerVersion]:
    experiments.find(reader, experiment)
    found = SCORER_VERSIONS.select(reader, experiment=experiment, name=name)
    if not found:
        raise NotFound(f"Scorer with name '{name[:MAX_NAME]}' not found for experiment {experiment}.")
    return found


def _one(found: Sequence[ScorerVersion], version: int) -> ScorerVersion:
    for one in found:
        if one.version == version:
            return one
    raise NotFound(
        f"Scorer with name '{found[0].name}' and version {version} not found for experiment {found[0].experiment}."
    )
