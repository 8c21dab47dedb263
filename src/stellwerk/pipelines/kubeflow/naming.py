"""What the nodes and groups of a plan are called as tasks, and what each gives: the same here and in every pod.

A name is made of the plan alone, so that a pod finds its inputs without being told how they are called.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from stellwerk.core import canonical
from stellwerk.pipelines.model import EITHER, ITEM, RESOLVED, WAIT, Branch, Loop, Node, Plan, Ref

TAKEN = "taken"
ITEMS = "items"
"""Outputs of the tasks that judge a branch and list the items of a loop."""


@dataclass(frozen=True, slots=True)
class Channel:
    """What a task gives under a key. Neither part holds `--`, so that the name of a channel can be taken apart."""

    task: str
    key: str

    @property
    def name(self) -> str:
        return f"{self.task}--{self.key}"


class Names:
    """The names of the tasks of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.nodes = {node.id: node for node in plan.nodes}
        self.groups = {group.id: group for group in plan.groups}
        self._taken: set[str] = {"steps", "close", "register"}
        self._names = {one: self._free(one) for one in (*self.groups, *self.nodes)}

    def _free(self, wanted: str) -> str:
        short = re.sub(r"[^a-z0-9]+", "-", wanted.lower()).strip("-")[:80].strip("-") or "step"
        number, name = 1, short
        while name in self._taken:
            number += 1
            name = f"{short}-{number}"
        self._taken.add(name)
        return name

    def of(self, name: str, seed: int | None = None) -> str:
        """The task of a node, or of one seed of it, or of a group."""
        return self._names[name] if seed is None else f"{self._names[name]}-seed-{seed}"

    def aside(self, what: str, name: str) -> str:
        """A task that the plan does not have, such as one that judges a branch."""
        return f"{what}-of-{self._names[name]}"

    def channels(self, ref: Ref) -> tuple[Channel, ...]:
        """What a reference stands for: one channel, or one for each seed."""
        if ref.node in self.groups:
            return (Channel(self.of(ref.node), ITEM),)
        node = self.nodes[ref.node]
        seeds = range(node.seeds) if node.seeds else (None,)
        return tuple(Channel(self.of(node.id, seed), ref.output) for seed in seeds)

    def judges(self, branch: Branch) -> Channel:
        """Who says whether a branch is taken: the task that gives its subject, or one of its own."""
        if self._tells(branch.subject):
            number = self.tests[branch.subject].index(_test(branch))
            return Channel(self.of(branch.subject.node), f"{branch.subject.output}-test-{number}")
        first = next(other for other in self.plan.groups if isinstance(other, Branch) and _same(other, branch))
        return Channel(self.aside("judge", first.id), TAKEN)

    def lists(self, loop: Loop) -> Channel | None:
        """Who lists the items of a loop; None if the plan does."""
        if loop.items is None:
            return None
        if self._tells(loop.items) and self.loops(loop.id) == self.loops(loop.items.node):
            return Channel(self.of(loop.items.node), f"{loop.items.output}-items")
        return Channel(self.aside("list", loop.id), ITEMS)

    def told(self, node: Node) -> tuple[tuple[str, Branch | Loop], ...]:
        """What a node's task gives besides its outputs: by key the branch that it judges, the loop that it counts."""
        found: dict[str, Branch | Loop] = {}
        for group in self.plan.groups:
            channel = self.judges(group) if isinstance(group, Branch) else self.lists(group)
            if channel is not None and channel.task == self.of(node.id):
                found.setdefault(channel.key, group)
        return tuple(found.items())

    @cached_property
    def tests(self) -> dict[Ref, list[bytes]]:
        """By subject the different conditions that are put to it."""
        found: dict[Ref, list[bytes]] = {}
        for group in self.plan.groups:
            if isinstance(group, Branch) and _test(group) not in found.setdefault(group.subject, []):
                found[group.subject].append(_test(group))
        return found

    def within(self, name: str) -> str:
        """The innermost group around a node or group."""
        return (self.nodes.get(name) or self.groups[name]).within

    def scope(self, name: str) -> tuple[str, ...]:
        """The groups around a node or group, from the outermost on."""
        path: list[str] = []
        group = self.within(name)
        while group:
            path.append(group)
            group = self.groups[group].within
        return tuple(reversed(path))

    def loops(self, name: str) -> tuple[str, ...]:
        """The loops among the groups around a node or group."""
        return tuple(group for group in self.scope(name) if isinstance(self.groups[group], Loop))

    def _tells(self, ref: Ref) -> bool:
        """Whether the task behind a reference runs code of ours, once, and so can look at its own output."""
        node = self.nodes.get(ref.node)
        return node is not None and not node.seeds and node.function not in {*RESOLVED, EITHER, WAIT}


def _test(branch: Branch) -> bytes:
    return canonical.dumps([branch.test, branch.value])


def _same(one: Branch, other: Branch) -> bool:
    return (one.subject, one.within, _test(one)) == (other.subject, other.within, _test(other))


def complementary(one: Branch, other: Branch) -> bool:
    """Whether exactly one of two branches is taken."""
    return _same(one, other) and one.negated != other.negated
