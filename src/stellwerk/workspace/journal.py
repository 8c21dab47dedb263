"""The journal of an execution on the operations of a workspace: events become runs, results and states of tasks.

Everything of one batch is written in one transaction. A step that begins and ends within a batch is one run and one
entry of the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stellwerk.core.digest import Digest
from stellwerk.core.errors import NotFound
from stellwerk.core.names import new_id
from stellwerk.ledger.shelf import evolve
from stellwerk.pipelines.model import RESOLVED, Event, Plan, StepResult, Stored, TaskState
from stellwerk.tracking.model import ORIGIN_RUN, ORIGIN_WORKSPACE, Cost, Run, StepMemory
from stellwerk.workspace import notebook_runs
from stellwerk.workspace import operations as ops
from stellwerk.workspace.layout import this_process

if TYPE_CHECKING:
    from stellwerk.pipelines.ports import Request
    from stellwerk.workspace.ports import Caller

_REQUESTS: dict[str, Request] = {"pause": "pause", "cancel": "cancel"}


@dataclass
class StepJournal:
    """Writes what one engine does.

    Args:
        execution: The id of the pipeline's run.
        codes: By function reference the document of its code.
    """

    caller: Caller
    plan: Plan
    execution: str
    epoch: int
    environment: Digest
    codes: Mapping[str, Digest]
    spent: list[Cost] = field(default_factory=list)
    keys: dict[str, None] = field(default_factory=dict)
    """The step keys that this execution has come to."""
    _open: dict[str, Run] = field(default_factory=dict)
    _known: dict[str, StepResult] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._nodes = {node.id: node for node in self.plan.nodes if node.function not in RESOLVED}

    # What the engine asks

    def foresee(self) -> None:
        """Read at one time what the latest execution of this pipeline came to: mostly the same is asked for."""
        found: tuple[StepMemory, ...] = self.caller.call(ops.remembered_steps, {"pipeline": self.plan.name})
        self._known = {memory.step_key: _result(memory) for memory in found}

    def lookup(self, key: Digest) -> StepResult | None:
        if key in self._known:
            return self._known[key]
        known: StepMemory | None = self.caller.call(ops.remembered_step, {"step_key": key})
        return None if known is None else _result(known)

    def request(self) -> Request:
        asked = self.caller.call(ops.beat_execution, {"execution": self.execution, "epoch": self.epoch})
        return _REQUESTS.get(asked, "")

    def write(self, events: Sequence[Event]) -> Mapping[str, StepResult]:
        batch = _Batch()
        for event in events:
            if event.node in self._nodes:
                batch.nodes[event.task] = event.node
                self._note(event, batch)
                if event.kind in ("node-finished", "node-cached") and event.key:
                    self.keys[event.key] = None
        if not (batch.runs or batch.memories or batch.tasks):
            return {}
        first: tuple[StepMemory, ...] = self.caller.call(
            ops.advance_execution,
            {
                "execution": self.execution,
                "epoch": self.epoch,
                "runs": tuple(batch.runs.values()),
                "memories": tuple(batch.memories.values()),
                "tasks": tuple(batch.tasks.values()),
            },
        )
        notebook_runs.keep(self.caller, ((self._nodes[batch.nodes[task]], run) for task, run in batch.runs.items()))
        named = {memory.step_key: task for task, memory in batch.memories.items()}
        return {named[memory.step_key]: _result(memory) for memory in first}

    def _note(self, event: Event, batch: _Batch) -> None:
        match event.kind:
            case "node-started":
                self._open.setdefault(event.task, self._run(event, status="running", process=self._process()))
                batch.runs[event.task] = self._open[event.task]
                if event.attempt > 1:
                    batch.tasks[event.task] = self._state(event, "running")
            case "node-retried":
                batch.tasks[event.task] = self._state(
                    event, "delayed", event.failure.message if event.failure else ""
                )
            case "node-waiting":
                batch.tasks[event.task] = self._state(event, "waiting", event.because)
            case "node-finished" if event.result is not None:
                self._finish(event, event.result, batch)
            case "node-cached" if event.result is not None and event.key:
                outputs = {name: stored.digest for name, stored in event.result.outputs.items()}
                batch.runs[event.task] = self._run(
                    event,
                    status="finished",
                    ended_at=event.at,
                    outputs=outputs,
                    cached=True,
                    tags=origin_tags(event.result),
                )
            case "node-failed" if event.failure is not None:
                self._fail(event, batch)

    def _finish(self, event: Event, result: StepResult, batch: _Batch) -> None:
        run = self._open.pop(event.task, None) or self._run(event, status="running")
        outputs = {name: stored.digest for name, stored in result.outputs.items()}
        cost = Cost(wall_seconds=result.seconds, cpu_seconds=result.cpu_seconds, peak_memory_bytes=result.peak_memory)
        self.spent.append(cost)
        value = event.value or {}
        # A gate step also made the feature table that proofs will read.
        features = {"features": Digest(value["features"])} if "gate" in value and "features" in value else {}
        batch.runs[event.task] = evolve(
            run,
            status="finished",
            ended_at=event.at,
            outputs={**outputs, **features},
            metrics=_metrics(value),
            cost=cost,
            log=Digest(result.log) if result.log else None,
            process=None,
        )
        batch.memories[event.task] = StepMemory(
            step_key=Digest(event.key),
            outputs=outputs,
            media={name: stored.media for name, stored in result.outputs.items()},
            run=run.id,
            created_at=event.at,
        )
        batch.tasks.pop(event.task, None)

    def _fail(self, event: Event, batch: _Batch) -> None:
        failure = event.failure
        if failure is None:
            return
        run = self._open.pop(event.task, None) or self._run(event, status="running")
        text = "\n".join(part for part in (failure.log, failure.traceback) if part)
        batch.runs[event.task] = evolve(
            run,
            status="failed",
            ended_at=event.at,
            error=failure.message,
            log=self.caller.blobs.put(text.encode("utf-8", "replace")) if text else None,
            process=None,
        )
        batch.tasks[event.task] = self._state(event, "failed", failure.message)

    def _run(self, event: Event, **facts: Any) -> Run:
        node = self._nodes[event.node]
        given = notebook_runs.params(node, event.params)
        return Run(
            id=new_id(event.at),
            experiment=self.plan.name,
            name=event.task,
            kind=node.kind,
            started_at=event.at,
            started_by="",
            parent=self.execution,
            params={**given, "seed": event.seed} if event.seed is not None else given,
            inputs=named(event.inputs),
            code=self.codes.get(node.function),
            environment=self.environment,
            step_key=Digest(event.key) if event.key else None,
            **facts,
        )

    def _state(self, event: Event, status: Any, because: str = "") -> TaskState:
        return TaskState(
            execution=self.execution,
            task=event.task,
            node=event.node,
            status=status,
            at=event.at,
            attempts=max(0, event.attempt - (status == "delayed")),
            because=because[:500],
        )

    def _process(self) -> str | None:
        return this_process() if self.caller.local else None

    # At the end

    def abandon(self, why: str) -> None:
        """End the runs of steps that were under way when the execution ended."""
        under_way, self._open = self._open, {}
        for run in under_way.values():
            arguments = {"run": run.id, "status": "interrupted", "error": why or "interrupted"}
            with suppress(NotFound):  # it was not written before its engine ended
                self.caller.call(ops.finish_run, arguments)

    def total(self) -> Cost:
        """What all executed steps used."""
        return Cost(
            wall_seconds=sum(cost.wall_seconds for cost in self.spent),
            cpu_seconds=sum(cost.cpu_seconds for cost in self.spent),
            peak_memory_bytes=max((cost.peak_memory_bytes for cost in self.spent), default=0),
        )


@dataclass(slots=True)
class _Batch:
    """What is to be written together, by task."""

    nodes: dict[str, str] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    memories: dict[str, StepMemory] = field(default_factory=dict)
    tasks: dict[str, TaskState] = field(default_factory=dict)


def origin_tags(result: StepResult) -> dict[str, str]:
    """What a run says of a result that another workspace gave."""
    if result.origin is None:
        return {}
    return {ORIGIN_WORKSPACE: result.origin.workspace, ORIGIN_RUN: result.origin.run}


def _result(memory: StepMemory) -> StepResult:
    outputs = {name: Stored(digest=d, media=memory.media[name]) for name, d in memory.outputs.items()}
    return StepResult(outputs=outputs)


def named(inputs: Mapping[str, Stored | list[Stored]]) -> dict[str, Digest]:
    """The inputs of a run: one by its argument, several as `models#0`, `models#1`, ..."""
    named: dict[str, Digest] = {}
    for argument, given in inputs.items():
        if isinstance(given, Stored):
            named[argument] = given.digest
        elif len(given) == 1:
            named[argument] = given[0].digest
        else:
            named |= {f"{argument}#{index}": one.digest for index, one in enumerate(given)}
    return named


def _metrics(value: Mapping[str, Any]) -> dict[str, float]:
    found = value.get("metrics", {})
    if not isinstance(found, dict):
        return {}
    return {name: float(number) for name, number in found.items() if isinstance(number, (int, float))}
