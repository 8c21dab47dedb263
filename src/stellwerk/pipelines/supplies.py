"""What references stand for while a plan is executed: results of tasks, items of loops, inputs from outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from stellwerk.core import canonical
from stellwerk.core.errors import Bug, StellwerkError
from stellwerk.pipelines.conditions import Untestable
from stellwerk.pipelines.model import (
    SINGLE,
    Encoded,
    Failure,
    Loop,
    Node,
    Outcome,
    Ref,
    StepResult,
    Stored,
)
from stellwerk.pipelines.rules import State, Task, task_id
from stellwerk.pipelines.values import JSON_MEDIA, STANDARD

if TYPE_CHECKING:
    from stellwerk.core.digest import Digest


@dataclass(slots=True, kw_only=True)
class Work:
    """What was made of one task so far."""

    task: Task
    key: Digest | None = None
    params: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Stored | list[Stored]] = field(default_factory=dict)
    outcome: Outcome | None = None
    result: StepResult | None = None
    failure: Failure | None = None
    case: str = ""
    """What a person is asked by, where it waits for one."""


class Values(Protocol):
    """The bytes of values by their digests."""

    def put(self, data: bytes) -> Digest:
        """Name bytes, and have them from now on."""
        ...

    def get(self, digest: Digest) -> bytes:
        """The bytes of a name."""
        ...


class Supplies:
    """The works of an execution, and what its references stand for.

    Args:
        inputs: What the input nodes were resolved to.
    """

    def __init__(self, state: State, buffer: Values, inputs: dict[str, Stored]) -> None:
        self.state, self.given = state, inputs
        self._buffer = buffer
        self._works: dict[str, Work] = {}
        self._items: dict[str, list[Stored]] = {}

    def work(self, name: str) -> Work:
        """What was made of a task."""
        found = self._works.get(name)
        if found is None:
            found = self._works[name] = Work(task=self.state.tasks[name])
        return found

    def keep(self, value: Encoded) -> Stored:
        """Name a value, and keep it with the next batch."""
        return Stored(digest=self._buffer.put(value.data), media=value.media)

    # References

    def makers(self, ref: Ref, user: str, at: tuple[int, ...]) -> tuple[list[Stored], bool]:
        """The values behind a reference, and whether they stand for a list. What was omitted is left out."""
        if ref.node in self.given:
            return [self.given[ref.node]], False
        shape = self.state.shape
        if ref.node in shape.groups:
            depth = len(shape.loops[ref.node])
            return [self._items[task_id(ref.node, at[:depth])][at[depth]]], False
        names, listed = self.state.instances(ref.node, user, at)
        found = [work.result.outputs[ref.output] for name in names if (work := self.work(name)).result is not None]
        if not listed and not found:
            raise Bug(f"node {ref.node!r} was used before it had a result", code="no-outcome")
        return found, listed

    def inputs(self, node: Node, task: Task) -> dict[str, Stored | list[Stored]]:
        """What goes into a task, by argument."""
        given: dict[str, Stored | list[Stored]] = {}
        for name, ref in node.inputs.items():
            makers, listed = self.makers(ref, task.of, task.at)
            given[name] = makers if listed else makers[0]
        return given

    def encoded(self, work: Work) -> dict[str, tuple[Encoded, ...]]:
        """The inputs of a task as bytes."""
        return {name: tuple(self._encoded(one) for one in _several(given)) for name, given in work.inputs.items()}

    def _encoded(self, stored: Stored) -> Encoded:
        return Encoded(media=stored.media, data=self._buffer.get(stored.digest), digest=stored.digest)

    def first(self, node: Node, task: Task) -> Stored:
        """The first of the inputs of a task that was computed."""
        for ref in node.inputs.values():
            if ref.node in self.given or ref.node in self.state.shape.groups:
                return self.makers(ref, task.of, task.at)[0][0]
            names, _ = self.state.instances(ref.node, task.of, task.at)
            for name in names:
                result = self.work(name).result
                if result is not None:
                    return result.outputs[ref.output]
        raise Bug(f"none of the inputs of {task.id!r} was computed", code="no-outcome")

    # What branches and loops look at

    def value(self, ref: Ref, task: Task) -> Any:
        """The plain data behind a reference. `Untestable` if it is something else."""
        makers, listed = self.makers(ref, task.of, task.at)
        if listed:
            raise Untestable(f"the output of {ref.node!r} is a list of results")
        return self._plain(makers[0], ref)

    def unfold(self, loop: Loop, task: Task) -> int:
        """Find the items of a loop; how many there are. `Untestable` if what should be a list is none."""
        items = self._items[task.id] = self._found(loop, task)
        return len(items)

    def _found(self, loop: Loop, task: Task) -> list[Stored]:
        if loop.items is None:
            return [self.keep(STANDARD.encode(value)) for value in loop.values]
        makers, listed = self.makers(loop.items, task.of, task.at)
        if listed:
            return makers
        value = self._plain(makers[0], loop.items)
        if not isinstance(value, list):
            raise Untestable(f"the output of {loop.items.node!r} is a {type(value).__name__} (expected a list)")
        return [self.keep(STANDARD.encode(item)) for item in value]

    def _plain(self, stored: Stored, ref: Ref) -> Any:
        name = ref.node if ref.output == SINGLE else f"{ref.node}.{ref.output}"
        if stored.media != JSON_MEDIA:
            raise Untestable(f"the output of {name!r} is kept as {stored.media} (expected plain data)")
        try:
            return canonical.loads(self._buffer.get(stored.digest))
        except StellwerkError as cause:
            raise Untestable(f"the output of {name!r} cannot be read: {cause.message}") from cause


def _several(given: Stored | list[Stored]) -> list[Stored]:
    return [given] if isinstance(given, Stored) else given
