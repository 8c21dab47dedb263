"""Backfills: one run of a pipeline for each of many values of a parameter, several at a time, under one record.

Each run is a process of its own, as whoever types the commands one after another would start them. What was done before
is not done again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from stellwerk.core import canonical
from stellwerk.core.errors import Invalid
from stellwerk.pipelines.model import Plan
from stellwerk.pipelines.partitions import Partitions
from stellwerk.tracking.model import LEFT, OPEN, Run
from stellwerk.tracking.service import PIPELINE
from stellwerk.workspace import causing
from stellwerk.workspace import operations as ops
from stellwerk.workspace.adapters.child_runs import Child, problem
from stellwerk.workspace.layout import this_process
from stellwerk.workspace.ports import Caller

KIND = "backfill"
"""Of the run that holds the runs of all partitions together."""
PART, DONE_BY = "partition", "stellwerk.done-by"
"""The kind of what stands in a backfill for a partition that was done before, and the tag with the run that did it."""
WAIT_SECONDS = 0.1
AT_ONCE = 1000
"""Runs that are looked through at a time."""

State = Literal["queued", "running", "waiting", "paused", "finished", "failed", "skipped", "interrupted"]
GOOD: tuple[State, ...] = ("finished", "skipped", "waiting", "paused")
"""What nothing went wrong with: that which waits goes on by itself, as a run of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One value of the parameter, and what became of it.

    Attributes:
        run: Its run; of one that is skipped, the run that did it before.
        problem: Why there is none, or how it failed.
    """

    value: str
    status: State = "queued"
    run: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfilled:
    """What came of a backfill."""

    run: Run
    partitions: tuple[Partition, ...]

    def count(self, *states: State) -> int:
        """How many partitions ended so."""
        return sum(one.status in states for one in self.partitions)


Watch = Callable[[Partition], None]


@dataclass(kw_only=True)
class Backfill:
    """A backfill that is to be done.

    Attributes:
        place: The workspace as the command line names it.
        file: The file with the pipeline.
        plans: What would be executed, by value: each is planned before any is begun, so that no typing error is found
            in the last one.
        given: Parameters besides, as they were typed.
        at_once: Runs at the same time.
        how: More options of `stellwerk run`, for each of them.
        again: Whether what was done before is done again.
    """

    caller: Caller
    place: str
    file: Path
    partitions: Partitions
    plans: dict[str, Plan]
    given: Sequence[str] = ()
    how: Sequence[str] = ()
    at_once: int = 2
    again: bool = False
    watch: Watch = lambda _partition: None
    _state: dict[str, Partition] = field(default_factory=dict)

    def run(self) -> Backfilled:
        """Do it. A partition that fails keeps no other from its turn."""
        if self.at_once < 1:
            raise Invalid(f"{self.at_once} at once do nothing (expected at least 1)", code="usage")
        if self.caller.local:
            self.caller.call(ops.close_runs, {})
        self._state = {value: Partition(value=value) for value in self.partitions.values}
        done = {} if self.again else self._done()
        parent = self._begin()
        for value, run in done.items():
            if run.status in LEFT:
                self._note(value, status=run.status, run=run.id)
            else:
                self._skip(parent, value, run.id)
        status: Any = "interrupted"
        try:
            self._work(parent, [value for value in self.partitions.values if value not in done])
            status = "finished" if all(one.status in GOOD for one in self._state.values()) else "failed"
        finally:
            ended = self._end(parent, status)
        return Backfilled(run=ended, partitions=tuple(self._state.values()))

    @property
    def pipeline(self) -> str:
        """The name of what is run."""
        return next(iter(self.plans.values())).name

    def _done(self) -> dict[str, Run]:
        """Partitions of which a run with exactly these parameters has finished, or waits; the newest such run."""
        wanted = {canonical.dumps(plan.params): value for value, plan in self.plans.items()}
        found: dict[str, Run] = {}
        for run in self._runs(f"status IN ('finished', 'waiting', 'paused') AND kind = '{PIPELINE}'"):
            value = wanted.get(canonical.dumps(run.params))
            if value is not None:
                found.setdefault(value, run)
        return found

    def _runs(self, where: str, parent: str | None = None) -> Iterable[Run]:
        """Runs of the pipeline that meet conditions, the newest first."""
        asked = {"where": where, "experiment": self.pipeline, "parent": parent, "limit": AT_ONCE}
        for offset in range(0, 1_000_000, AT_ONCE):
            page: tuple[Run, ...] = self.caller.call(ops.search_runs, {**asked, "offset": offset})
            yield from page
            if len(page) < AT_ONCE:
                return

    def _begin(self) -> str:
        param = self.partitions.param
        about = {
            "experiment": self.pipeline,
            "name": f"{self.pipeline} {param}={self.partitions.text}"[:250],
            "kind": KIND,
            "params": {
                **{key: text for key, _, text in (item.partition("=") for item in self.given)},
                param: self.partitions.text,
            },
            "process": this_process() if self.caller.local else None,
        }
        begun: Run = self.caller.call(ops.start_run, about)
        return begun.id

    def _skip(self, parent: str, value: str, run: str) -> None:
        """Note that a partition was done before, also in the record of this backfill."""
        self.caller.call(
            ops.record_run,
            {
                "run": Run(
                    id="",
                    experiment=self.pipeline,
                    name=causing.name_within(self.pipeline, f"{self.partitions.param}={value}"),
                    kind=PART,
                    status="finished",
                    started_at=self.caller.clock.now(),
                    started_by="",
                    parent=parent,
                    params=self.plans[value].params,
                    tags={DONE_BY: run},
                    cached=True,
                )
            },
        )
        self._note(value, status="skipped", run=run)

    def _work(self, parent: str, values: Sequence[str]) -> None:
        waiting, running = deque(values), dict[str, Child]()
        try:
            while waiting or running:
                while waiting and len(running) < self.at_once:
                    value = waiting.popleft()
                    running[value] = self._start(parent, value)
                    self._note(value, status="running")
                self._reap(parent, running)
        finally:
            for value, child in running.items():
                child.stop()
                child.close()
                self._note(value, status="interrupted")

    def _start(self, parent: str, value: str) -> Child:
        param = self.partitions.param
        words = [word for item in (*self.given, f"{param}={value}") for word in ("-p", item)]
        arguments = ["--workspace", self.place, "run", self.pipeline, "--file", str(self.file), *words, *self.how]
        return Child(arguments, self.file.parent, {causing.WITHIN: f"{parent} {param}={value}"})

    def _reap(self, parent: str, running: dict[str, Child]) -> None:
        """Note what has ended; wait a little for the first."""
        within = WAIT_SECONDS
        for value, child in list(running.items()):
            code = child.ended(within)
            within = 0.0
            if code is None:
                continue
            del running[value]
            said = child.said()
            child.close()
            if code < 0 and self.caller.local:
                self.caller.call(ops.close_runs, {})
            run = self._run_of(parent, value)
            why = problem(code, said) if code else ""
            if run is None:
                self._note(value, status="failed", problem=why or "it ended without a run")
            else:
                lost = run.status in OPEN and run.status not in LEFT
                self._note(value, status="failed" if lost else run.status, run=run.id, problem=run.error or why)

    def _run_of(self, parent: str, value: str) -> Run | None:
        """The run of a partition in this backfill, by its name."""
        name = causing.name_within(self.pipeline, f"{self.partitions.param}={value}")
        return next((run for run in self._runs(f"kind = '{PIPELINE}'", parent) if run.name == name), None)

    def _note(self, value: str, **changes: Any) -> None:
        self._state[value] = replace(self._state[value], **changes)
        self.watch(self._state[value])

    def _end(self, parent: str, status: str) -> Run:
        told = [{"value": one.value, "status": one.status, "run": one.run} for one in self._state.values()]
        states = [one.status for one in self._state.values()]
        failed = [one.value for one in self._state.values() if one.status in ("failed", "interrupted")]
        facts = {
            "status": status,
            "outputs": {"partitions": self.caller.blobs.put(canonical.dumps(told))},
            "metrics": {state: float(states.count(state)) for state in sorted(set(states))},
            "error": f"{len(failed)} of {len(states)} partitions failed: {', '.join(failed[:20])}" if failed else "",
        }
        ended: Run = self.caller.call(ops.finish_run, {"run": parent, **facts})
        return ended
