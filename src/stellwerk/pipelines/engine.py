"""One engine at work on one execution: performs the commands of the state machine, and reports the events."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stellwerk.core import canonical
from stellwerk.core.clock import Clock, monotonic, parse_instant
from stellwerk.core.errors import Bug, Invalid
from stellwerk.pipelines import rules
from stellwerk.pipelines.conditions import Untestable, holds
from stellwerk.pipelines.keys import KeyDocument, check_aside, environment_key, wait_code
from stellwerk.pipelines.model import (
    BUILTIN,
    DATASET,
    EITHER,
    FILE,
    RESOLVED,
    SINGLE,
    WAIT,
    Attempt,
    Branch,
    Builtin,
    Closure,
    Encoded,
    Ended,
    Event,
    EventKind,
    Failure,
    Loop,
    Node,
    RunReport,
    StepResult,
    Stored,
)
from stellwerk.pipelines.reporting import report_of
from stellwerk.pipelines.supplies import Supplies, Work
from stellwerk.pipelines.values import JSON_MEDIA, STANDARD

if TYPE_CHECKING:
    from stellwerk.core.digest import Digest
    from stellwerk.pipelines.buffer import Buffer
    from stellwerk.pipelines.fleet import Fleet
    from stellwerk.pipelines.ports import Elsewhere, Journal, Resolver, Waits

SMALL = 1 << 16
"""Bytes of a value that are looked into for what it says about itself."""
LOOK = 1.0
"""Seconds between two looks at what others want of this execution, or have decided."""

Watch = Callable[[Event], None]
"""Told every event at once, for progress bars."""


@dataclass(slots=True, kw_only=True)
class Engine:
    """One execution of a plan."""

    shape: rules.Shape
    state: rules.State
    buffer: Buffer
    journal: Journal
    resolver: Resolver
    fleet: Fleet
    waits: Waits | None
    elsewhere: Elsewhere | None
    environment: Digest
    clock: Clock
    builtins: dict[str, Digest]
    execution: str
    again: frozenset[str]
    stay: float
    watch: Watch | None
    chance: Callable[[], float]
    pause: Callable[[float], None]
    closures: dict[str, Closure]
    codes: dict[str, Digest] = field(default_factory=dict)
    locks: dict[str, Digest] = field(default_factory=dict)
    supplies: Supplies = field(init=False)
    queue: deque[rules.Command] = field(default_factory=deque)
    timers: list[tuple[float, str]] = field(default_factory=list)
    waiting: dict[str, None] = field(default_factory=dict)
    attempts: dict[str, tuple[str, int]] = field(default_factory=dict)
    done: int = 0
    total: int = 0
    looked: float = field(default_factory=monotonic)

    def perform(self, first: rules.Decision) -> RunReport:
        started = self.clock.now()
        self._check_builtins()
        self.codes = {node.id: self._code(node) for node in self.shape.plan.nodes}
        self.supplies = Supplies(self.state, self.buffer, self._resolve())
        self._take(first)
        self._go_on()
        return report_of(self.supplies, self.codes, self.environment, started, self.clock.now())

    def _check_builtins(self) -> None:
        for node in self.shape.plan.nodes:
            name = node.function.removeprefix(BUILTIN)
            known = name == node.function or node.function in {*RESOLVED, *rules.PORTABLE, WAIT, EITHER}
            if not known and name not in self.builtins:
                names = ", ".join(self.builtins) or "none"
                raise Invalid(f"there is no built-in step {name!r} (there is {names})", code="invalid-plan")

    def _code(self, node: Node) -> Digest:
        if node.function == WAIT:
            return wait_code(found.digest for found in self.closures.values())
        if node.function in self.closures:
            return self.closures[node.function].digest
        name = node.function.removeprefix(BUILTIN)
        return self.builtins[name] if name in self.builtins else Builtin(name=name, version=1).code

    def _resolve(self) -> dict[str, Stored]:
        found: dict[str, Stored] = {}
        for node in self.shape.order:
            if node.function == DATASET:
                moment = parse_instant(node.params["as_of"]) if "as_of" in node.params else None
                found[node.id] = self.resolver.dataset(node.params["name"], node.params["version"], moment)
            elif node.function == FILE:
                found[node.id] = self.resolver.file(node.params["path"])
            if node.environment is not None and node.environment.lock:
                self.locks.setdefault(node.environment.lock, self.resolver.file(node.environment.lock).digest)
        for node in self.shape.order:
            check_aside(node, {name: found[node.inputs[name].node] for name in node.aside})
        for name, stored in found.items():
            self.tell("input-resolved", node=name, task=name, stored=stored)
        return found

    # The loop

    def _go_on(self) -> None:
        until = monotonic() + self.stay
        while True:
            while self.queue:
                event = self._do(self.queue.popleft())
                if event is not None:
                    self._hear(event)
            self.buffer.settle()
            if self.state.over:
                return
            self._heed()
            if self.queue or self._time_over():
                continue
            if self.fleet.busy:
                ended = self.fleet.wait(self._patience())
                if ended is not None:
                    self._ended(ended)
            elif self.timers:
                self.buffer.settle()
                self.pause(max(0.0, self.timers[0][0] - monotonic()))
                self._due()
            elif not self._decided():
                if self.state.paused or monotonic() >= until:
                    return
                self.buffer.flush()
                self.pause(LOOK)

    def _hear(self, event: rules.Event) -> None:
        self._take(rules.decide(self.state, event))

    def _take(self, decision: rules.Decision) -> None:
        self.total += sum(
            task.of in self.shape.nodes and task.id not in self.state.tasks for task in decision.changes.tasks
        )
        self.state.apply(decision.changes)
        # First things first: a result is committed before anything else starts.
        self.queue.extendleft(reversed(decision.commands))

    def _heed(self) -> None:
        """Do what somebody wants of this execution, and let its journal know that it goes on."""
        if monotonic() - self.looked < LOOK:
            return
        self.looked = monotonic()
        request = self.journal.request()
        if request == "cancel":
            self.tell("cancelled")
            self._hear(rules.Cancelled())
        elif (request == "pause") != self.state.paused:
            self.tell("paused" if request else "progress", done=self.done, total=self.total)
            self._hear(rules.Paused() if request else rules.Resumed())

    def _patience(self) -> float:
        """How long to wait for an executor: until something else is to be looked at."""
        return min(LOOK, max(0.0, self.timers[0][0] - monotonic())) if self.timers else LOOK

    def _time_over(self) -> bool:
        return bool(self.timers) and self.timers[0][0] <= monotonic() and self._due()

    def _due(self) -> bool:
        _, task = heapq.heappop(self.timers)
        self._hear(rules.Due(task=task))
        return True

    def _decided(self) -> bool:
        """Whether something that was waited for has come."""
        heard = False
        for name in list(self.waiting):
            work = self.supplies.work(name)
            if self.waits is None or work.key is None:
                raise Bug(f"task {name!r} waits for nothing", code="no-outcome")
            verdict = self.waits.verdict(work.key, work.params)
            if verdict is None:
                continue
            del self.waiting[name]
            if verdict.refusal:
                work.failure = Failure(code="not-approved", message=f"step {name!r}: {verdict.refusal}")
            else:
                work.result = StepResult(outputs={SINGLE: self.supplies.keep(STANDARD.encode(verdict.value))})
            self._hear(rules.Decided(task=name, well=not verdict.refusal))
            heard = True
        return heard

    # The commands

    def _do(self, command: rules.Command) -> rules.Event | None:
        match command:
            case rules.Lookup():
                return self._lookup(command.task)
            case rules.Judge() | rules.Count():
                return self._look(command.task)
            case rules.Run():
                self._attempt(command)
            case rules.Delay():
                work = self.supplies.work(command.task)
                self._tell_of(work, "node-retried", attempt=command.attempt + 1, failure=work.failure)
                heapq.heappush(self.timers, (monotonic() + command.seconds, command.task))
            case rules.Open():
                self._open(command.task)
            case rules.Commit():
                self._commit(command)
            case rules.Stop():
                self.fleet.stop(_attempt_id(command.task, command.attempt))
            case rules.Fail():
                work = self.supplies.work(command.task)
                if work.key is not None:  # so that a red step can be run again elsewhere (`stellwerk step run`)
                    self.buffer.put(self._said(self.shape.nodes[work.task.of], work).bytes)
                self._over(work, "node-failed", attempt=command.attempt, failure=work.failure)
            case rules.Skip() | rules.Omit():
                kind: EventKind = "node-skipped" if isinstance(command, rules.Skip) else "node-omitted"
                self._over(self.supplies.work(command.task), kind, because=command.because)
        return None

    def _lookup(self, task: str) -> rules.Event:
        work = self.supplies.work(task)
        node = self.shape.nodes[work.task.of]
        if node.function == EITHER:
            work.result = StepResult(outputs={SINGLE: self.supplies.first(node, work.task)})
            self._over(work, "node-cached", result=work.result)
            return rules.Found(task=task)
        builtin = node.function.startswith(BUILTIN)
        work.params = self.resolver.pin(node.function.removeprefix(BUILTIN), node.params) if builtin else node.params
        work.inputs = self.supplies.inputs(node, work.task)
        work.key = self._said(node, work).key
        work.result = self.buffer.lookup(work.key)
        if work.result is None and self.elsewhere is not None and rules.travels(node) and node.id not in self.again:
            work.result = self.elsewhere.find(work.key, node.outputs)
        if work.result is None:
            return rules.Missed(task=task)
        self._over(work, "node-cached", result=work.result)
        return rules.Found(task=task)

    def _said(self, node: Node, work: Work) -> KeyDocument:
        """What the key of a task is made of."""
        return KeyDocument(
            code=self.codes[node.id],
            params=dict(work.params),
            inputs={
                name: one if isinstance(one, Stored) else tuple(one)
                for name, one in work.inputs.items()
                if name not in node.aside
            },
            environment=environment_key(self.environment, node.environment, self.locks),
            kind=node.kind,
            outputs=node.outputs,
            seed=work.task.seed,
            execution="" if node.cache and node.id not in self.again else self.execution + work.task.id,
        )

    def _look(self, name: str) -> rules.Event:
        """Judge a branch, or count a loop."""
        task = self.state.tasks[name]
        group = self.shape.groups[task.of]
        try:
            if isinstance(group, Branch):
                return rules.Judged(task=name, taken=holds(group, self.supplies.value(group.subject, task)))
            count = self.supplies.unfold(group, task)
            self.tell("loop-expanded", node=group.id, task=name, total=count)
            return rules.Counted(task=name, count=count)
        except Untestable as why:
            kind = "loop" if isinstance(group, Loop) else "condition"
            work = self.supplies.work(name)
            work.failure = Failure(code="invalid-condition", message=f"{kind} {name!r}: {why}")
            return rules.Rejected(task=name)

    def _attempt(self, command: rules.Run) -> None:
        work = self.supplies.work(command.task)
        node = self.shape.nodes[work.task.of]
        if node.kind in rules.LASTING or not node.cache:
            self.buffer.flush()
        timeout, memory = rules.limits(node)
        limited = rules.isolated(node)
        name = _attempt_id(command.task, command.attempt)
        attempt = Attempt(
            id=name,
            task=command.task,
            node=node.id,
            function=rules.PORTABLE.get(node.function, node.function),
            file=node.file,
            code=self.closures.get(node.function),
            inputs=self.supplies.encoded(work),
            listed=frozenset(name for name, given in work.inputs.items() if isinstance(given, list)),
            params=work.params,
            seed=work.task.seed,
            outputs=node.outputs,
            timeout=timeout if limited else None,
            memory=memory if limited else None,
            resources=node.resources,
            environment=node.environment,
        )
        self.attempts[name] = (command.task, command.attempt)
        self._tell_of(work, "node-started", attempt=command.attempt)
        self.fleet.start(node, attempt)

    def _ended(self, ended: Ended) -> None:
        task, attempt = self.attempts.pop(ended.attempt)
        work = self.supplies.work(task)
        if isinstance(ended.outcome, Failure):
            failure = work.failure = ended.outcome
            chance = self.chance()
            self._hear(
                rules.Failed(
                    task=task, attempt=attempt, retryable=failure.retryable, lost=failure.lost, chance=chance
                )
            )
        else:
            work.outcome, work.failure = ended.outcome, None
            self._hear(rules.Finished(task=task, attempt=attempt))

    def _open(self, task: str) -> None:
        work = self.supplies.work(task)
        if self.waits is None or work.key is None:
            raise Bug(f"task {task!r} waits for nothing", code="no-outcome")
        self.buffer.flush()
        about = [item for given in work.inputs.values() for item in ([given] if isinstance(given, Stored) else given)]
        work.case = self.waits.open(work.key, task, work.params, about)
        self.waiting[task] = None
        self._tell_of(work, "node-waiting", because=work.case)

    def _commit(self, command: rules.Commit) -> None:
        work = self.supplies.work(command.task)
        outcome, work.outcome = work.outcome, None
        if outcome is not None:
            work.result = StepResult(
                outputs={name: self.supplies.keep(value) for name, value in outcome.outputs.items()},
                seconds=outcome.seconds,
                log=self.buffer.put(outcome.log.encode("utf-8", "replace")) if outcome.log else "",
                cpu_seconds=outcome.cpu_seconds,
                peak_memory=outcome.peak_memory,
            )
        if work.result is None or work.key is None:
            raise Bug(f"task {command.task!r} is to be committed, but has no outcome", code="no-outcome")
        value = _small(outcome.outputs.get(SINGLE)) if outcome else None
        self._over(work, "node-finished", attempt=command.attempt, result=work.result, value=value)
        # Whoever was first has the result, and what follows uses it.
        work.result = self.buffer.settle().get(command.task, work.result)

    # What others hear

    def tell(self, kind: EventKind, **facts: Any) -> None:
        event = Event(kind=kind, at=self.clock.now(), **facts)
        if kind != "progress":
            self.buffer.note(event)
        if self.watch is not None:
            self.watch(event)

    def _tell_of(self, work: Work, kind: EventKind, **facts: Any) -> None:
        task = work.task
        code = self.codes.get(task.of, "")
        self.tell(
            kind,
            task=task.id,
            node=task.of,
            seed=task.seed,
            key=work.key or "",
            code=code,
            inputs=work.inputs,
            params=work.params,
            **facts,
        )

    def _over(self, work: Work, kind: EventKind, **facts: Any) -> None:
        if work.task.of in self.shape.nodes:
            self.done += 1
            self._tell_of(work, kind, **facts)
            self.tell("progress", done=self.done, total=self.total)
        elif kind == "node-failed":
            self._tell_of(work, kind, **facts)


def _small(value: Encoded | None) -> dict[str, Any] | None:
    """A value that is a small JSON object: it may say something about itself, such as metrics."""
    if value is None or value.media != JSON_MEDIA or len(value.data) > SMALL or not value.data.startswith(b"{"):
        return None
    found = canonical.loads(value.data)
    return found if isinstance(found, dict) else None


def _attempt_id(task: str, attempt: int) -> str:
    return f"{task}@{attempt}"
