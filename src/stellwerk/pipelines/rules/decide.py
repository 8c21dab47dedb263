"""The rules of executing a plan: a pure state machine (state, event) -> (changes, commands).

Nothing here reads a clock, a store or a random number. Events that do not fit the state, such as a late or repeated
completion, change nothing, so that a result is committed at most once. Reading, running, storing and waiting are
done by `service`, which performs the commands, applies the changes and reports the events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from stellwerk.core.errors import Invalid
from stellwerk.pipelines.model import EITHER, RESOLVED, WAIT, Branch, Loop, Resources, Status
from stellwerk.pipelines.rules.messages import (
    Cancelled,
    Command,
    Commit,
    Count,
    Counted,
    Decided,
    Delay,
    Due,
    Event,
    Fail,
    Failed,
    Finished,
    Found,
    Judge,
    Judged,
    Lookup,
    Missed,
    Omit,
    Open,
    Paused,
    Rejected,
    Resumed,
    Run,
    Skip,
    Stop,
)
from stellwerk.pipelines.rules.shape import Shape, common, seeds_of, task_id
from stellwerk.pipelines.rules.state import GOOD, OVER, Changes, Edge, State, Task, capacity_of
from stellwerk.pipelines.stock import SEEN, SHARED, meant

MAX_TASKS = 100_000
MAX_LOST = 5
"""How often an attempt may be lost before the task fails: what loses five machines is perhaps the reason."""
LOOK_AHEAD = 64
"""How many queued tasks that do not fit are passed over to find one that does."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What an event changes, and what is to be done, in this order."""

    changes: Changes
    commands: tuple[Command, ...]


def begin(
    shape: Shape, capacity: Resources | None = None, *, history: Mapping[str, tuple[int, int]] | None = None
) -> tuple[State, Decision]:
    """An empty state, and the decision that fills it and looks up every task that waits for nobody.

    Args:
        history: By task the attempts that an earlier engine began, and how many of them were lost.

    Raises:
        Invalid: `resources-not-there` if a step needs what the executor has none of.
    """
    has = capacity_of(capacity or Resources())
    for node in shape.plan.nodes:
        for name, amount in node.resources.amounts().items():
            if name not in SHARED and amount > has.get(name, 0.0):
                raise Invalid(
                    f"step {node.id!r} needs {amount:g} {name}, and there are {has.get(name, 0.0):g}",
                    code="resources-not-there",
                    hint=f"{meant(name, has)}say what this machine has in [resources] of stellwerk.toml, or ask for less"
                    if name not in SEEN
                    else "execute it where they are, or ask for less",
                )
    state = State(shape=shape, capacity=has, history=history or {})
    draft = _Draft(state)
    draft.bring_forth([("", ())])
    return state, draft.decision()


def decide(state: State, event: Event) -> Decision:
    """What an event changes, and what is to be done. An event that does not fit changes nothing."""
    draft = _Draft(state)
    if isinstance(event, Paused | Resumed):
        draft.paused = isinstance(event, Paused)
    elif isinstance(event, Cancelled):
        draft.cancel()
    else:
        task = state.tasks.get(event.task)
        if task is not None:
            draft.hear(task, event)
    draft.dispatch()
    return draft.decision()


_End = tuple[str, Status, str]
"""A task that has ended, how, and which task is the reason."""


@dataclass(slots=True)
class _Draft:
    """A decision in the making: the state as it was, and what is different by now."""

    state: State
    tasks: dict[str, Task] = field(default_factory=dict)
    edges: dict[str, list[Edge]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    paused: bool | None = None

    def decision(self) -> Decision:
        edges = tuple((name, edge) for name, some in self.edges.items() for edge in some)
        changes = Changes(
            tasks=tuple(self.tasks.values()), edges=edges, counts=tuple(self.counts.items()), paused=self.paused
        )
        return Decision(changes, tuple(self.commands))

    def get(self, name: str) -> Task:
        found = self.tasks.get(name)
        return self.state.tasks[name] if found is None else found

    # What an event means

    def hear(self, task: Task, event: Event) -> None:
        match event:
            case Found() if task.status == "ready":
                self.settle(task, "cached")
            case Missed() if task.status == "ready":
                if self.state.shape.nodes[task.of].function == WAIT:
                    self.set(task, status="waiting")
                    self.commands.append(Open(task=task.id))
                else:
                    self.set(task, status="queued")
            case Judged() if task.status == "ready":
                self.settle(task, "done" if event.taken else "omitted")
            case Counted() if task.status == "ready":
                self.expand(task, event.count)
            case Rejected() if task.status == "ready":
                self.fail(task)
            case Finished() if task.status == "running" and event.attempt == task.attempts:
                self.commands.append(Commit(task=task.id, attempt=event.attempt))
                self.settle(task, "done")
            case Failed() if task.status == "running" and event.attempt == task.attempts:
                self.retry(task, event)
            case Due() if task.status == "delayed":
                self.set(task, status="queued")
            case Decided() if task.status == "waiting":
                if event.well:
                    self.commands.append(Commit(task=task.id, attempt=0))
                    self.settle(task, "done")
                else:
                    self.fail(task)

    def retry(self, task: Task, event: Failed) -> None:
        node = self.state.shape.nodes[task.of]
        lost = task.lost + event.lost
        if event.lost and lost <= MAX_LOST:
            self.set(task, status="queued", lost=lost)
        elif event.retryable and not event.lost and task.attempts - lost <= node.retries:
            self.set(task, status="delayed")
            seconds = node.backoff.seconds(task.attempts - lost, event.chance)
            self.commands.append(Delay(task=task.id, attempt=task.attempts, seconds=seconds))
        else:
            self.fail(task)

    def fail(self, task: Task) -> None:
        self.commands.append(Fail(task=task.id, attempt=task.attempts))
        self.settle(task, "failed")

    def cancel(self) -> None:
        for task in self.state.tasks.values():
            if task.status not in OVER:
                if task.status == "running":
                    self.commands.append(Stop(task=task.id, attempt=task.attempts))
                self.set(task, status="cancelled")

    def set(self, task: Task, **changes: object) -> Task:
        changed = replace(task, **changes)
        self.tasks[task.id] = changed
        return changed

    # How an end spreads

    def settle(self, task: Task, status: Status) -> None:
        """A task has ended: what waited for it is ready, or will never be."""
        self.set(task, status=status)
        self.spread([(task.id, status, task.because or task.id)])

    def spread(self, ended: list[_End]) -> None:
        """Tell those that wait for ended tasks, and those that wait for what that ends in turn."""
        while ended:
            name, status, because = ended.pop()
            more: list[_End] = []
            for edge in (*self.state.edges.get(name, ()), *self.edges.get(name, ())):
                waits = self.get(edge.task)
                if waits.status == "pending":
                    more += self.arrive(waits, edge, status, because)
            ended.extend(reversed(more))

    def arrive(self, task: Task, edge: Edge, status: Status, because: str) -> list[_End]:
        """One of those that a task waits for has ended; what that ends in turn."""
        if status in GOOD or (status == "omitted" and edge.lenient):
            task = self.set(task, waiting=task.waiting - 1)
            if task.waiting:
                return []
            if not self.without(task):
                self.ready(task)
                return []
            status = "omitted"
        if status == "omitted":
            self.set(task, status="omitted", because=because)
            self.commands.append(Omit(task=task.id, because=because))
            return [(task.id, "omitted", because)]
        self.set(task, status="skipped", because=because)
        self.commands.append(Skip(task=task.id, because=because))
        return [(task.id, "skipped", because)]

    def ready(self, task: Task) -> None:
        self.set(task, status="ready")
        group = self.state.shape.groups.get(task.of)
        if group is None:
            self.commands.append(Lookup(task=task.id))
        elif isinstance(group, Branch):
            self.commands.append(Judge(task=task.id))
        else:
            self.commands.append(Count(task=task.id))

    def without(self, task: Task) -> bool:
        """Whether a task would pass on one of its inputs, but all of them were omitted."""
        node = self.state.shape.nodes.get(task.of)
        if node is None or node.function != EITHER:
            return False
        for ref in node.inputs.values():
            if ref.node in self.state.shape.groups or self.state.shape.nodes[ref.node].function in RESOLVED:
                return False
            if any(self.get(name).status in GOOD for name in self.instances(ref.node, task)):
                return False
        return True

    def instances(self, target: str, user: Task) -> list[str]:
        return self.state.instances(target, user.of, user.at)[0]

    # How loops unfold

    def expand(self, loop: Task, count: int) -> None:
        """A loop has so many items: its inside comes into being, and who waits for that waits for each."""
        if len(self.state.tasks) + count > MAX_TASKS:
            raise Invalid(
                f"loop {loop.id!r} has {count:,} items (an execution has at most {MAX_TASKS:,} tasks)",
                code="plan-too-large",
            )
        self.counts[loop.id] = count
        self.set(loop, status="done")
        self.bring_forth([(loop.of, (*loop.at, index)) for index in range(count)])
        for edge in self.state.edges.get(loop.id, ()):
            waits = self.get(edge.task)
            if waits.status == "pending":
                waits = self.set(waits, waiting=waits.waiting - 1)
                self.wait_for(waits, [(edge, *self.connect(edge, [loop.id]))])

    def inside(self, target: str, at: tuple[int, ...]) -> list[str]:
        """For the inside of a loop at one item: the tasks of a node, or the loop further in that will bring them."""
        shape = self.state.shape
        loops = shape.loops[target]
        if len(loops) > len(at):
            return [task_id(loops[len(at)], at)]
        node = shape.nodes.get(target)
        return [task_id(target, at, seed) for seed in (seeds_of(node) if node else (None,))]

    def bring_forth(self, scopes: list[tuple[str, tuple[int, ...]]]) -> None:
        """Make the tasks that stand in these groups at these items, and say for what each waits."""
        made = [task for scope, at in scopes for task in self._members(scope, at)]
        for task in made:
            self.tasks[task.id] = task
        if len(self.state.tasks) + len(made) > MAX_TASKS:
            raise Invalid(f"an execution has at most {MAX_TASKS:,} tasks", code="plan-too-large")
        for task in made:
            if self.get(task.id).status == "pending":  # else its branch or an input has ended it meanwhile
                self.wait_for(self.get(task.id), list(self._edges(task)))

    def _members(self, scope: str, at: tuple[int, ...]) -> Iterator[Task]:
        shape = self.state.shape
        for name in shape.children[scope]:
            node = shape.nodes.get(name)
            for seed in seeds_of(node) if node else (None,):
                own = task_id(name, at, seed)
                attempts, lost = self.state.history.get(own, (0, 0))
                yield Task(own, name, at, seed, attempts=attempts, lost=lost)
            if isinstance(shape.groups.get(name), Branch):
                yield from self._members(name, at)

    def _edges(self, task: Task) -> Iterator[tuple[Edge, int, list[Task]]]:
        shape = self.state.shape
        for need in shape.needs[task.of]:
            shared = len(common(shape.loops[task.of], shape.loops[need.target]))
            edge = Edge(task.id, need.target, need.lenient)
            yield edge, *self.connect(edge, self.inside(need.target, task.at[:shared]))

    def connect(self, edge: Edge, names: list[str]) -> tuple[int, list[Task]]:
        """Let the task of an edge wait for others; for how many, and which of them have ended already."""
        count, past = 0, list[Task]()
        for name in names:
            other = self.get(name)
            unfolds = other.of != edge.target and other.status in GOOD  # a loop that has been counted
            if unfolds:
                items = self.counts[name] if name in self.counts else self.state.counts[name]
                for index in range(items):
                    more, ended = self.connect(edge, self.inside(edge.target, (*other.at, index)))
                    count, past = count + more, past + ended
            elif other.status in OVER:
                past.append(other)
            else:
                self.edges.setdefault(name, []).append(edge)
                count += 1
        return count, past

    def wait_for(self, task: Task, edges: list[tuple[Edge, int, list[Task]]]) -> None:
        """A task waits for what its edges lead to; where all of that is there already, it is ready."""
        past = [(edge, other) for edge, _, ended in edges for other in ended]
        task = self.set(task, waiting=task.waiting + sum(count for _, count, _ in edges) + len(past))
        if not task.waiting and self.without(task):
            self.commands.append(Omit(task=task.id, because=task.id))
            self.settle(task, "omitted")
        elif not task.waiting:
            self.ready(task)
        for edge, other in past:
            waits = self.get(task.id)
            if waits.status == "pending":
                self.spread(self.arrive(waits, edge, other.status, other.because or other.id))

    # What may start

    def dispatch(self) -> None:
        """Start queued tasks, the most urgent first, as far as there is room for them."""
        state = self.state
        if self.paused or (state.paused and self.paused is None):
            return
        (room, busy), passed = self._room(), 0
        for task in self._queued():
            asked = state.amounts(task)
            loops = list(state.limited(task))
            if any(amount > room[name] + 1e-9 for name, amount in asked.items()) or any(
                busy.get(one, 0) >= self._at_once(one) for one in loops
            ):
                passed += 1
                if passed > LOOK_AHEAD:
                    break
                continue
            for name, amount in asked.items():
                room[name] -= amount
            for one in loops:
                busy[one] = busy.get(one, 0) + 1
            self.set(task, status="running", attempts=task.attempts + 1)
            self.commands.append(Run(task=task.id, attempt=task.attempts + 1))
            if not any(left > 1e-9 for left in room.values()):
                break

    def _room(self) -> tuple[dict[str, float], dict[str, int]]:
        """What is free, and how busy each limited loop is, counting what ends by this very event."""
        state = self.state
        room = {name: amount - state.used.get(name, 0.0) for name, amount in state.capacity.items()}
        busy = dict(state.busy)
        for task in self.tasks.values():
            before = state.tasks.get(task.id)
            if before is not None and before.status == "running" and task.status != "running":
                for name, amount in state.amounts(task).items():
                    room[name] += amount
                for loop in state.limited(task):
                    busy[loop] -= 1
        return room, busy

    def _queued(self) -> Iterator[Task]:
        fresh: dict[int, list[Task]] = {}
        for task in self.tasks.values():
            if task.status == "queued":
                fresh.setdefault(self.state.shape.nodes[task.of].priority, []).append(task)
        for priority in sorted({*self.state.queued, *fresh}, reverse=True):
            for name in self.state.queued.get(priority, ()):
                if name not in self.tasks:
                    yield self.state.tasks[name]
            yield from fresh.get(priority, ())

    def _at_once(self, loop: str) -> int:
        group = self.state.shape.groups[self.get(loop).of]
        return group.at_once if isinstance(group, Loop) else 0
