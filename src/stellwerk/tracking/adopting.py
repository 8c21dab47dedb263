"""Adopting: experiments, runs and logged models that another tracker kept, with the ids and times that they had there.

How another tracker is read is up to the caller. What is here already stays as it is, so adopting twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stellwerk.core import canonical
from stellwerk.core.clock import Clock
from stellwerk.core.digest import Digest
from stellwerk.ledger.ports import Book, Transaction
from stellwerk.ledger.shelf import evolve
from stellwerk.store.ports import Blobs
from stellwerk.tracking import experiments, logged, paths, rules, segments
from stellwerk.tracking.logged import LoggedModel
from stellwerk.tracking.manifest import ARTIFACTS, Artifact
from stellwerk.tracking.model import Experiment, Latest, Run, Score
from stellwerk.tracking.ports import Finder, Points
from stellwerk.tracking.segments import Series
from stellwerk.tracking.shelves import EXPERIMENTS, RUNS


class Kept(NamedTuple):
    """A file whose bytes are in the store already; its path is one of the tree of artifacts."""

    path: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRun:
    """A run as it was elsewhere.

    Attributes:
        latest: How its metrics stand, as the other tracker says.
        origin: Where it comes from, for the ledger.
    """

    run: Run
    points: Mapping[str, Series] = field(default_factory=dict)
    latest: Sequence[Latest] = ()
    files: Sequence[Kept] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignModel:
    """A logged model as it was elsewhere."""

    model: LoggedModel
    scores: Sequence[Score] = ()
    files: Sequence[Kept] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)


class Adoption:
    """Use cases of adopting for one workspace and actor."""

    def __init__(self, book: Book, blobs: Blobs, clock: Clock, finder: Finder, points: Points) -> None:
        self._book, self._blobs, self._clock, self._finder, self._points = book, blobs, clock, finder, points

    def known_runs(self, ids: Collection[str]) -> set[str]:
        """Which of these runs are here."""
        with self._book.read() as reader:
            return {run.id for run in RUNS.among(reader, "id", ids)}

    def known_models(self, ids: Collection[str]) -> set[str]:
        """Which of these logged models are here, deleted ones too."""
        with self._book.read() as reader:
            return {model.id for model in logged.MODELS.among(reader, "id", ids)}

    def experiment(self, wanted: Experiment, origin: Mapping[str, Any]) -> tuple[Experiment, bool]:
        """The experiment of a name, made if need be under the id that it had if that is free; and whether it was."""
        rules.check_experiment_name(wanted.name)
        with self._book.read() as reader:
            known = experiments.by_name(reader, wanted.name)
        if known is not None:
            return known, False
        with self._book.write() as tx:
            known = experiments.by_name(tx, wanted.name)
            if known is not None:
                return known, False
            free = rules.is_experiment_id(wanted.id) and wanted.id != experiments.DEFAULT
            if not free or EXPERIMENTS.find(tx, wanted.id) is not None:
                wanted = evolve(wanted, id=experiments.next_id(tx))
            EXPERIMENTS.insert(tx, wanted)
            facts = {"name": wanted.name, "stage": wanted.stage, "origin": dict(origin)}
            tx.record("experiment.imported", f"experiment:{wanted.id}", facts)
        return wanted, True

    def runs(self, found: Sequence[ForeignRun]) -> list[str]:
        """Enter runs, ended or not, all of them or none; returns the ids of those that were not here.

        Their points go into the store as one segment each, and never into rows.
        """
        fresh = self._fresh(found, lambda one: one.run.id, self.known_runs)
        measured = [one for one in fresh if one.points]
        sealed = self._blobs.put_many([segments.encode(one.points) for one in measured])
        points = {one.run.id: (digest,) for one, digest in zip(measured, sealed, strict=True)}
        entered: list[str] = []
        with self._book.write() as tx:
            entries = []
            for one in fresh:
                run = evolve(one.run, points=points.get(one.run.id, ()), started_by=tx.actor)
                if RUNS.find(tx, run.id) is not None:
                    continue  # somebody else adopted it meanwhile
                RUNS.insert(tx, run)
                self._finder.enter(tx, run)
                self._points.stand(tx, run.id, one.latest)
                self._enter(tx, one.files)
                entered.append(run.id)
                state = canonical.digest({"params": run.params, "tags": run.tags})
                told = {"name": run.name, "experiment": run.experiment, "parent": run.parent, "status": run.status}
                told |= {"points": list(run.points), "state": state, **_told(one.files), "origin": dict(one.origin)}
                entries.append(("run.imported", f"run:{run.id}", told))
            tx.record_many(entries)
        return entered

    def models(self, found: Sequence[ForeignModel]) -> list[str]:
        """Enter logged models, all of them or none; returns the ids of those that were not here."""
        fresh = self._fresh(found, lambda one: one.model.id, self.known_models)
        entered: list[str] = []
        with self._book.write() as tx:
            entries = []
            for one in fresh:
                model = one.model
                if logged.MODELS.find(tx, model.id) is not None:
                    continue
                logged.MODELS.insert(tx, model)
                self._points.score(tx, one.scores)
                self._enter(tx, one.files)
                entered.append(model.id)
                state = canonical.digest({"params": model.params, "tags": model.tags})
                told = {"name": model.name, "experiment": model.experiment, "run": model.source_run, "state": state}
                told |= {**_told(one.files), "origin": dict(one.origin)}
                entries.append(("logged-model.imported", f"logged-model:{model.id}", told))
            tx.record_many(entries)
        return entered

    def _enter(self, tx: Transaction, files: Sequence[Kept]) -> None:
        """Put files where they belong, with all folders above."""
        now = self._clock.now()
        rows: dict[str, Artifact] = {}
        for path, digest, size in files:
            folder, name = paths.split(paths.read(path))
            rows[path] = Artifact(folder=folder, name=name, digest=digest, size=size, logged_at=now)
            while folder and folder not in rows:
                inner, name = paths.split(folder)
                rows[folder] = Artifact(folder=inner, name=name, logged_at=now)
                folder = inner
        ARTIFACTS.insert_new(tx, list(rows.values()))

    def _fresh(
        self, found: Sequence[Any], name: Callable[[Any], str], known: Callable[[Collection[str]], set[str]]
    ) -> list[Any]:
        there = known([name(one) for one in found])
        once = {name(one): one for one in found}
        return [one for identity, one in once.items() if identity not in there]


def standing(points: Mapping[str, Series], said: Mapping[str, Latest] | None = None) -> list[Latest]:
    """How metrics stand by their points: the value of the largest step and time, with the bounds of all values.

    Args:
        said: How they stand by what another tracker says, which settles what equal steps and times leave open.
    """
    found = []
    for key, series in points.items():
        numbers = [rules.bounded(value) for value in series.value]
        last = max(zip(series.step, series.at, map(rules.rank, numbers), series.value, strict=True))
        there_are = [number for number in numbers if number is not None]
        bounds = {"low": min(there_are), "high": max(there_are)} if there_are else {}
        there = (said or {}).get(key)
        if there is not None and (there.step, there.at) == last[:2]:
            found.append(evolve(there, **bounds))
        else:
            found.append(Latest(key=key, value=last[3], at=last[1], step=last[0], **bounds))
    return found


def _told(files: Sequence[Kept]) -> dict[str, Any]:
    if not files:
        return {}
    tree = canonical.digest({path: str(digest) for path, digest, _ in files})
    return {"files": len(files), "bytes": sum(size for _, _, size in files), "tree": tree}
