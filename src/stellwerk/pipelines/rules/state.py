"""Where the execution of a plan stands. `decide` says what changes, and only `State.apply` changes it.

A *task* is a node, or one seed of it, or a group, for one choice of loop items. Its way:

    pending      waits for others
    ready        its key is looked up; a branch is judged, a loop counted
    cached       the step cache had its result
    queued       waits for free resources         delayed  waits to be tried again
    running      an attempt is under way          waiting  a person, an event or a time decides
    done         its result is committed
    failed       for good                         skipped  because one that it waits for has failed
    omitted      its branch was not taken         cancelled
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from stellwerk.pipelines.model import Loop, Node, Ref, Resources, Status
from stellwerk.pipelines.rules.shape import Shape, common, seeds_of, task_id

GOOD: frozenset[Status] = frozenset({"cached", "done"})
OVER: frozenset[Status] = frozenset({"cached", "done", "failed", "skipped", "omitted", "cancelled"})


class Task(Struct, frozen=True):
    """What the engine knows of a task.

    Args:
        of: The node or group.
        at: Which item of each loop around it, from the outermost on.
        waiting: For how many others it still waits.
        attempts: How many have begun.
        lost: How many of them ended because what ran them was gone.
        because: Why it was skipped: the task that failed.
    """

    id: str
    of: str
    at: tuple[int, ...] = ()
    seed: int | None = None
    status: Status = "pending"
    waiting: int = 0
    attempts: int = 0
    lost: int = 0
    because: str = ""


class Edge(Struct, frozen=True):
    """That a task waits for another one, or for what a loop will bring forth: the instances of `target`."""

    task: str
    target: str
    lenient: bool = False


class Changes(Struct, frozen=True, kw_only=True):
    """What an event changed: tasks as they are now, edges that came, how many items a loop has."""

    tasks: tuple[Task, ...] = ()
    edges: tuple[tuple[str, Edge], ...] = ()
    counts: tuple[tuple[str, int], ...] = ()
    paused: bool | None = None


@dataclass(slots=True)
class State:
    """All tasks of an execution, and what follows from them."""

    shape: Shape
    capacity: Mapping[str, float]
    history: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    edges: dict[str, list[Edge]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    queued: dict[int, dict[str, None]] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)
    busy: dict[str, int] = field(default_factory=dict)
    """How many tasks of a loop with a limit are running."""
    open: int = 0
    paused: bool = False

    @property
    def over(self) -> bool:
        """Whether every task has ended."""
        return not self.open

    def apply(self, changes: Changes) -> None:
        """Make the changes that an event has brought."""
        for task in changes.tasks:
            before = self.tasks.get(task.id)
            self.tasks[task.id] = task
            self._recount(before, task)
        for name, edge in changes.edges:
            self.edges.setdefault(name, []).append(edge)
        self.counts.update(changes.counts)
        if changes.paused is not None:
            self.paused = changes.paused

    def _recount(self, before: Task | None, task: Task) -> None:
        was: Status | None = before.status if before else None
        now = task.status
        if was == now:
            return
        self.open += (now not in OVER) - (was is not None and was not in OVER)
        if now == "queued":
            self.queued.setdefault(self.shape.nodes[task.of].priority, {})[task.id] = None
        elif was == "queued":
            self.queued[self.shape.nodes[task.of].priority].pop(task.id, None)
        if "running" in (was, now):
            sign = 1 if now == "running" else -1
            for name, amount in self.amounts(task).items():
                self.used[name] = self.used.get(name, 0.0) + sign * amount
            for loop in self.limited(task):
                self.busy[loop] = self.busy.get(loop, 0) + sign

    def amounts(self, task: Task) -> dict[str, float]:
        """What a task takes while it runs. One that wants more processors or memory than there are takes them all."""
        asked = self.shape.nodes[task.of].resources.amounts()
        return {
            name: min(amount, self.capacity[name]) if name in ("cpus", "memory") else amount
            for name, amount in asked.items()
            if name in self.capacity or name not in ("cpus", "memory")
        }

    def limited(self, task: Task) -> Iterator[str]:
        """The loops around a task that limit how many of their tasks run at once."""
        for depth, name in enumerate(self.shape.loops[task.of]):
            loop = self.shape.groups[name]
            if isinstance(loop, Loop) and loop.at_once:
                yield task_id(name, task.at[:depth])

    def sources(self, ref: Ref, user: Task) -> tuple[list[str], bool]:
        """The tasks behind a reference, in order, and whether they stand for a list."""
        return self.instances(ref.node, user.of, user.at)

    def instances(self, target: str, user: str, at: tuple[int, ...]) -> tuple[list[str], bool]:
        """The tasks of a node as seen from another node or group (or from outside of everything, with "")."""
        shared = len(common(self.shape.loops[user], self.shape.loops[target]))
        inner = self.shape.loops[target][shared:]
        places = [at[:shared]]
        for loop in inner:
            places = [(*place, n) for place in places for n in range(self.counts.get(task_id(loop, place), 0))]
        node: Node | None = self.shape.nodes.get(target)
        seeds = seeds_of(node) if node else (None,)
        return [task_id(target, place, seed) for place in places for seed in seeds], bool(inner or seeds != (None,))


def capacity_of(resources: Resources, others: Iterable[str] = ()) -> dict[str, float]:
    """What there is to share out, by name."""
    return {**dict.fromkeys(others, 0.0), **resources.amounts()}
