"""Starting, finishing and finding runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from stellwerk.core.errors import Conflict
from stellwerk.core.names import new_id
from stellwerk.core.search import Clause, Subject, parse_filter, parse_order
from stellwerk.ledger.shelf import evolve
from stellwerk.tracking import experiments, rules
from stellwerk.tracking.model import OPEN, Cost, Ending, Link, Point, Run, Status, StepMemory
from stellwerk.tracking.shelves import LINKS, RUNS, STEPS

if TYPE_CHECKING:
    from stellwerk.core.clock import Clock
    from stellwerk.core.digest import Digest
    from stellwerk.ledger.ports import Book, Reader, Transaction
    from stellwerk.tracking.ports import Finder, Points

PIPELINE = "pipeline"
"""Kind of a run that only holds others together: what it gives was made by its steps."""
REGISTER = "register"
"""Kind of a run that makes a version of a model of what was trained."""


class Runs:
    """Use cases of the tracking room for one workspace and actor."""

    def __init__(self, book: Book, clock: Clock, finder: Finder, points: Points) -> None:
        self._book, self._clock, self._finder, self._points = book, clock, finder, points

    def start(
        self,
        *,
        experiment: str,
        name: str,
        kind: str,
        process: str | None = None,
        also: Callable[[Transaction, Run], None] | None = None,
        **facts: Any,
    ) -> Run:
        """Begin a run; it is in the ledger before anything is executed.

        Args:
            experiment: Its name; one that is not there yet is made.
            also: Writes what belongs to its beginning, in the same transaction; what it raises undoes both.
        """
        now, by = self._clock.now(), self._book.actor
        run = rules.begun(now, by, experiment=experiment, name=name, kind=kind, process=process, **facts)
        with self._book.write() as tx:
            run = self.enter(tx, run)
            if also is not None:
                also(tx, run)
        return run

    def enter(self, tx: Transaction, run: Run) -> Run:
        """Begin a run within a transaction; it is returned with the id of its experiment."""
        """Begin a run as part of a larger change."""
        run = self._keep(tx, run)
        _link(tx, run.id, "used", run.inputs)
        tx.record("run.started", f"run:{run.id}", {"name": run.name, "kind": run.kind, "parent": run.parent})
        return run

    def advance(self, tx: Transaction, runs: Sequence[Run], memories: Sequence[StepMemory]) -> list[StepMemory]:
        """Write many runs as they are now, begun or ended, and remember results that nobody has committed before.

        Args:
            runs: Each as a whole. One that is there already must not have ended.

        Returns:
            The results that were there before, under the same keys.

        Raises:
            Conflict: `run-ended` for a run that has ended, `already-exists` for one of another parent.
        """
        known = {run.id: run for run in RUNS.among(tx, "id", [run.id for run in runs])}
        names: dict[str, str] = {}
        fresh, entries = [], []
        for run in runs:
            before = known.get(run.id)
            if run.experiment not in names:
                names[run.experiment] = experiments.enter(tx, run.experiment, self._clock)
            run = evolve(run, experiment=names[run.experiment], started_by=self._book.actor)
            if before is None:
                fresh.append(run)
            else:
                self._replace(tx, before, run)
            kind = "run.started" if run.status in OPEN else f"run.{run.status}"
            facts = {"name": run.name, "kind": run.kind, "parent": run.parent}
            entries.append((kind, f"run:{run.id}", facts if run.status in OPEN else _facts(run)))
        RUNS.insert_new(tx, fresh)
        self._finder.enter_new(tx, fresh)
        LINKS.insert_new(tx, [link for run in fresh for link in _links(run)])
        for run in fresh:
            if run.metrics:
                self._points.add(tx, run.id, _measured(run))
        STEPS.insert_new(tx, memories)
        tx.record_many(entries)
        mine = {memory.step_key: memory for memory in memories}
        return [kept for kept in STEPS.among(tx, "step_key", mine) if kept.run != mine[kept.step_key].run]

    def leave(self, tx: Transaction, run_id: str, status: Status) -> None:
        """No process works on a run, which goes on some other time: it waits, or is paused."""
        run = RUNS.get(tx, run_id)
        left = evolve(run, status=status, process=None)
        RUNS.put(tx, left)
        self._finder.enter(tx, left, run)

    def give_up(self, tx: Transaction, run_id: str, why: str) -> None:
        """End a run that no process works on any more, as interrupted, with what was under way inside it."""
        self._end_inside(tx, run_id, why)
        run = RUNS.get(tx, run_id)
        ended = evolve(run, status="interrupted", ended_at=self._clock.now(), error=why, process=None)
        RUNS.put(tx, ended)
        self._finder.enter(tx, ended, run)
        tx.record("run.interrupted", f"run:{run_id}", _facts(ended))

    def reopen(self, tx: Transaction, run_id: str, process: str) -> None:
        """A run goes on; what was under way inside it when its process ended is over."""
        run = RUNS.get(tx, run_id)
        again = evolve(run, status="running", ended_at=None, error="", process=process or None)
        RUNS.put(tx, again)
        self._finder.enter(tx, again)
        self._end_inside(tx, run_id, "the engine ended before this step")
        tx.record("run.reopened", f"run:{run_id}", {"name": run.name, "kind": run.kind})

    def _end_inside(self, tx: Transaction, run_id: str, why: str) -> None:
        for status in OPEN:
            for child in RUNS.select(tx, parent=run_id, status=status):
                ended = evolve(child, status="interrupted", ended_at=self._clock.now(), error=why, process=None)
                RUNS.put(tx, ended)
                self._finder.enter(tx, ended, child)

    def replace_memory(self, tx: Transaction, memory: StepMemory) -> None:
        """Let a result take the place of one whose bytes are gone."""
        STEPS.put(tx, memory)

    def _replace(self, tx: Transaction, before: Run, run: Run) -> None:
        if before.status not in OPEN:
            raise Conflict(f"run {run.id} has already ended as {before.status}", code="run-ended")
        if (before.parent, before.step_key) != (run.parent, run.step_key):
            raise Conflict(f"run {run.id} is another one", code="already-exists")
        run = evolve(run, started_at=before.started_at, tags={**before.tags, **run.tags})
        RUNS.put(tx, run)
        self._finder.enter(tx, run, before)
        self._points.add(tx, run.id, _measured(run))
        LINKS.insert_new(tx, _links(run))

    def gather(self, identity: str, *, experiment: str, name: str, kind: str = PIPELINE, **facts: Any) -> Run:
        """Begin a run that several machines share, under the id that they agreed on; one that is there is the same."""
        rules.check_run_id(identity)
        now, by = self._clock.now(), self._book.actor
        run = rules.begun(now, by, experiment=experiment, name=name, kind=kind, identity=identity, **facts)
        try:
            with self._book.write() as tx:
                known = RUNS.find(tx, identity)
                if known is not None:
                    return known
                return self.enter(tx, run)
        except Conflict:  # another machine began it at the same time
            return self.get(identity)

    def finish(
        self,
        run_id: str,
        *,
        status: Ending = "finished",
        outputs: Mapping[str, Digest] | None = None,
        metrics: Mapping[str, float] | None = None,
        cost: Cost | None = None,
        error: str = "",
        log: Digest | None = None,
        memory: StepMemory | None = None,
    ) -> Run:
        """End a run once; with `memory`, remember its result under the step key in the same transaction."""
        with self._book.write() as tx:
            run = RUNS.get(tx, run_id)
            changes: dict[str, Any] = {
                "status": status,
                "outputs": {**run.outputs, **(outputs or {})},
                "metrics": {**run.metrics, **(metrics or {})},
                "cost": cost or run.cost,
                "error": error,
                "log": log,
            }
            return self.end(tx, run, memory=memory, **changes)

    def end(
        self,
        tx: Transaction,
        run: Run,
        *,
        points: Sequence[Point] = (),
        memory: StepMemory | None = None,
        **changes: Any,
    ) -> Run:
        """End a run, once, as part of a larger change. Raises `Conflict` (`run-ended`)."""
        if run.status not in OPEN:
            raise Conflict(f"run {run.id} has already ended as {run.status}", code="run-ended")
        ended = evolve(run, ended_at=self._clock.now(), process=None, **changes)
        RUNS.put(tx, ended)
        self._finder.enter(tx, ended, run)
        self._points.add(tx, ended.id, [*points, *_measured(ended)])
        if run.kind != PIPELINE:
            _link(tx, run.id, "made", ended.outputs)
        if memory is not None and STEPS.find(tx, memory.step_key) is None:
            STEPS.insert(tx, memory)
        tx.record(f"run.{ended.status}", f"run:{run.id}", _facts(ended))
        return ended

    def record(self, *, experiment: str, name: str, kind: str, started_at: datetime, **facts: Any) -> Run:
        """A run that needed no execution, such as a step found in the cache: one entry, begun and ended."""
        now = self._clock.now()
        run = Run(
            id=new_id(now),
            experiment=experiment,
            name=name,
            kind=kind,
            status="finished",
            started_at=started_at,
            ended_at=now,
            started_by=self._book.actor,
            **facts,
        )
        with self._book.write() as tx:
            run = self._keep(tx, run)
            _link(tx, run.id, "used", run.inputs)
            _link(tx, run.id, "made", run.outputs)
            tx.record("run.finished", f"run:{run.id}", _facts(run))
        return run

    def get(self, run_id: str) -> Run:
        """One run. Raises `NotFound`."""
        with self._book.read() as reader:
            return self._measured_now(reader, [RUNS.get(reader, run_id)])[0]

    def search(
        self,
        *,
        where: str = "",
        order: Sequence[str] = (),
        experiment: str | None = None,
        parent: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Run]:
        """Runs that meet all conditions, in the order asked for, and then newest first.

        Args:
            where: A filter (`core.search`), such as `metrics.auc > 0.9 AND parent IS NULL`.
            order: Such as `metrics.auc DESC`, the most important first.

        Raises:
            Invalid: `invalid-filter` or `invalid-order`, with what was expected.
        """
        clauses, criteria = list(parse_filter(where)), parse_order(order)
        with self._book.read() as reader:
            asked = {"experiment": experiment and _identity(reader, experiment), "parent": parent}
            clauses += [
                Clause(Subject("attribute", key), "=", value) for key, value in asked.items() if value is not None
            ]
            ids = self._finder.find(reader, where=clauses, order=criteria, limit=limit, offset=offset)
            found = {run.id: run for run in RUNS.among(reader, "id", ids)}
            return self._measured_now(reader, [found[one] for one in ids])

    def _measured_now(self, reader: Reader, runs: list[Run]) -> list[Run]:
        """Runs with their metrics as they stand, also while they go on; finite ones, for JSON knows no others."""
        latest = self._points.latest(reader, [run.id for run in runs if not run.metrics])
        return [
            evolve(run, metrics={one.key: one.value for one in latest[run.id] if math.isfinite(one.value)})
            if run.id in latest
            else run
            for run in runs
        ]

    def _keep(self, tx: Transaction, run: Run) -> Run:
        run = evolve(run, experiment=experiments.enter(tx, run.experiment, self._clock))
        RUNS.insert(tx, run)
        self._finder.enter(tx, run)
        self._points.add(tx, run.id, _measured(run))
        return run

    def makers(self, digest: Digest) -> list[Run]:
        """Runs that made an artifact, oldest first; a cached run made nothing new but is listed too."""
        return self._linked(digest, "made")

    def users(self, digest: Digest) -> list[Run]:
        """Runs that used an artifact, oldest first."""
        return self._linked(digest, "used")

    def _linked(self, digest: Digest, role: str) -> list[Run]:
        with self._book.read() as reader:
            found = LINKS.select(reader, digest=digest, role=role)
            return [RUNS.get(reader, run) for run in sorted({link.run for link in found})]

    def remembered(self, step_key: Digest) -> StepMemory | None:
        """The result of a step key, if any run produced it."""
        with self._book.read() as reader:
            return STEPS.find(reader, step_key)

    def of_step(self, step_key: Digest) -> list[Run]:
        """Runs that computed a step key, or tried to, or found it known; newest first."""
        with self._book.read() as reader:
            found = [run for run in RUNS.mentioning(reader, step_key) if run.step_key == step_key]
        return sorted(found, key=lambda run: run.started_at, reverse=True)

    def media_of(self, digest: Digest) -> list[str]:
        """How some bytes are read, as the results said that they are part of."""
        with self._book.read() as reader:
            keys = [run.step_key for run in self._linked(digest, "made") if run.step_key is not None]
            found = [memory for key in keys if (memory := STEPS.find(reader, key)) is not None]
        return sorted({one.media[name] for one in found for name, made in one.outputs.items() if made == digest})

    def remembered_many(self, step_keys: Sequence[Digest]) -> list[StepMemory]:
        """The results of many step keys, in no order; of those that no run produced there is none."""
        with self._book.read() as reader:
            return STEPS.among(reader, "step_key", step_keys)

    def close_interrupted(self, alive: Callable[[str], bool]) -> list[Run]:
        """Mark running runs of this machine whose process is gone as interrupted."""
        with self._book.read() as reader:
            running = [run for status in OPEN for run in RUNS.select(reader, status=status)]
        closed = []
        for run in running:
            if run.process is None or alive(run.process):
                continue
            with suppress(Conflict):  # another process closed it first
                closed.append(
                    self.finish(run.id, status="interrupted", error="the process ended without finishing the run")
                )
        return closed


def _identity(reader: Reader, experiment: str) -> str:
    """The id of an experiment that is given by name or id."""
    known = experiments.by_name(reader, experiment)
    return experiment if known is None else known.id


def _measured(run: Run) -> list[Point]:
    """What a run that ended has measured, as points."""
    at = rules.milliseconds(run.ended_at or run.started_at)
    return [Point(key, float(value), at) for key, value in run.metrics.items()]


def _link(tx: Transaction, run: str, role: Literal["used", "made"], artifacts: Mapping[str, Digest]) -> None:
    for label, digest in artifacts.items():
        LINKS.put(tx, Link(digest=digest, role=role, run=run, label=label))


def _links(run: Run) -> list[Link]:
    used = [Link(digest=digest, role="used", run=run.id, label=label) for label, digest in run.inputs.items()]
    return used + [Link(digest=digest, role="made", run=run.id, label=label) for label, digest in run.outputs.items()]


def _facts(run: Run) -> dict[str, Any]:
    return {
        "name": run.name,
        "kind": run.kind,
        "status": run.status,
        "inputs": dict(run.inputs),
        "outputs": dict(run.outputs),
        "code": run.code,
        "environment": run.environment,
        "cached": run.cached,
        "step_key": run.step_key,
        "metrics": {key: repr(value) for key, value in run.metrics.items()},
    }
