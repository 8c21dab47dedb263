"""The rules of executing a plan: order, and a pure state machine (state, event) -> (state, commands).

Reading, running, storing and waiting are done by `service`, which performs the commands and reports the events.

A *task* is a node, or one seed of a node. Its way: pending (waits for others) -> ready (its key is looked up)
-> cached, or running -> done | failed; a task that waits for a failed one is skipped. Events that do not fit the
state, such as a late or repeated completion, change nothing, so that a result is committed at most once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from stellwerk.core.clock import parse_duration
from stellwerk.core.errors import Invalid
from stellwerk.pipelines.model import BUILTIN, DATASET, Node, Plan, Ref, Status, parse_size

MAX_NODES = 10_000
BACKOFF_SECONDS = 1.0
BACKOFF_LIMIT = 60.0
_OVER: frozenset[Status] = frozenset({"cached", "done", "failed", "skipped"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the engine knows of a task: whom it waits for, and how often it may be tried again."""

    id: str
    needs: tuple[str, ...] = ()
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The step cache has a result for a ready task."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """The step cache has nothing for a ready task."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """An attempt gave its outputs."""

    task: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An attempt ended without outputs."""

    task: str
    attempt: int
    retryable: bool = True


Event = Found | Missed | Finished | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """Compute the task's key and ask the step cache."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Start an attempt after a delay in seconds."""

    task: str
    attempt: int
    delay: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Keep the result of this attempt."""

    task: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """The task has failed for good."""

    task: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """The task will not run, because another one failed."""

    task: str
    because: str


Command = Lookup | Run | Commit | Fail | Skip


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where each task stands. Made by `begin`, changed by `decide`."""

    tasks: Mapping[str, Task]
    dependents: Mapping[str, tuple[str, ...]]
    status: Mapping[str, Status]
    waiting: Mapping[str, int]
    attempts: Mapping[str, int] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return all(status in _OVER for status in self.status.values())


def begin(tasks: Iterable[Task]) -> tuple[State, tuple[Command, ...]]:
    """The first state, and a look-up of every task that waits for nobody."""
    table = {task.id: task for task in tasks}
    dependents: dict[str, list[str]] = {name: [] for name in table}
    for task in table.values():
        for need in task.needs:
            if need not in table:
                raise Invalid(f"task {task.id!r} needs {need!r}, which does not exist", code="invalid-plan")
            dependents[need].append(task.id)
    waiting = {name: len(task.needs) for name, task in table.items()}
    status: dict[str, Status] = {name: "pending" if waiting[name] else "ready" for name in table}
    state = State(
        tasks=table,
        dependents={name: tuple(names) for name, names in dependents.items()},
        status=status,
        waiting=waiting,
    )
    return state, tuple(Lookup(task=name) for name in table if status[name] == "ready")


def decide(state: State, event: Event) -> tuple[State, tuple[Command, ...]]:
    """What an event changes, and what is to be done. An event that does not fit changes nothing."""
    current = state.status.get(event.task)
    match event:
        case Found() if current == "ready":
            return _succeed(state, event.task, "cached")
        case Missed() if current == "ready":
            return _attempt(state, event.task, delay=0.0)
        case Finished() if current == "running" and event.attempt == state.attempts[event.task]:
            after, commands = _succeed(state, event.task, "done")
            return after, (Commit(task=event.task, attempt=event.attempt), *commands)
        case Failed() if current == "running" and event.attempt == state.attempts[event.task]:
            if event.retryable and event.attempt <= state.tasks[event.task].retries:
                return _attempt(state, event.task, delay=backoff(event.attempt))
            return _fail(state, event.task, event.attempt)
    return state, ()


def backoff(attempt: int) -> float:
    """Seconds to wait after the failed attempt of this number: 1, 2, 4, ... at most 60."""
    return min(BACKOFF_LIMIT, BACKOFF_SECONDS * 2.0 ** min(attempt - 1, 16))


def _attempt(state: State, task: str, *, delay: float) -> tuple[State, tuple[Command, ...]]:
    number = state.attempts.get(task, 0) + 1
    after = replace(
        state,
        status={**state.status, task: "running"},
        attempts={**state.attempts, task: number},
    )
    return after, (Run(task=task, attempt=number, delay=delay),)


def _succeed(state: State, task: str, status: Status) -> tuple[State, tuple[Command, ...]]:
    statuses, waiting = {**state.status, task: status}, dict(state.waiting)
    commands: list[Command] = []
    for dependent in state.dependents[task]:
        waiting[dependent] -= 1
        if waiting[dependent] == 0 and statuses[dependent] == "pending":
            statuses[dependent] = "ready"
            commands.append(Lookup(task=dependent))
    return replace(state, status=statuses, waiting=waiting), tuple(commands)


def _fail(state: State, task: str, attempt: int) -> tuple[State, tuple[Command, ...]]:
    statuses: dict[str, Status] = {**state.status, task: "failed"}
    commands: list[Command] = [Fail(task=task, attempt=attempt)]
    stack = list(reversed(state.dependents[task]))
    while stack:
        dependent = stack.pop()
        if statuses[dependent] != "skipped":
            statuses[dependent] = "skipped"
            commands.append(Skip(task=dependent, because=task))
            stack.extend(reversed(state.dependents[dependent]))
    return replace(state, status=statuses), tuple(commands)


def order(plan: Plan) -> tuple[Node, ...]:
    """The nodes so that each comes after its inputs, otherwise as written. `Invalid` if that is impossible."""
    check(plan)
    table = {node.id: node for node in plan.nodes}
    if _sorted_already(plan):
        return plan.nodes
    placed: dict[str, Node] = {}
    for start in plan.nodes:
        path: dict[str, None] = {}
        stack = [start.id]
        while stack:
            name = stack[-1]
            missing = [ref.node for ref in table[name].inputs.values() if ref.node not in placed]
            if name in placed or not missing:
                placed.setdefault(name, table[name])
                path.pop(stack.pop(), None)
            elif missing[0] in path or missing[0] == name:
                raise Invalid(f"node {missing[0]!r} waits for itself", code="cyclic-plan")
            else:
                path[name] = None
                stack.append(missing[0])
    return tuple(placed.values())


def _sorted_already(plan: Plan) -> bool:
    seen: set[str] = set()
    for node in plan.nodes:
        if any(ref.node not in seen for ref in node.inputs.values()):
            return False
        seen.add(node.id)
    return True


def check(plan: Plan) -> None:
    """Refuse a plan with repeated ids, references to nothing, or too many nodes."""
    if len(plan.nodes) > MAX_NODES:
        raise Invalid(f"the plan has {len(plan.nodes)} nodes (at most {MAX_NODES})", code="plan-too-large")
    outputs: dict[str, tuple[str, ...]] = {}
    for node in plan.nodes:
        if not node.id or "#" in node.id:
            raise Invalid(f"{node.id!r} cannot be the id of a node", code="invalid-plan")
        if node.id in outputs:
            raise Invalid(f"two nodes are called {node.id!r}", code="invalid-plan")
        outputs[node.id] = node.outputs
    for where, ref in _references(plan):
        if ref.output not in outputs.get(ref.node, ()):
            raise Invalid(
                f"{where} refers to output {ref.output!r} of {ref.node!r}, which does not exist", code="invalid-plan"
            )


def _references(plan: Plan) -> Iterable[tuple[str, Ref]]:
    for node in plan.nodes:
        for argument, ref in node.inputs.items():
            yield f"argument {argument!r} of {node.id!r}", ref
    for name, ref in plan.results.items():
        yield f"result {name!r}", ref


def seeds_of(node: Node) -> tuple[int | None, ...]:
    """The seeds of a node's tasks; one task without seed if it declares none."""
    return tuple(range(node.seeds)) if node.seeds else (None,)


def task_id(node: Node, seed: int | None) -> str:
    return node.id if seed is None else f"{node.id}#{seed}"


def tasks_of(plan: Plan) -> tuple[Task, ...]:
    """The tasks of a plan: one per node, or per seed of it; datasets need none."""
    names = {
        node.id: () if node.function == DATASET else tuple(task_id(node, seed) for seed in seeds_of(node))
        for node in plan.nodes
    }
    return tuple(
        Task(
            id=name,
            needs=tuple(dict.fromkeys(need for ref in node.inputs.values() for need in names[ref.node])),
            retries=node.retries,
        )
        for node in order(plan)
        for name in names[node.id]
    )


def isolated(node: Node) -> bool:
    """Whether limits are declared that only an executor with its own process can keep."""
    return bool(node.timeout or node.resources.memory) and not node.function.startswith(BUILTIN)


def limits(node: Node) -> tuple[float | None, int | None]:
    """Seconds and bytes that one attempt may use."""
    seconds = parse_duration(node.timeout).total_seconds() if node.timeout else None
    return seconds, parse_size(node.resources.memory) if node.resources.memory else None


def describe(plan: Plan) -> list[str]:
    """The plan as lines for people: its call, then each node with what goes into it."""
    params = ", ".join(f"{name}={value!r}" for name, value in plan.params.items())
    lines = [f"{plan.name}({params})"]
    nodes = order(plan)
    width = max((len(node.id) for node in nodes), default=0)
    kinds = max((len(node.kind) for node in nodes), default=0)
    for node in nodes:
        facts = [f"{name} <- {_name(ref)}" for name, ref in node.inputs.items()]
        facts += [f"{name}={value!r}" for name, value in node.params.items()]
        facts += [f"seeds {node.seeds}"] if node.seeds else []
        facts += [f"retries {node.retries}"] if node.retries else []
        facts += [f"timeout {node.timeout}"] if node.timeout else []
        facts += [f"memory {node.resources.memory}"] if node.resources.memory else []
        lines.append(f"  {node.id:<{width}}  {node.kind:<{kinds}}  {', '.join(facts)}".rstrip())
    lines += [f"  {name} = {_name(ref)}" for name, ref in plan.results.items()]
    return lines


def _name(ref: Ref) -> str:
    return ref.node if ref.output == "value" else f"{ref.node}.{ref.output}"
