"""How far an execution has come, by the rules that drove it: told from what its tasks became, and from their values.

Nothing is executed and nothing written. What is no longer known, such as the value that a branch looked at, is told from
what ran inside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import StellwerkError
from stellwerk.pipelines import rules
from stellwerk.pipelines.conditions import Untestable, holds
from stellwerk.pipelines.model import EITHER, Branch, Loop, Plan, Resources, StepResult
from stellwerk.pipelines.supplies import Supplies

LOOKED = 2000
"""Values that are looked at, at most: of a plan with more, the rest is told from what ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What became of a task."""

    status: Literal["done", "failed", "under way"]
    result: StepResult | None = None
    """As far as it is known."""


def replay(plan: Plan, past: Mapping[str, Past], read: Callable[[Digest], bytes]) -> rules.State:
    """The state to which the tasks of an execution brought it.

    Args:
        past: By the names of tasks.
        read: The bytes of a digest. Raises where they are gone.
    """
    shape = rules.Shape(plan)
    needed: dict[str, float] = {}
    for node in plan.nodes:
        for name, amount in node.resources.custom.items():
            needed[name] = max(amount, needed.get(name, 0.0))
    gpus = max((node.resources.gpus for node in plan.nodes), default=0)
    state, first = rules.begin(shape, Resources(gpus=gpus, custom=needed))
    return _Replay(state, past, _Shelf(read)).go(first)


@dataclass(slots=True)
class _Shelf:
    """The bytes of values, and of items that are taken out of them."""

    read: Callable[[Digest], bytes]
    made: dict[Digest, bytes] = field(default_factory=dict)
    looked: int = 0

    def put(self, data: bytes) -> Digest:
        digest = of_bytes(data)
        self.made[digest] = data
        return digest

    def get(self, digest: Digest) -> bytes:
        if digest not in self.made:
            self.looked += 1
            if self.looked > LOOKED:
                raise Untestable("too many values to look at")
            self.made[digest] = self.read(digest)
        return self.made[digest]


class _Replay:
    def __init__(self, state: rules.State, past: Mapping[str, Past], shelf: _Shelf) -> None:
        self._state, self._past = state, past
        self._supplies = Supplies(state, shelf, {})
        self._ran = {prefix for name in past for prefix in _prefixes(name)}

    def go(self, first: rules.Decision) -> rules.State:
        commands: deque[rules.Command] = deque()
        decision = first
        while True:
            self._state.apply(decision.changes)
            commands.extend(decision.commands)
            event = None
            while commands and event is None:
                event = self._answer(commands.popleft())
            if event is None:
                return self._state
            decision = rules.decide(self._state, event)

    def _answer(self, command: rules.Command) -> rules.Event | None:
        match command:
            case rules.Lookup():
                return self._looked_up(command.task)
            case rules.Judge():
                return self._judged(command.task)
            case rules.Count():
                return self._counted(command.task)
        return None

    def _looked_up(self, name: str) -> rules.Event | None:
        work = self._supplies.work(name)
        node = self._state.shape.nodes[work.task.of]
        if node.function == EITHER:
            try:
                work.result = StepResult(outputs={"value": self._supplies.first(node, work.task)})
            except StellwerkError:
                pass  # a result that is forgotten counts as well
            return rules.Found(task=name)
        past = self._past.get(name)
        if past is None or past.status == "under way":
            return None
        work.result = past.result
        return rules.Found(task=name) if past.status == "done" else rules.Rejected(task=name)

    def _judged(self, name: str) -> rules.Event | None:
        task = self._state.tasks[name]
        group = self._state.shape.groups[task.of]
        assert isinstance(group, Branch)
        try:
            return rules.Judged(task=name, taken=holds(group, self._supplies.value(group.subject, task)))
        except (Untestable, StellwerkError, LookupError):
            ran = any((one, task.at) in self._ran for one in self._inside(task.of))
            return rules.Judged(task=name, taken=True) if ran else None

    def _counted(self, name: str) -> rules.Event | None:
        task = self._state.tasks[name]
        loop = self._state.shape.groups[task.of]
        assert isinstance(loop, Loop)
        try:
            return rules.Counted(task=name, count=self._supplies.unfold(loop, task))
        except (Untestable, StellwerkError, LookupError):
            inside, depth = self._inside(task.of), len(task.at)
            seen = [at[depth] for one, at in self._ran if one in inside and len(at) > depth and at[:depth] == task.at]
            return rules.Counted(task=name, count=max(seen) + 1) if seen else None

    def _inside(self, group: str) -> set[str]:
        shape = self._state.shape
        inner = set(shape.children[group])
        return inner.union(*(self._inside(one) for one in inner if one in shape.groups))


def _prefixes(task: str) -> list[tuple[str, tuple[int, ...]]]:
    """The node of a task with the items it was for, of every loop around it and of the outer ones only."""
    name, _, rest = task.partition("#")[0].partition("[")
    try:
        at = tuple(int(one) for one in rest.removesuffix("]").split("][")) if rest else ()
    except ValueError:
        return []  # of something else that is called like a task
    return [(name, at[:depth]) for depth in range(len(at) + 1)]
