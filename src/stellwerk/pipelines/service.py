"""The execution of plans: resolves inputs, asks the step cache, runs what is missing, commits results.

The promise: steps run at least once, *results* exactly once. Outputs are content-addressed and durable before one
conditional commit names them; whatever ends the execution before that leaves nothing but bytes that nobody names.
What happens next is decided by the state machine in `rules`; this module performs its commands in order.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from stellwerk.core import failpoints
from stellwerk.core.clock import Clock, parse_instant
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Bug, Invalid, Refused
from stellwerk.pipelines import loading, rules
from stellwerk.pipelines.closure import closure
from stellwerk.pipelines.keys import step_key
from stellwerk.pipelines.model import (
    BUILTIN,
    DATASET,
    Attempt,
    Builtin,
    Closure,
    Encoded,
    Event,
    EventKind,
    Failure,
    Node,
    Outcome,
    Plan,
    Ref,
    RunReport,
    Status,
    StepResult,
    Stored,
    TaskReport,
)
from stellwerk.pipelines.ports import Blobs, Executor, Memory, Recorder, Resolver

failpoints.declare("step-stored", "step-committed")


def execute(
    plan: Plan,
    *,
    blobs: Blobs,
    memory: Memory,
    recorder: Recorder,
    resolver: Resolver,
    executor: Executor,
    isolated: Executor,
    environment: Digest,
    clock: Clock,
    builtins: Iterable[Builtin] = (),
    pause: Callable[[float], None] = time.sleep,
) -> RunReport:
    """Execute a plan to its end; a failed step fails what waits for it, and nothing else.

    Args:
        executor: Runs the steps that declare no limits, and the built-in ones.
        isolated: Runs the steps that declare a timeout or a memory limit.
        environment: The digest of the environment lock in which the executors run.
        builtins: The built-in steps there are, with the versions that stand for their code.
        pause: Waits for so many seconds before a step is tried again.
    """
    if loading.inside_child():
        raise Refused(
            "a step's own process tried to execute a plan",
            code="nested-run",
            hint="put what a script does, and does not define, under `if __name__ == '__main__':`",
        )
    run = _Run(
        plan=plan,
        blobs=blobs,
        memory=memory,
        recorder=recorder,
        resolver=resolver,
        executors=(executor, isolated),
        environment=environment,
        clock=clock,
        builtins={builtin.name: builtin.code for builtin in builtins},
        pause=pause,
    )
    try:
        return run.perform()
    except KeyboardInterrupt:
        run.tell("cancelled")
        raise


def closures(plan: Plan) -> dict[str, Closure]:
    """The code closure of each function of a plan, by function reference; built-in steps have none."""
    return {
        function: closure(loading.resolve(function, file))
        for function, file in dict.fromkeys((node.function, node.file) for node in plan.nodes)
        if not function.startswith(BUILTIN)
    }


@dataclass(slots=True, kw_only=True)
class _Work:
    """What is known of one task while the plan is executed."""

    node: Node
    seed: int | None
    key: Digest | None = None
    params: dict[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = None
    result: StepResult | None = None
    failure: Failure | None = None
    because: str = ""


@dataclass(slots=True, kw_only=True)
class _Run:
    """One execution of a plan."""

    plan: Plan
    blobs: Blobs
    memory: Memory
    recorder: Recorder
    resolver: Resolver
    executors: tuple[Executor, Executor]
    environment: Digest
    clock: Clock
    builtins: dict[str, Digest]
    pause: Callable[[float], None]
    closures: dict[str, Closure] = field(default_factory=dict)
    inputs: dict[str, Stored] = field(default_factory=dict)
    works: dict[str, _Work] = field(default_factory=dict)
    done: int = 0

    def perform(self) -> RunReport:
        started = self.clock.now()
        nodes = rules.order(self.plan)
        # All code is read before any step runs, because steps may change the globals that it depends on.
        self.closures = closures(self.plan)
        self._check_builtins(nodes)
        self._resolve(nodes)
        self.works = {
            rules.task_id(node, seed): _Work(node=node, seed=seed)
            for node in nodes
            if node.function != DATASET
            for seed in rules.seeds_of(node)
        }
        state, commands = rules.begin(rules.tasks_of(self.plan))
        queue = deque(commands)
        while queue:
            event = self._do(queue.popleft())
            if event is not None:
                state, commands = rules.decide(state, event)
                # First things first: a result is committed before anything else starts.
                queue.extendleft(reversed(commands))
        return self._report(state, started)

    def _check_builtins(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            name = node.function.removeprefix(BUILTIN)
            if name != node.function and node.function != DATASET and name not in self.builtins:
                known = ", ".join(self.builtins) or "none"
                raise Invalid(f"there is no built-in step {name!r} (there is {known})", code="invalid-plan")

    def _code(self, node: Node) -> Digest:
        found = self.closures.get(node.function)
        return self.builtins[node.function.removeprefix(BUILTIN)] if found is None else found.digest

    def _resolve(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            if node.function == DATASET:
                stored = self.resolver.dataset(node.params["name"], node.params["version"], _time(node))
                self.inputs[node.id] = stored
                self.tell("input-resolved", node=node.id, task=node.id, stored=stored)

    def _do(self, command: rules.Command) -> rules.Event | None:
        work = self.works[command.task]
        match command:
            case rules.Lookup():
                return self._lookup(command.task, work)
            case rules.Run():
                return self._attempt(command, work)
            case rules.Commit():
                self._commit(command, work)
            case rules.Fail():
                self._tell_of(command.task, "node-failed", attempt=command.attempt, failure=work.failure)
                self._progress()
            case rules.Skip():
                work.because = command.because
                self._tell_of(command.task, "node-skipped")
                self._progress()
        return None

    def _lookup(self, task: str, work: _Work) -> rules.Event:
        node = work.node
        builtin = node.function.startswith(BUILTIN)
        work.params = self.resolver.pin(node.function.removeprefix(BUILTIN), node.params) if builtin else node.params
        work.key = step_key(
            code=self._code(node),
            params=work.params,
            inputs={name: self._stored(ref) for name, ref in node.inputs.items()},
            environment=self.environment,
            kind=node.kind,
            outputs=node.outputs,
            seed=work.seed,
        )
        work.result = self.memory.lookup(work.key)
        if work.result is None:
            return rules.Missed(task=task)
        self._tell_of(task, "node-cached", result=work.result)
        self._progress()
        return rules.Found(task=task)

    def _attempt(self, command: rules.Run, work: _Work) -> rules.Event:
        if command.delay:
            self._tell_of(command.task, "node-retried", attempt=command.attempt, failure=work.failure)
            self.pause(command.delay)
        self._tell_of(command.task, "node-started", attempt=command.attempt)
        node = work.node
        timeout, memory = rules.limits(node)
        limited = rules.isolated(node)
        ended = self.executors[limited].run(
            Attempt(
                node=node.id,
                function=node.function,
                file=node.file,
                code=self.closures.get(node.function),
                inputs={name: self._encoded(ref) for name, ref in node.inputs.items()},
                listed=frozenset(name for name, ref in node.inputs.items() if self._is_list(ref)),
                params=work.params,
                seed=work.seed,
                outputs=node.outputs,
                timeout=timeout if limited else None,
                memory=memory if limited else None,
            )
        )
        if isinstance(ended, Failure):
            work.failure = ended
            return rules.Failed(task=command.task, attempt=command.attempt, retryable=ended.retryable)
        work.outcome, work.failure = ended, None
        return rules.Finished(task=command.task, attempt=command.attempt)

    def _commit(self, command: rules.Commit, work: _Work) -> None:
        outcome, key = work.outcome, work.key
        if outcome is None or key is None:
            raise Bug(f"task {command.task!r} is to be committed, but has no outcome", code="no-outcome")
        outputs = {
            name: Stored(digest=self.blobs.put(value.data), media=value.media)
            for name, value in outcome.outputs.items()
        }
        log = self.blobs.put(outcome.log.encode("utf-8", "replace")) if outcome.log else ""
        failpoints.hit("step-stored")
        # Whoever was first has the result, and what follows uses it.
        work.result = self.memory.commit(key, StepResult(outputs=outputs, seconds=outcome.seconds, log=log))
        failpoints.hit("step-committed")
        work.outcome = None
        self._tell_of(command.task, "node-finished", attempt=command.attempt, result=work.result)
        self._progress()

    # What a reference stands for

    def _makers(self, ref: Ref) -> list[Stored]:
        if ref.node in self.inputs:
            return [self.inputs[ref.node]]
        found = [work.result for work in self._works_of(ref)]
        if any(result is None or ref.output not in result.outputs for result in found):
            raise Bug(f"node {ref.node!r} was used before it had a result", code="no-outcome")
        return [result.outputs[ref.output] for result in found if result is not None]

    def _works_of(self, ref: Ref) -> list[_Work]:
        whole = self.works.get(ref.node)
        if whole is not None:
            return [whole]
        found: list[_Work] = []
        while (work := self.works.get(f"{ref.node}#{len(found)}")) is not None:
            found.append(work)
        return found

    def _is_list(self, ref: Ref) -> bool:
        return ref.node not in self.inputs and ref.node not in self.works

    def _stored(self, ref: Ref) -> Stored | list[Stored]:
        makers = self._makers(ref)
        return makers if self._is_list(ref) else makers[0]

    def _encoded(self, ref: Ref) -> tuple[Encoded, ...]:
        return tuple(Encoded(media=one.media, data=self.blobs.get(one.digest)) for one in self._makers(ref))

    # What others hear

    def tell(self, kind: EventKind, **facts: Any) -> None:
        self.recorder.record(Event(kind=kind, at=self.clock.now(), **facts))

    def _tell_of(self, task: str, kind: EventKind, **facts: Any) -> None:
        work = self.works[task]
        code = self._code(work.node)
        self.tell(kind, task=task, node=work.node.id, seed=work.seed, key=work.key or "", code=code, **facts)

    def _progress(self) -> None:
        self.done += 1
        self.tell("progress", done=self.done, total=len(self.works))

    def _report(self, state: rules.State, started: Any) -> RunReport:
        if not state.over:
            raise Bug("the execution stopped before every task had ended", code="unfinished-run")
        results = {
            name: tuple(self._makers(ref))
            for name, ref in self.plan.results.items()
            if ref.node in self.inputs or all(work.result is not None for work in self._works_of(ref))
        }
        return RunReport(
            plan=self.plan.digest,
            environment=self.environment,
            started=started,
            ended=self.clock.now(),
            inputs=dict(self.inputs),
            tasks=tuple(
                self._task(task, work, state.status[task], state.attempts.get(task, 0))
                for task, work in self.works.items()
            ),
            results=results,
        )

    def _task(self, task: str, work: _Work, status: Status, attempts: int) -> TaskReport:
        return TaskReport(
            task=task,
            node=work.node.id,
            seed=work.seed,
            status=status,
            attempts=attempts,
            key=work.key or "",
            code=self._code(work.node),
            result=work.result,
            failure=work.failure,
            because=work.because,
        )


def _time(node: Node) -> datetime | None:
    """The time whose newest version a dataset node asks for."""
    return parse_instant(node.params["as_of"]) if "as_of" in node.params else None
