"""The static shape of a plan: whether it can be executed, in which order, and who waits for whom.

Branches and loops are groups. A group, like a node, is something to be settled: a branch by a look at its subject, a
loop by counting its items. What stands in a group waits for it; what stands in a loop exists once for each item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from stellwerk.core.clock import parse_duration
from stellwerk.core.errors import Invalid
from stellwerk.pipelines.model import (
    BUILTIN,
    EITHER,
    FILE,
    ITEM,
    RESOLVED,
    Branch,
    Group,
    Loop,
    Node,
    Plan,
    Ref,
    parse_size,
)

MAX_NODES = 10_000
MAX_DEPTH = 16
PORTABLE = {
    BUILTIN + "command": "stellwerk.pipelines.commands:command",
    BUILTIN + "notebook": "stellwerk.workspace.notebooks:notebook",
    BUILTIN + "marimo": "stellwerk.workspace.notebooks:marimo",
}
"""Built-in steps that need nothing but their inputs, so that any executor can run them: where their functions are."""

PURE = (BUILTIN + "split", BUILTIN + "evaluate")
"""Built-in steps whose results say nothing of the workspace in which they were computed."""
LASTING = frozenset({"deploy", "gate", "publish", "promote", "release"})
"""Kinds of steps that change something outside: what they were made from is durable before they start."""


def travels(node: Node) -> bool:
    """Whether the result of a step means the same in every workspace, so that another one may give it.

    What a person decided, which contract held and what was deployed is of one workspace.
    """
    own = node.function.startswith(BUILTIN) and node.function not in {*PORTABLE, *PURE}
    return node.cache and node.kind not in LASTING and not own


@dataclass(frozen=True, slots=True)
class Need:
    """That something waits for a node or group: with `lenient`, it may also have been omitted."""

    target: str
    lenient: bool = False


class Box(NamedTuple):
    """What steps are drawn in: a group, or a call of a pipeline inside the pipeline."""

    name: str
    call: bool = False


class Shape:
    """A plan that was checked, with what follows from it."""

    def __init__(self, plan: Plan) -> None:
        check(plan)
        self.plan = plan
        self.nodes = {node.id: node for node in plan.nodes}
        self.groups: dict[str, Group] = {group.id: group for group in plan.groups}
        self._scopes: dict[str, tuple[str, ...]] = {"": ()}
        for name in (*self.groups, *self.nodes):
            self._scopes[name] = self._scope(name)
        self.loops = {
            name: tuple(one for one in scope if isinstance(self.groups[one], Loop))
            for name, scope in self._scopes.items()
        }
        self._check_groups()

    def within(self, name: str) -> str:
        """The innermost group that a node or group stands in."""
        return (self.nodes.get(name) or self.groups[name]).within

    def around(self, name: str) -> tuple[Box, ...]:
        """The calls of pipelines and the groups that a node or group stands in, from the outermost on."""
        boxes: list[Box] = []
        for group in self._scopes[name]:
            calls = self.groups[group].calls[sum(box.call for box in boxes) :]
            boxes += [*(Box(one, call=True) for one in calls), Box(group)]
        calls = (self.nodes.get(name) or self.groups[name]).calls[sum(box.call for box in boxes) :]
        return (*boxes, *(Box(one, call=True) for one in calls))

    def _scope(self, name: str) -> tuple[str, ...]:
        path: list[str] = []
        group = self.within(name)
        while group:
            if len(path) > MAX_DEPTH:
                raise Invalid(f"groups are nested more than {MAX_DEPTH} deep around {name!r}", code="invalid-plan")
            path.append(group)
            group = self.groups[group].within
        return tuple(reversed(path))

    @cached_property
    def children(self) -> dict[str, tuple[str, ...]]:
        """By group: the groups and the nodes that are to be settled directly inside; under "" those in none."""
        found: dict[str, list[str]] = {"": [], **{name: [] for name in self.groups}}
        for group in self.plan.groups:
            found[group.within].append(group.id)
        for node in self.order:
            if node.function not in RESOLVED:
                found[node.within].append(node.id)
        return {name: tuple(names) for name, names in found.items()}

    @cached_property
    def needs(self) -> dict[str, tuple[Need, ...]]:
        """By node and group: for what it waits."""
        return {name: tuple(self._needs(name)) for name in (*self.groups, *self.nodes)}

    def _needs(self, name: str) -> Iterator[Need]:
        within = self.within(name)
        if within and not isinstance(self.groups[within], Loop):
            yield Need(within)  # what stands in a loop is only made once the loop is settled
        node = self.nodes.get(name)
        seen: dict[str, bool] = {}
        for ref in self.refs(name):
            if ref.node not in self.groups and self.nodes[ref.node].function not in RESOLVED:
                several = len(self.loops[ref.node]) > len(common(self.loops[name], self.loops[ref.node]))
                seen[ref.node] = several or (node is not None and node.function == EITHER)
        for other in node.after if node else ():
            seen.setdefault(other, True)
        yield from (Need(target, lenient) for target, lenient in seen.items())

    def refs(self, name: str) -> tuple[Ref, ...]:
        """The references that a node takes as inputs, or that settle a group."""
        node = self.nodes.get(name)
        if node is not None:
            return tuple(node.inputs.values())
        group = self.groups[name]
        if isinstance(group, Branch):
            return (group.subject,)
        return () if group.items is None else (group.items,)

    @cached_property
    def order(self) -> tuple[Node, ...]:
        """The nodes so that each comes after what it waits for, otherwise as written."""
        if self._sorted_already():
            return self.plan.nodes
        placed: dict[str, None] = {}
        for start in (*self.groups, *self.nodes):
            path: dict[str, None] = {}
            stack = [start]
            while stack:
                name = stack[-1]
                missing = next((other for other in self._before(name) if other not in placed), None)
                if name in placed or missing is None:
                    placed.setdefault(name)
                    path.pop(stack.pop(), None)
                elif missing in path or missing == name:
                    raise Invalid(f"node {missing!r} waits for itself", code="cyclic-plan")
                else:
                    path[name] = None
                    stack.append(missing)
        return tuple(self.nodes[name] for name in placed if name in self.nodes)

    def _before(self, name: str) -> Iterable[str]:
        within = self.within(name)
        yield from (within,) if within else ()
        yield from (ref.node for ref in self.refs(name))
        yield from self.nodes[name].after if name in self.nodes else ()

    def _sorted_already(self) -> bool:
        if self.groups:
            return False
        seen: set[str] = set()
        for node in self.plan.nodes:
            if any(ref.node not in seen for ref in node.inputs.values()) or any(
                one not in seen for one in node.after
            ):
                return False
            seen.add(node.id)
        return True

    def _check_groups(self) -> None:
        for group in self.plan.groups:
            for ref in self.refs(group.id):
                self._check_item(group.id, ref)
                node = self.nodes.get(ref.node)
                if isinstance(group, Branch) and node is not None and self._gives_list(group.id, node):
                    raise Invalid(
                        f"the condition {group.id!r} looks at {ref.node!r}, which gives a list (expected one value)",
                        code="invalid-plan",
                        hint="reduce the list to one value in a step",
                    )
        for node in self.plan.nodes:
            for ref in node.inputs.values():
                self._check_item(node.id, ref)

    def _gives_list(self, user: str, node: Node) -> bool:
        return bool(node.seeds) or len(self.loops[node.id]) > len(common(self.loops[user], self.loops[node.id]))

    def _check_item(self, user: str, ref: Ref) -> None:
        if ref.node in self.groups and ref.node not in self._scopes[user]:
            raise Invalid(
                f"{user!r} uses the item of {ref.node!r} outside of that loop",
                code="invalid-plan",
                hint="use the output of a step inside the loop; outside it is the list of all of them",
            )


def common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """The loops that two scopes share, from the outermost on."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return one[:count]


def order(plan: Plan) -> tuple[Node, ...]:
    """The nodes so that each comes after its inputs, otherwise as written. `Invalid` if that is impossible."""
    return Shape(plan).order


def check(plan: Plan) -> None:
    """Refuse a plan with repeated ids, references to nothing, or too many nodes."""
    if len(plan.nodes) + len(plan.groups) > MAX_NODES:
        raise Invalid(f"the plan has {len(plan.nodes)} nodes (at most {MAX_NODES})", code="plan-too-large")
    outputs: dict[str, tuple[str, ...]] = {}
    for one in (*plan.groups, *plan.nodes):
        if not one.id or set(one.id) & set("#[]"):
            raise Invalid(f"{one.id!r} cannot be the id of a node", code="invalid-plan")
        if one.id in outputs:
            raise Invalid(f"two nodes are called {one.id!r}", code="invalid-plan")
        outputs[one.id] = one.outputs if isinstance(one, Node) else (ITEM,) if isinstance(one, Loop) else ()
    groups = {group.id for group in plan.groups}
    for one in (*plan.groups, *plan.nodes):
        if not all(isinstance(call, str) and call for call in one.calls):
            raise Invalid(f"{one.id!r} comes from the calls {one.calls!r} (expected names)", code="invalid-plan")
        if one.within and one.within not in groups:
            raise Invalid(f"{one.id!r} stands in the group {one.within!r}, which does not exist", code="invalid-plan")
    for where, ref in _references(plan):
        if ref.output not in outputs.get(ref.node, ()):
            raise Invalid(
                f"{where} refers to output {ref.output!r} of {ref.node!r}, which does not exist", code="invalid-plan"
            )
    known = {node.id: node.function for node in plan.nodes}
    for node in plan.nodes:
        files = {name for name, ref in node.inputs.items() if known.get(ref.node) == FILE}
        if node.aside and (node.function != BUILTIN + "command" or not set(node.aside) <= files):
            raise Invalid(
                f"{node.id!r} sets {list(node.aside)} aside (expected files of a command)", code="invalid-plan"
            )
        if not set(node.after) <= known.keys():
            raise Invalid(f"{node.id!r} comes after {node.after}, which do not all exist", code="invalid-plan")


def _references(plan: Plan) -> Iterable[tuple[str, Ref]]:
    for node in plan.nodes:
        for argument, ref in node.inputs.items():
            yield f"argument {argument!r} of {node.id!r}", ref
    for group in plan.groups:
        if isinstance(group, Branch):
            yield f"the condition {group.id!r}", group.subject
        elif group.items is not None:
            yield f"the loop {group.id!r}", group.items
    for name, ref in plan.results.items():
        yield f"result {name!r}", ref


def seeds_of(node: Node) -> tuple[int | None, ...]:
    """The seeds of a node's tasks; one task without seed if it declares none."""
    return tuple(range(node.seeds)) if node.seeds else (None,)


def task_id(name: str, at: tuple[int, ...] = (), seed: int | None = None) -> str:
    """The name of a task: its node or group, the indices of its loops, its seed: `train[3]#0`."""
    return f"{name}{''.join(f'[{index}]' for index in at)}{'' if seed is None else f'#{seed}'}"


def isolated(node: Node) -> bool:
    """Whether something is declared that only an executor with its own process can keep."""
    special = node.timeout or node.resources.memory or node.environment
    return bool(special) and (not node.function.startswith(BUILTIN) or node.function in PORTABLE)


def limits(node: Node) -> tuple[float | None, int | None]:
    """Seconds and bytes that one attempt may use."""
    seconds = parse_duration(node.timeout).total_seconds() if node.timeout else None
    return seconds, parse_size(node.resources.memory) if node.resources.memory else None
