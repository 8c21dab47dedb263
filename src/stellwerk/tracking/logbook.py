"""Logging: runs that tell of themselves while they go on, from scripts, notebooks and the clients of other trackers."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.clock import Clock
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.core.names import new_id
from stellwerk.core.search import Clause, Comparator, Subject, parse_filter, parse_order
from stellwerk.ledger.ports import Book, Reader, Transaction
from stellwerk.ledger.shelf import evolve
from stellwerk.store.ports import Blobs
from stellwerk.tracking import experiments, rules, segments
from stellwerk.tracking.model import LEFT, OPEN, DatasetUse, Latest, Link, ModelUse, Point, Run, Score, Status
from stellwerk.tracking.ports import THEN, Finder, Points
from stellwerk.tracking.segments import Series
from stellwerk.tracking.shelves import LINKS, RUNS

NAME_TAG = "mlflow.runName"
PARENT_TAG = "mlflow.parentRunId"
"""Tags that say what a field of a run says; both are kept alike."""
FORGOTTEN = "run.forgotten"
"""Kind of the entry after which nothing that entries say of a run is held any more."""
MOST_EXPERIMENTS = 10_000
FEW = 1000
"""Points of a run that stay rows when it ends: a file in the store for ten numbers helps nobody."""
_LISTED: dict[Comparator, Comparator] = {"=": "IN", "IN": "IN", "!=": "NOT IN", "NOT IN": "NOT IN"}
KIND = "logged"
"""Kind of a run that was told of, and not executed here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A run with its metrics as they stand, where those were asked for."""

    run: Run
    metrics: Sequence[Latest]
    deleted: bool
    """Whether it is in the bin, by itself or with its experiment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sealed:
    """The open points of a run at one moment.

    Attributes:
        after: The segments that the run had then.
    """

    after: tuple[Digest, ...]
    count: int
    fingerprint: str
    segment: Digest | None


class Logbook:
    """Use cases of runs that are told of, for one workspace and actor."""

    def __init__(
        self, book: Book, blobs: Blobs, clock: Clock, finder: Finder, points: Points, *, few: int = FEW
    ) -> None:
        self._book, self._blobs, self._clock, self._finder, self._points = book, blobs, clock, finder, points
        self._few = few
        self._sealed = lru_cache(maxsize=16)(self._read_series)

    def create(
        self,
        experiment: str,
        *,
        identity: str = "",
        name: str = "",
        user: str = "",
        start: int | None = None,
        tags: Sequence[tuple[str, str]] = (),
    ) -> Found:
        """Begin a run in an experiment, by its id.

        Args:
            identity: Its id, if the caller made one; without, one is made. Raises `Conflict` where it is taken.
            name: Its name; without one, and without a tag that says it, one is made up.
            start: When it began, in milliseconds since 1970.
        """
        rules.check_tags(tags)
        labels = dict(tags)
        if name and labels.get(NAME_TAG, name) != name:
            raise Invalid(
                "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values "
                f"(run_name='{name}', mlflow.runName='{labels[NAME_TAG]}').",
                code="invalid-name",
            )
        name = name or labels.get(NAME_TAG) or rules.random_name()
        labels[NAME_TAG] = name
        now = self._clock.now()
        with self._book.write() as tx:
            home = experiments.find(tx, experiment)
            if home.stage == "deleted":
                raise Invalid(
                    f"The experiment {experiment} must be in the 'active' state. Current state is deleted.",
                    code="deleted-experiment",
                )
            identity = identity or new_id(now)
            run = rules.begun(
                now if start is None else rules.instant(start),
                tx.actor,
                experiment=home.id,
                name=name,
                kind=KIND,
                identity=identity,
                parent=labels.get(PARENT_TAG),
                tags=labels,
                user=user,
                location=rules.below(home.location, f"{identity}/artifacts"),
            )
            RUNS.insert(tx, run)
            self._finder.enter(tx, run)
            tx.record("run.started", f"run:{run.id}", {"name": name, "kind": KIND, "parent": run.parent})
        return Found(run=run, metrics=(), deleted=False)

    def get(self, run: str) -> Found:
        """A run, also one in the bin. Raises `NotFound`."""
        rules.check_run_id(run)
        with self._book.read() as reader:
            return self._found(reader, [_known(reader, run)])[0]

    def search(
        self,
        of: Collection[str],
        *,
        where: str = "",
        order: Sequence[str] = (),
        deleted: bool | None = False,
        limit: int = 1000,
        offset: int = 0,
    ) -> list[Found]:
        """Runs of some experiments that meet all conditions, in the order asked for, then the newest first, then by id.

        Raises:
            Invalid: `invalid-filter` or `invalid-order`, with what was expected.
        """
        clauses = [*map(_spoken, parse_filter(where)), Clause(Subject("attribute", "experiment"), "IN", tuple(of))]
        criteria = (*parse_order(order), *THEN)
        if not of or limit == 0:
            return []
        if len(of) > MOST_EXPERIMENTS:
            raise Invalid(f"at most {MOST_EXPERIMENTS:,} experiments can be searched at once", code="too-many")
        with self._book.read() as reader:
            binned = set(experiments.deleted(reader)) & set(of)
            ids = self._finder.find(
                reader,
                where=clauses,
                order=criteria,
                limit=limit,
                offset=offset,
                deleted=deleted,
                without=binned,
            )
            known = {run.id: run for run in RUNS.among(reader, "id", ids)}
            return self._found(reader, [known[one] for one in ids], binned)

    def update(
        self, run: str, *, status: Status | None = None, end: int | None = None, name: str | None = None
    ) -> Found:
        """Change what a run says of itself. Ending it seals the points of its metrics into the ledger.

        Returns:
            The run as it is now, without its metrics.
        """
        rules.check_run_id(run)
        sealed = self._seal(run) if status is not None and status not in OPEN else None
        with self._book.write() as tx:
            known = self._living(tx, run)
            changes: dict[str, Any] = {}
            stays = status == "running" and known.status in LEFT  # as whoever knows no other word says it
            if status is not None and status != known.status and not stays:
                changes["status"] = status
            if status is not None and status in OPEN and known.ended_at is not None:
                changes["ended_at"] = None
            if end is not None:
                changes["ended_at"] = rules.instant(end)
            elif status is not None and status not in OPEN and known.ended_at is None:
                changes["ended_at"] = self._clock.now()
            if name and name != known.name:
                changes |= {"name": name, "tags": {**known.tags, NAME_TAG: name}}
            facts: dict[str, Any] = {}
            # What was sealed is what there is, if nobody has sealed since: points only ever leave by that.
            same = sealed is not None and known.points == sealed.after
            if sealed is not None and same and self._points.count(tx, run) == sealed.count:
                # Points that came meanwhile stay where they are, and are sealed when it ends again.
                if sealed.segment is None:
                    facts["rows"] = sealed.fingerprint
                else:
                    changes["points"] = (*known.points, sealed.segment)
                    self._points.clear(tx, run)
            changed = evolve(known, **changes)
            if changed != known:
                RUNS.put(tx, changed)
                self._finder.enter(tx, changed, known)
                kind = f"run.{changed.status}" if "status" in changes else "run.updated"
                tx.record(kind, f"run:{run}", {"name": changed.name, "points": list(changed.points), **facts})
            return Found(run=changed, metrics=(), deleted=experiments.is_deleted(tx, changed.experiment))

    def log(
        self,
        run: str,
        *,
        points: Sequence[Point] = (),
        params: Sequence[tuple[str, str]] = (),
        tags: Sequence[tuple[str, str]] = (),
        scores: Sequence[Score] = (),
    ) -> None:
        """Keep points, parameters and tags of a run, all or none. What is known already is not kept twice.

        Points need no entry in the ledger each: that which ends the run seals them.

        Raises:
            Invalid: For names, numbers and texts beyond the limits, a parameter that changes (`param-changed`), and a
                run in the bin (`deleted-run`).
        """
        rules.check_run_id(run)
        with self._book.write() as tx:
            known = self._living(tx, run)
            changed = evolve(known, params=rules.merged(known, params), tags={**known.tags, **dict(tags)})
            self._keep(tx, known, changed, "run.logged", {"params": len(params), "tags": len(tags)})
            self._points.add(tx, run, points)
            self._points.score(tx, scores)

    def note(self, run: str, key: str, said: object) -> None:
        """Append a value to a tag that holds a list as JSON. Raises `Invalid` where it holds something else."""
        with self._book.write() as tx:
            known = self._living(tx, run)
            try:
                listed = json.loads(known.tags.get(key, "[]"))
            except (ValueError, RecursionError):
                listed = None
            if not isinstance(listed, list):
                raise Invalid(f"the tag {key} of run {run} holds no list", code="invalid-value")
            tags = [(key, json.dumps([*listed, said]))]
            rules.check_tags(tags, path="")
            self._keep(tx, known, evolve(known, tags={**known.tags, **dict(tags)}), "run.logged", {"tags": 1})

    def untag(self, run: str, key: str) -> None:
        """Take a tag away. Raises `NotFound` where there is none."""
        with self._book.write() as tx:
            known = self._living(tx, run)
            if key not in known.tags:
                raise NotFound(f"No tag with name: {key} in run with id {run}")
            tags = {name: value for name, value in known.tags.items() if name != key}
            self._keep(tx, known, evolve(known, tags=tags), "run.untagged", {"key": key})

    def use(self, run: str, *, datasets: Sequence[DatasetUse] = (), models: Sequence[ModelUse] = ()) -> None:
        """Say what a run used and made. What was said already is not said twice."""
        rules.check_datasets(datasets)
        with self._book.write() as tx:
            known = self._living(tx, run)
            said = {(one.name, one.digest): one for one in known.datasets}
            for one in datasets:
                said.setdefault((one.name, one.digest), one)
            named = {(one.model, one.role): one for one in known.models} | {
                (one.model, one.role): one for one in models
            }
            changed = evolve(known, datasets=tuple(said.values()), models=tuple(named.values()))
            self._keep(
                tx, known, changed, "run.used", {"datasets": len(datasets), "models": [one.model for one in models]}
            )

    def describe(
        self, run: str, *, environment: Digest | None = None, inputs: Mapping[str, Digest], error: str = ""
    ) -> Run:
        """Say in which environment a run runs, which bytes of the store it read, and why it failed."""
        with self._book.write() as tx:
            known = self._living(tx, run)
            changed = evolve(
                known,
                environment=environment or known.environment,
                inputs={**known.inputs, **inputs},
                error=error or known.error,
            )
            facts = {"environment": environment, "inputs": dict(inputs)}
            self._keep(tx, known, changed, "run.described", facts)
            for label, digest in inputs.items():
                LINKS.put(tx, Link(digest=digest, role="used", run=run, label=label))
            return changed

    def history(self, run: str, key: str, *, limit: int | None = None, offset: int = 0) -> list[Point]:
        """The points of a metric in the order of time, step and value. Raises `NotFound` for an unknown run."""
        with self._book.read() as reader:
            sealed = _known(reader, run).points
            if not sealed:
                return self._points.history(reader, run, key, limit=limit, offset=offset)
            late = self._points.history(reader, run, key, limit=None, offset=0)
        stop = None if limit is None else offset + limit
        parts = [part for part in (self._sealed(digest, key) for digest in sealed) if part is not None]
        if len(parts) == 1 and not late:
            return parts[0].points(key, offset, stop)
        places = {place(point): point for part in (*(part.points(key) for part in parts), late) for point in part}
        return [places[one] for one in sorted(places)][offset:stop]

    def histories(self, run: str) -> dict[str, list[Point]]:
        """All points of a run by metric, each as `history` has them, and read at once."""
        with self._book.read() as reader:
            sealed = _known(reader, run).points
            late = self._points.open(reader, run)
        places: dict[str, dict[tuple[int, int, float, str], Point]] = {}
        for point in (point for digest in sealed for point in segments.points(self._blobs.get(digest))):
            places.setdefault(point.key, {})[place(point)] = point
        for key, series in late.items():
            rows = zip(series.at, series.step, series.value, strict=True)
            for point in (Point(key, value, at, step) for at, step, value in rows):
                places.setdefault(key, {})[place(point)] = point
        return {key: [found[one] for one in sorted(found)] for key, found in places.items()}

    def scores(self, model: str) -> list[Score]:
        """What runs measured of a logged model."""
        with self._book.read() as reader:
            return self._points.scores(reader, model)

    def delete(self, run: str) -> None:
        """Put a run into the bin."""
        self._bin(run, into=True)

    def restore(self, run: str) -> None:
        """Take a run out of the bin."""
        self._bin(run, into=False)

    def forget(self, run: str) -> None:
        """Take a run out of the bin for good, with all its points; the ledger keeps that it was there.

        Raises `Invalid` for a run that is not in the bin.
        """
        with self._book.write() as tx:
            known = _known(tx, run)
            home = experiments.find(tx, known.experiment)
            if known.deleted_at is None and home.stage != "deleted":
                raise Invalid(f"run {run} is not in the bin", code="not-deleted", hint="delete it first")
            RUNS.remove(tx, run)
            self._finder.leave(tx, run)
            self._points.clear(tx, run)
            tx.record(FORGOTTEN, f"run:{run}", {"name": known.name, "experiment": known.experiment})

    def _bin(self, run: str, *, into: bool) -> None:
        rules.check_run_id(run)
        with self._book.write() as tx:
            known = _known(tx, run)
            if (known.deleted_at is not None) == into:
                return
            changed = evolve(known, deleted_at=self._clock.now() if into else None)
            RUNS.put(tx, changed)
            self._finder.enter(tx, changed, known)
            tx.record("run.deleted" if into else "run.restored", f"run:{run}", {"name": known.name})

    def _keep(self, tx: Transaction, known: Run, changed: Run, kind: str, facts: dict[str, Any]) -> None:
        named = changed.tags.get(NAME_TAG, known.name)
        if named and named != changed.name:
            changed = evolve(changed, name=named)
        if PARENT_TAG in changed.tags and changed.tags[PARENT_TAG] != changed.parent:
            changed = evolve(changed, parent=changed.tags[PARENT_TAG])
        if changed == known:
            return
        RUNS.put(tx, changed)
        self._finder.enter(tx, changed, known)
        # What was said is in the state; the ledger holds that it was, and what it has come to.
        state = canonical.digest({"params": changed.params, "tags": changed.tags})
        tx.record(kind, f"run:{changed.id}", {**facts, "state": state})

    def _seal(self, run: str) -> _Sealed | None:
        """What the open points of a run come to. Many of them are put into the store; few stay rows."""
        with self._book.read() as reader:
            after = _known(reader, run).points
            found = self._points.open(reader, run)
        if not found:
            return None
        count = sum(len(one.at) for one in found.values())
        segment = self._blobs.put(segments.encode(found)) if count > self._few else None
        return _Sealed(after=after, count=count, fingerprint=segments.fingerprint(found), segment=segment)

    def _read_series(self, digest: Digest, key: str) -> Series | None:
        return segments.decode(self._blobs.get(digest), key)

    def _living(self, tx: Transaction, run: str) -> Run:
        known = _known(tx, run)
        if known.deleted_at is not None:
            raise Invalid(
                f"The run {run} must be in the 'active' state. Current state is deleted.", code="deleted-run"
            )
        return known

    def _found(self, reader: Reader, runs: Sequence[Run], binned: Collection[str] | None = None) -> list[Found]:
        metrics: Mapping[str, list[Latest]] = self._points.latest(reader, [run.id for run in runs])
        if binned is None:
            binned = {run.experiment for run in runs} & set(experiments.deleted(reader))
        return [
            Found(
                run=run,
                metrics=metrics.get(run.id, ()),
                deleted=run.deleted_at is not None or run.experiment in binned,
            )
            for run in runs
        ]


def _spoken(clause: Clause) -> Clause:
    """A clause as MLflow's clients mean it: they know only that a run goes on, not that it waits or is paused."""
    if clause.subject != Subject("attribute", "status") or clause.comparator not in _LISTED:
        return clause
    asked = clause.value if isinstance(clause.value, tuple) else (str(clause.value),)
    if "running" not in asked:
        return clause
    return Clause(clause.subject, _LISTED[clause.comparator], (*asked, *LEFT))


def _known(reader: Reader, run: str) -> Run:
    found = RUNS.find(reader, run)
    if found is None:
        raise NotFound(f"Run with id={run} not found")
    return found


def place(point: Point) -> tuple[int, int, float, str]:
    """Where a point stands, and which it is: NaN equals NaN here."""
    return point.at, point.step, 0.0 if point.value != point.value else point.value, repr(point.value)
