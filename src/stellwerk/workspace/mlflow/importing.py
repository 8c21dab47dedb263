"""Taking over what an MLflow tracker holds: bytes first, then run after run, so that it can be broken off anywhere.

What cannot be kept is left away and named; what it belongs to is kept. What is here already is not touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, TypeVar

from stellwerk.access.rules import require
from stellwerk.core.clock import monotonic
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Conflict, Invalid, NotFound
from stellwerk.ledger.parameters import MAX_INTEGER
from stellwerk.models import naming
from stellwerk.models.catalogue import FOREIGN
from stellwerk.models.model import ModelVersion, RegisteredModel
from stellwerk.tracking import logged, paths, rules, segments
from stellwerk.tracking.adopting import ForeignModel, ForeignRun, Kept, standing
from stellwerk.tracking.logbook import KIND, NAME_TAG, PARENT_TAG
from stellwerk.tracking.logged import LoggedModel
from stellwerk.tracking.model import DatasetUse, Experiment, Latest, Point, Run, Score, Status
from stellwerk.tracking.segments import Series
from stellwerk.workspace.mlflow.model import (
    Folder,
    FoundExperiment,
    FoundFile,
    FoundModel,
    FoundRegistered,
    FoundRun,
    FoundVersion,
    MlflowImport,
    Problem,
    Source,
    Unread,
)
from stellwerk.workspace.rooms import Rooms

Say = Callable[[str], None]
T = TypeVar("T")
RUNS_AT_ONCE, POINTS_AT_ONCE = 100, 500_000
"""What is entered in one transaction, at most. An import that is broken off reads so much again."""
SMALL = 1 << 20
"""Files up to this length are put into the store together."""
BATCH_BYTES = 32 << 20
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


def import_tracker(rooms: Rooms, source: Source, *, say: Say | None = None) -> MlflowImport:
    """Take over everything that a source holds and that is not here. The source is only read."""
    require(rooms.grant, rooms.actor, "runs:write")
    require(rooms.grant, rooms.actor, "models:write")
    return _Import(rooms, source, say or _silent).run()


@dataclass
class _Import:
    rooms: Rooms
    source: Source
    say: Say
    made: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    remote: Counter[str] = field(default_factory=Counter)
    bare: int = 0
    problems: list[Problem] = field(default_factory=list)
    homes: dict[str, Experiment] = field(default_factory=dict)
    """By the id of an experiment there, the experiment here."""

    def run(self) -> MlflowImport:
        began = monotonic()
        self.say("reading experiments")
        for one in self.source.experiments():
            self._experiment(one)
        for identity in self.homes:
            self._runs(identity)
            self._models(identity)
        self.say("importing registered models")
        for found in self.source.registered():
            if isinstance(found, Problem):
                self.problems.append(found)
            else:
                self._registered(found)
        return MlflowImport(
            source=self.source.kind,
            made=dict(self.made),
            known=dict(self.known),
            remote=dict(self.remote),
            bare=self.bare,
            left_out=self.source.left_out(),
            problems=tuple(self.problems),
            seconds=round(monotonic() - began, 3),
        )

    # Experiments

    def _experiment(self, one: FoundExperiment) -> None:
        where = f"experiment {one.name}"
        tags = self._fitting(one.tags.items(), "tag", where, _check_experiment_tag)
        created = self._time(one.created, where, "creation_time")
        try:
            wanted = Experiment(
                id=one.id,
                name=one.name,
                created_at=rules.instant(created),
                changed_at=rules.instant(self._time(one.changed, where, "last_update_time")),
                tags=dict(tags),
                location=one.location if _elsewhere(one.location) else "",
                stage="deleted" if one.deleted else "active",
            )
            origin = {**self._origin(), "id": one.id, "created": created}
            self.homes[one.id], fresh = self.rooms.adoption.experiment(wanted, origin)
        except Invalid as refused:
            self._problem("experiment", one.name, one.name, refused.message)
        else:
            (self.made if fresh else self.known)["experiments"] += 1

    # Runs

    def _runs(self, experiment: str) -> None:
        ids = self.source.runs(experiment)
        pending: list[str] = []
        for some in _portions(ids, ASKED):
            there = self.rooms.adoption.known_runs(some)
            self.known["runs"] += len(there)
            pending += [one for one in some if one not in there]
        if not pending:
            return
        self.say(f"importing {_count(len(pending), 'run')} of {self.homes[experiment].name}")
        waiting: list[FoundRun] = []
        points = 0
        for found in self.source.read(pending):
            if isinstance(found, Problem):
                self.problems.append(found)
                continue
            waiting.append(found)
            points += len(found.points)
            if len(waiting) >= RUNS_AT_ONCE or points >= POINTS_AT_ONCE:
                self._enter(waiting)
                waiting, points = [], 0
        self._enter(waiting)

    def _enter(self, waiting: Sequence[FoundRun]) -> None:
        """Runs with their artifacts: the bytes first, then all of it in one transaction."""
        made = [run for run in map(self._run, waiting) if run is not None]
        locations = {found.id: found.location for found in waiting}
        keeping = _Keeping(self)
        for foreign in made:
            place = f"{foreign.run.experiment}/{foreign.run.id}/artifacts"
            folder = self.source.folder(locations[foreign.run.id], (foreign.run.id, "artifacts"))
            keeping.take(f"run {foreign.run.id}", place, folder)
        kept = keeping.finish()
        whole = [
            replace(one, files=kept[f"run {one.run.id}"], run=self._placed(one.run, locations[one.run.id]))
            for one in made
        ]
        entered = self._all_or_each(whole, self.rooms.adoption.runs, lambda one: one.run.id, "run")
        self.known["runs"] += len(whole) - len(entered)
        for foreign in whole:
            if foreign.run.id in entered:
                self.made["runs"] += 1
                self.made["points"] += sum(len(series.at) for series in foreign.points.values())
                self.made["files"] += len(foreign.files)
                self.made["bytes"] += sum(file.size for file in foreign.files)

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
                    self._problem(kind, f"{kind} {name(one)}", name(one), str(refused))
            return entered

    def _placed(self, run: Run, location: str) -> Run:
        return replace(run, location=location) if _elsewhere(location) else run

    def _run(self, found: FoundRun) -> ForeignRun | None:
        where = f"run {found.id}"
        try:
            rules.check_run_id(found.id)
            home = self.homes[found.experiment]
        except (Invalid, KeyError):
            self._problem("run", where, found.id, "its id or its experiment cannot be kept")
            return None
        for reason in found.problems:
            self._problem("metric", where, "", reason)
        tags = dict(self._fitting(found.tags, "tag", where, _check_tag))
        name = found.name or tags.get(NAME_TAG, "")
        if name and not tags.get(NAME_TAG):
            tags[NAME_TAG] = name
        start = self._time(found.start, where, "start_time")
        ended = None if found.end is None else self._time(found.end, where, "end_time")
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
            params=dict(self._fitting(found.params, "param", where, _check_param)),
            tags=tags,
            user=found.user,
            datasets=tuple(self._datasets(found.datasets, where)),
            models=tuple(found.models),
            deleted_at=rules.instant(self._time(gone, where, "deleted_time")) if found.deleted else None,
        )
        said = {one.key: one for one in found.latest}
        origin = {**self._origin(), "experiment": found.experiment, "started": start, "ended": ended}
        return ForeignRun(run=run, points=points, latest=standing(points, said), origin=origin)

    def _points(self, points: Sequence[Point], latest: Sequence[Latest], where: str) -> dict[str, Series]:
        rows: dict[str, set[tuple[int, int, float, str]]] = {}
        for one in points:
            if abs(one.at) > MAX_INTEGER or abs(one.step) > MAX_INTEGER:
                self._problem("metric", where, one.key, "times and steps must fit into 64 bits")
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
                self._problem("metric", where, key, refused.message)
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
                self._problem("dataset", where, one.name, refused.message)
            else:
                yield one

    # Logged models

    def _models(self, experiment: str) -> None:
        for some in _portions(self.source.models(experiment), RUNS_AT_ONCE):
            self.problems += [one for one in some if isinstance(one, Problem)]
            found = [one for one in some if isinstance(one, FoundModel)]
            there = self.rooms.adoption.known_models([one.id for one in found])
            self.known["logged models"] += len(there)
            self._enter_models([one for one in found if one.id not in there])

    def _enter_models(self, found: Sequence[FoundModel]) -> None:
        if not found:
            return
        keeping = _Keeping(self)
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
                self.made["logged models"] += 1
                self.made["files"] += len(foreign.files)
                self.made["bytes"] += sum(file.size for file in foreign.files)

    def _model(self, found: FoundModel) -> ForeignModel | None:
        where = f"model {found.id}"
        try:
            rules.check_run_id(found.id)
            name = logged.checked_name(found.name)
        except Invalid as refused:
            self._problem("model", where, found.name, refused.message)
            return None
        changed = rules.instant(self._time(found.changed, where, "last_updated"))
        created = self._time(found.created, where, "created")
        model = LoggedModel(
            id=found.id,
            experiment=self.homes[found.experiment].id,
            name=name,
            model_type=found.model_type,
            source_run=found.source_run,
            status=_MODEL_STATUS.get(found.status, "pending"),
            tags=dict(self._fitting(found.tags, "tag", where, logged.check_pair)),
            params=dict(self._fitting(found.params, "param", where, logged.check_pair)),
            created_at=rules.instant(created),
            changed_at=changed,
            deleted_at=changed if found.deleted else None,
            location=found.location if _elsewhere(found.location) else "",
        )
        scores = [one for one in found.scores if self._fits(one, where)]
        origin = {**self._origin(), "experiment": found.experiment, "created": created}
        return ForeignModel(model=model, scores=scores, origin=origin)

    def _fits(self, score: Score, where: str) -> bool:
        try:
            rules.check_points([Point(score.key, score.value, score.at, score.step)])
            if score.at > MAX_INTEGER or abs(score.step) > MAX_INTEGER:
                raise Invalid("times and steps must fit into 64 bits", code="invalid-number")
        except Invalid as refused:
            self._problem("metric", where, score.key, refused.message)
            return False
        return True

    # Registered models

    def _registered(self, found: FoundRegistered) -> None:
        where = f"model {found.name}"
        try:
            naming.model_name(found.name)
            tags = self._fitting(found.tags, "tag", where, _check_model_tag)
            model = RegisteredModel(
                workspace="",
                name=found.name,
                created_at=rules.instant(self._time(found.created, where, "creation_time")),
                changed_at=rules.instant(self._time(found.changed, where, "last_updated_time")),
                description=self._described(found.description, where),
                tags=dict(tags),
            )
            aliases = dict(self._fitting(found.aliases.items(), "alias", where, _check_alias))
            versions = [one for one in (self._version(found.name, each) for each in found.versions) if one]
            done = self.rooms.model_adoption.adopt(model, versions, aliases, self._origin())
        except Invalid as refused:
            self._problem("model", where, found.name, refused.message)
            return
        (self.made if done.model == "made" else self.known)["registered models"] += 1
        for kind, outcomes in (("versions", done.versions), ("aliases", done.aliases)):
            for name, outcome in outcomes.items():
                if outcome == "taken":
                    singular = "version" if kind == "versions" else "alias"
                    self._problem(
                        singular, where, str(name), "it means something else here, is protected, or was here"
                    )
                else:
                    (self.made if outcome == "made" else self.known)[kind] += 1

    def _version(self, name: str, found: FoundVersion) -> ModelVersion | None:
        where = f"version {name}@{found.number}"
        try:
            if not 0 < found.number <= MAX_INTEGER:
                raise Invalid(f"{found.number} is no version", code="invalid-version")
            location, run = self._source(found)
            tree = self.rooms.beside.tree(location or found.source)
            return ModelVersion(
                workspace="",
                name=name,
                version=found.number,
                digest=tree,
                signature=None,
                format=FOREIGN if tree else "",
                seed=None,
                run_id=run,
                created_at=rules.instant(self._time(found.created, where, "creation_time")),
                changed_at=None
                if found.changed is None
                else rules.instant(self._time(found.changed, where, "changed")),
                description=self._described(found.description, where),
                tags=dict(self._fitting(found.tags, "tag", where, _check_model_tag)),
                stage=naming.stage(found.stage),
                source=found.source,
                location=location,
                run_link=found.run_link,
                model_id=found.model or _model_of(found.source),
                user=found.user,
            )
        except Invalid as refused:
            self._problem("version", where, str(found.number), refused.message)
            return None

    def _source(self, found: FoundVersion) -> tuple[str, str]:
        """Where the files of a version are here, if they are, and the run that it comes from."""
        model = found.model or _model_of(found.source)
        logged_model = self.rooms.beside.find(model) if model else None
        if logged_model is not None:
            return logged_model.location, found.run or logged_model.run_id
        parts = [part for part in found.source.split("/") if part]
        if found.run in parts and not _elsewhere(found.source):
            inner = parts[parts.index(found.run) + 1 :]
            inner = inner[1:] if inner[:1] == ["artifacts"] else inner
            try:
                run = self.rooms.logbook.get(found.run).run
                return rules.below(rules.artifacts_of(run), paths.read("/".join(inner))), found.run
            except (NotFound, Invalid):
                return "", found.run
        return "", found.run

    def _described(self, text: str, where: str) -> str:
        try:
            return naming.description(text)
        except Invalid as refused:
            self._problem("description", where, "", refused.message)
            return ""

    # What all of it shares

    def _origin(self) -> dict[str, Any]:
        return {"tracker": "mlflow", "kind": self.source.kind}

    def _time(self, milliseconds: int, where: str, name: str) -> int:
        try:
            rules.instant(milliseconds)
        except Invalid as refused:
            self._problem("time", where, name, refused.message)
            return 0
        return milliseconds

    def _fitting(
        self, pairs: Iterable[tuple[str, T]], kind: str, where: str, check: Callable[[str, T], None]
    ) -> list[tuple[str, T]]:
        """The pairs that are kept here; the others are named."""
        kept = []
        for key, value in pairs:
            try:
                check(key, value)
            except Invalid as refused:
                self._problem(kind, where, key, refused.message)
            else:
                kept.append((key, value))
        return kept

    def _problem(self, kind: str, where: str, name: str, reason: str) -> None:
        self.problems.append(Problem(kind=kind, where=where, name=name, reason=reason))


class _Keeping:
    """Puts files of several folders into the store: small ones together, large ones as streams."""

    def __init__(self, of: _Import) -> None:
        self._of, self._blobs = of, of.rooms.blobs
        self._small: list[tuple[str, str, bytes]] = []
        self._bytes = 0
        self._kept: dict[str, list[Kept]] = {}

    def take(self, where: str, place: str, folder: Folder) -> None:
        """Read a folder into a place of the tree of artifacts."""
        self._kept[where] = []
        match folder.state:
            case "none":
                self._of.bare += where.startswith("run ")
            case "elsewhere":
                self._of.remote[where.partition(" ")[0]] += 1
            case "refused":
                self._of.problems.append(Problem(kind="artifact", where=where, name="", reason=folder.reason))
            case "here":
                taken: set[str] = set()
                for one in folder.files:
                    if isinstance(one, Problem):
                        self._of.problems.append(replace(one, where=where))
                    elif self._fits(one, where, place, taken):
                        self._read(where, f"{place}/{one.path}", one)

    def finish(self) -> Mapping[str, list[Kept]]:
        """What was kept, by where it belongs."""
        self._flush()
        return self._kept

    def _fits(self, file: FoundFile, where: str, place: str, taken: set[str]) -> bool:
        try:
            paths.read(f"{place}/{file.path}")
            above = file.path
            if above in taken or f"{above}/" in taken:
                raise Invalid("it is there twice, or as a folder too", code="invalid-path")
            while "/" in above:
                above = above.rpartition("/")[0]
                if above in taken:
                    raise Invalid("it is below a file", code="invalid-path")
        except Invalid as refused:
            self._of.problems.append(Problem(kind="artifact", where=where, name=file.path, reason=refused.message))
            return False
        taken.add(file.path)
        above = file.path
        while "/" in above:
            above = above.rpartition("/")[0]
            taken.add(f"{above}/")
        return True

    def _read(self, where: str, path: str, file: FoundFile) -> None:
        try:
            self._put(where, path, file)
        except Unread as cause:
            self._of.problems.append(Problem(kind="artifact", where=where, name=file.path, reason=str(cause)))

    def _put(self, where: str, path: str, file: FoundFile) -> None:
        if file.size > SMALL:
            size = 0

            def counted() -> Iterable[bytes]:
                nonlocal size
                for chunk in file.chunks():
                    size += len(chunk)
                    yield chunk

            digest = self._blobs.put_stream(counted())
            self._kept[where].append(Kept(path, digest, size))
            return
        data = b"".join(file.chunks())
        self._small.append((where, path, data))
        self._bytes += len(data)
        if self._bytes >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        small, self._small, self._bytes = self._small, [], 0
        digests: Sequence[Digest] = self._blobs.put_many([data for _, _, data in small]) if small else []
        for (where, path, data), digest in zip(small, digests, strict=True):
            self._kept[where].append(Kept(path, digest, len(data)))


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


def _elsewhere(location: str) -> bool:
    """Whether a location is at some other place than the machine or the server that it comes from."""
    scheme, mark, _ = location.partition(":")
    return bool(mark) and "/" not in scheme and scheme not in ("file", "mlflow-artifacts", "runs", "models")


def _model_of(source: str) -> str:
    rest = source.removeprefix("models:/")
    return rest if rest != source and "/" not in rest and "@" not in rest else ""


def _check_tag(key: str, value: str) -> None:
    rules.check_tags([(key, value)], path="")


def _check_experiment_tag(key: str, value: str) -> None:
    rules.check_tags([(key, value)], path="", most=rules.MAX_EXPERIMENT_TAG)


def _check_param(key: str, value: str) -> None:
    rules.check_params([(key, value)], path="")


def _check_model_tag(key: str, value: str) -> None:
    naming.tags({key: value})


def _check_alias(alias: str, _number: int) -> None:
    naming.alias_name(alias)
