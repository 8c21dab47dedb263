"""Taking over what a tracker holds: bytes first, then run after run, so that it can be broken off anywhere.

What cannot be kept is left away and named; what it belongs to is kept. What is here already is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

from stellwerk.access.rules import require
from stellwerk.core.clock import monotonic
from stellwerk.core.errors import Conflict, Invalid
from stellwerk.ledger.parameters import MAX_INTEGER
from stellwerk.tracking import logged, rules, segments
from stellwerk.tracking.adopting import ForeignModel, ForeignRun, Kept, standing
from stellwerk.tracking.logbook import KIND, NAME_TAG, PARENT_TAG
from stellwerk.tracking.logged import LoggedModel
from stellwerk.tracking.model import DatasetUse, Experiment, Latest, Point, Run, Score, Status
from stellwerk.tracking.segments import Series
from stellwerk.workspace.mlflow.continuing import take_rest
from stellwerk.workspace.mlflow.keeping import Keeping
from stellwerk.workspace.mlflow.model import (
    FoundExperiment,
    FoundModel,
    FoundRun,
    Growing,
    Problem,
    Source,
    TrackerImport,
)
from stellwerk.workspace.mlflow.registering import Registering
from stellwerk.workspace.mlflow.tally import Tally, elsewhere
from stellwerk.workspace.rooms import Rooms

Say = Callable[[str], None]
T = TypeVar("T")
RUNS_AT_ONCE, POINTS_AT_ONCE = 100, 500_000
"""What is entered in one transaction, at most. An import that is broken off reads so much again."""
_UNFIT = (Invalid, Conflict, OverflowError, UnicodeError)
"""What a value raises that no table or no entry can hold."""
ASKED = 10_000
"""Ids that are looked up at once."""
_STATUS: dict[str, Status] = {
    "SCHEDULED": "scheduled",
    "RUNNING": "running",
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "interrupted",
}
_MODEL_STATUS: dict[str, logged.Status] = {"PENDING": "pending", "READY": "ready", "FAILED": "failed"}


def import_tracker(rooms: Rooms, source: Source, *, say: Say | None = None) -> TrackerImport:
    """Take over everything that a source holds and that is not here. The source is only read."""
    require(rooms.grant, rooms.actor, "runs:write")
    require(rooms.grant, rooms.actor, "models:write")
    return _Import(rooms, source, say or _silent, Tally(source.kind)).run()


@dataclass
class _Import:
    rooms: Rooms
    source: Source
    say: Say
    tally: Tally
    homes: dict[str, Experiment] = field(default_factory=dict)
    """By the id of an experiment there, the experiment here."""

    def run(self) -> TrackerImport:
        began = monotonic()
        self.say("reading experiments")
        for one in self.source.experiments():
            if isinstance(one, Problem):
                self.tally.problems.append(one)
            else:
                self._experiment(one)
        for identity in self.homes:
            self._runs(identity)
            self._models(identity)
        self.say("importing registered models")
        registering = Registering(self.rooms, self.tally)
        for found in self.source.registered():
            if isinstance(found, Problem):
                self.tally.problems.append(found)
            else:
                registering.take(found)
        return TrackerImport(
            source=self.source.kind,
            made=dict(self.tally.made),
            known=dict(self.tally.known),
            remote=dict(self.tally.remote),
            bare=self.tally.bare,
            left_out=self.source.left_out(),
            problems=tuple(self.tally.problems),
            seconds=round(monotonic() - began, 3),
        )

    # Experiments

    def _experiment(self, one: FoundExperiment) -> None:
        where = f"experiment {one.name}"
        tags = self.tally.fitting(one.tags.items(), "tag", where, _check_experiment_tag)
        created = self.tally.time(one.created, where, "creation_time")
        try:
            wanted = Experiment(
                id=one.id,
                name=one.name,
                created_at=rules.instant(created),
                changed_at=rules.instant(self.tally.time(one.changed, where, "last_update_time")),
                tags=dict(tags),
                location=one.location if elsewhere(one.location) else "",
                stage="deleted" if one.deleted else "active",
            )
            origin = {**self.tally.origin(), "id": one.id, "created": created}
            self.homes[one.id], fresh = self.rooms.adoption.experiment(wanted, origin)
        except Invalid as refused:
            self.tally.problem("experiment", one.name, one.name, refused.message)
        else:
            (self.tally.made if fresh else self.tally.known)["experiments"] += 1

    # Runs

    def _runs(self, experiment: str) -> None:
        ids = self.source.runs(experiment)
        pending: list[str] = []
        for some in _portions(ids, ASKED):
            there = self._known(some)
            pending += [one for one in some if one not in there]
            renamed = self._rest(there)
            there = self._known(renamed)
            pending += [one for one in renamed if one not in there]
            self._rest(there)
        if not pending:
            return
        self.say(f"importing {_count(len(pending), 'run')} of {self.homes[experiment].name}")
        waiting: list[FoundRun] = []
        points = 0
        for found in self.source.read(pending):
            if isinstance(found, Problem):
                self.tally.problems.append(found)
                continue
            waiting.append(found)
            points += len(found.points)
            if len(waiting) >= RUNS_AT_ONCE or points >= POINTS_AT_ONCE:
                self._enter(waiting)
                waiting, points = [], 0
        self._enter(waiting)

    def _known(self, ids: Sequence[str]) -> set[str]:
        there = self.rooms.adoption.known_runs(ids)
        self.tally.known["runs"] += len(there)
        return there

    def _rest(self, known: Iterable[str]) -> list[str]:
        """Take over what is new of runs that are here, where the source can tell.

        Returns:
            New ids of runs whose own are here, for other runs.
        """
        if not isinstance(self.source, Growing):
            return []
        longer, renamed = [], []
        for identity in sorted(known):
            stands = self.source.compare(identity, self.rooms.logbook.get(identity).run.tags)
            if stands == "other":
                renamed.append(self.source.renamed(identity))
                self.tally.known["runs"] -= 1
            elif stands == "more":
                longer.append(identity)
        for found in self.source.read(longer):
            if isinstance(found, Problem):
                self.tally.problems.append(found)
                continue
            foreign = self._run(found)
            if foreign is not None:
                kept = self._kept([foreign], {found.id: found.location})
                take_rest(self.rooms, self.tally, foreign, kept[f"run {found.id}"])
        return renamed

    def _enter(self, waiting: Sequence[FoundRun]) -> None:
        """Runs with their artifacts: the bytes first, then all of it in one transaction."""
        made = [run for run in map(self._run, waiting) if run is not None]
        locations = {found.id: found.location for found in waiting}
        kept = self._kept(made, locations)
        whole = [
            replace(one, files=kept[f"run {one.run.id}"], run=self._placed(one.run, locations[one.run.id]))
            for one in made
        ]
        entered = self._all_or_each(whole, self.rooms.adoption.runs, lambda one: one.run.id, "run")
        self.tally.known["runs"] += len(whole) - len(entered)
        for foreign in whole:
            if foreign.run.id in entered:
                self.tally.made["runs"] += 1
                self.tally.made["points"] += sum(len(series.at) for series in foreign.points.values())
                self.tally.made["files"] += len(foreign.files)
                self.tally.made["bytes"] += sum(file.size for file in foreign.files)

    def _kept(self, runs: Sequence[ForeignRun], locations: Mapping[str, str]) -> Mapping[str, list[Kept]]:
        """The files of runs, whose bytes are in the store now."""
        keeping = Keeping(self.tally, self.rooms.blobs)
        for foreign in runs:
            place = f"{foreign.run.experiment}/{foreign.run.id}/artifacts"
            folder = self.source.folder(locations[foreign.run.id], (foreign.run.id, "artifacts"))
            keeping.take(f"run {foreign.run.id}", place, folder)
        return keeping.finish()

    def _all_or_each(
        self, whole: Sequence[T], enter: Callable[[Sequence[T]], list[str]], name: Callable[[T], str], kind: str
    ) -> set[str]:
        """Enter all at once; where one of them cannot be kept, one by one, and that one is named."""
        try:
            return set(enter(whole))
        except _UNFIT:
            entered: set[str] = set()
            for one in whole:
                try:
                    entered.update(enter([one]))
                except _UNFIT as refused:
                    self.tally.problem(kind, f"{kind} {name(one)}", name(one), str(refused))
            return entered

    def _placed(self, run: Run, location: str) -> Run:
        return replace(run, location=location) if elsewhere(location) else run

    def _run(self, found: FoundRun) -> ForeignRun | None:
        where = f"run {found.id}"
        try:
            rules.check_run_id(found.id)
            home = self.homes[found.experiment]
        except (Invalid, KeyError):
            self.tally.problem("run", where, found.id, "its id or its experiment cannot be kept")
            return None
        self.tally.problems += [replace(one, where=where) for one in found.problems]
        tags = dict(self.tally.fitting(found.tags, "tag", where, _check_tag))
        name = found.name or tags.get(NAME_TAG, "")
        if name and not tags.get(NAME_TAG):
            tags[NAME_TAG] = name
        start = self.tally.time(found.start, where, "start_time")
        ended = None if found.end is None else self.tally.time(found.end, where, "end_time")
        gone = found.deleted_at if found.deleted_at is not None else found.end or found.start
        points = self._points(found.points, found.latest, where)
        run = Run(
            id=found.id,
            experiment=home.id,
            name=name,
            kind=KIND,
            status=_STATUS.get(found.status, "running"),
            started_at=rules.instant(start),
            started_by="",
            ended_at=None if ended is None else rules.instant(ended),
            parent=tags.get(PARENT_TAG),
            params=dict(self.tally.fitting(found.params, "param", where, _check_param)),
            tags=tags,
            user=found.user,
            datasets=tuple(self._datasets(found.datasets, where)),
            models=tuple(found.models),
            deleted_at=rules.instant(self.tally.time(gone, where, "deleted_time")) if found.deleted else None,
        )
        said = {one.key: one for one in found.latest}
        origin = {**self.tally.origin(), "experiment": found.experiment, "started": start, "ended": ended}
        return ForeignRun(run=run, points=points, latest=standing(points, said), origin=origin)

    def _points(self, points: Sequence[Point], latest: Sequence[Latest], where: str) -> dict[str, Series]:
        rows: dict[str, set[tuple[int, int, float, str]]] = {}
        for one in points:
            if abs(one.at) > MAX_INTEGER or abs(one.step) > MAX_INTEGER:
                self.tally.problem("metric", where, one.key, "times and steps must fit into 64 bits")
                continue
            rows.setdefault(one.key, set()).add(_row(one))
        for stand in latest:  # a tracker may have thinned out the history
            if stand.key not in rows:
                rows[stand.key] = {_row(Point(stand.key, stand.value, stand.at, stand.step))}
        found: dict[str, Series] = {}
        for key, kept in rows.items():
            try:
                rules.check_points([Point(key, 0.0, min(row[0] for row in kept))])
            except Invalid as refused:
                self.tally.problem("metric", where, key, refused.message)
                continue
            # In the order of rows that are sealed here: what is no number stands where 0 would.
            found[key] = segments.series(
                (at, step, float(special) if special else value) for at, step, value, special in sorted(kept)
            )
        return found

    def _datasets(self, found: Sequence[DatasetUse], where: str) -> Iterable[DatasetUse]:
        for one in found[: rules.MAX_DATASETS]:
            try:
                rules.check_datasets([one])
            except Invalid as refused:
                self.tally.problem("dataset", where, one.name, refused.message)
            else:
                yield one

    # Logged models

    def _models(self, experiment: str) -> None:
        for some in _portions(self.source.models(experiment), RUNS_AT_ONCE):
            self.tally.problems += [one for one in some if isinstance(one, Problem)]
            found = [one for one in some if isinstance(one, FoundModel)]
            there = self.rooms.adoption.known_models([one.id for one in found])
            self.tally.known["logged models"] += len(there)
            self._enter_models([one for one in found if one.id not in there])

    def _enter_models(self, found: Sequence[FoundModel]) -> None:
        if not found:
            return
        keeping = Keeping(self.tally, self.rooms.blobs)
        made: list[ForeignModel] = []
        for one in found:
            foreign = self._model(one)
            if foreign is None:
                continue
            made.append(foreign)
            place = f"{foreign.model.experiment}/models/{one.id}/artifacts"
            keeping.take(f"model {one.id}", place, self.source.folder(one.location, ("models", one.id, "artifacts")))
        kept = keeping.finish()
        whole = [replace(one, files=kept[f"model {one.model.id}"]) for one in made]
        entered = self._all_or_each(whole, self.rooms.adoption.models, lambda one: one.model.id, "model")
        for foreign in whole:
            if foreign.model.id in entered:
                self.tally.made["logged models"] += 1
                self.tally.made["files"] += len(foreign.files)
                self.tally.made["bytes"] += sum(file.size for file in foreign.files)

    def _model(self, found: FoundModel) -> ForeignModel | None:
        where = f"model {found.id}"
        try:
            rules.check_run_id(found.id)
            name = logged.checked_name(found.name)
        except Invalid as refused:
            self.tally.problem("model", where, found.name, refused.message)
            return None
        changed = rules.instant(self.tally.time(found.changed, where, "last_updated"))
        created = self.tally.time(found.created, where, "created")
        model = LoggedModel(
            id=found.id,
            experiment=self.homes[found.experiment].id,
            name=name,
            model_type=found.model_type,
            source_run=found.source_run,
            status=_MODEL_STATUS.get(found.status, "pending"),
            tags=dict(self.tally.fitting(found.tags, "tag", where, logged.check_pair)),
            params=dict(self.tally.fitting(found.params, "param", where, logged.check_pair)),
            created_at=rules.instant(created),
            changed_at=changed,
            deleted_at=changed if found.deleted else None,
            location=found.location if elsewhere(found.location) else "",
        )
        scores = [one for one in found.scores if self._fits(one, where)]
        origin = {**self.tally.origin(), "experiment": found.experiment, "created": created}
        return ForeignModel(model=model, scores=scores, origin=origin)

    def _fits(self, score: Score, where: str) -> bool:
        try:
            rules.check_points([Point(score.key, score.value, score.at, score.step)])
            if score.at > MAX_INTEGER or abs(score.step) > MAX_INTEGER:
                raise Invalid("times and steps must fit into 64 bits", code="invalid-number")
        except Invalid as refused:
            self.tally.problem("metric", where, score.key, refused.message)
            return False
        return True


def _silent(text: str) -> None:
    """Say nothing."""


def _portions(items: Iterable[T], most: int) -> Iterator[list[T]]:
    waiting = iter(items)
    while some := list(islice(waiting, most)):
        yield some


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _row(point: Point) -> tuple[int, int, float, str]:
    """A point as a row that can be compared: NaN equals nothing, not even itself."""
    if point.value - point.value == 0:
        return point.at, point.step, point.value, ""
    return point.at, point.step, 0.0, str(point.value)


def _check_tag(key: str, value: str) -> None:
    rules.check_tags([(key, value)], path="")


def _check_experiment_tag(key: str, value: str) -> None:
    rules.check_tags([(key, value)], path="", most=rules.MAX_EXPERIMENT_TAG)


def _check_param(key: str, value: str) -> None:
    rules.check_params([(key, value)], path="")
