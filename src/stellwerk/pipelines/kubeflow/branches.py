"""Where branches meet: which `sw.either` Kubeflow can express, and what it passes on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stellwerk.core.errors import Invalid
from stellwerk.pipelines.kubeflow.naming import Channel, Names, complementary
from stellwerk.pipelines.model import EITHER, SINGLE, Branch, Node, Ref


@dataclass(frozen=True, slots=True)
class Meeting:
    """An `either` of a plan.

    Args:
        refs: What it chooses from, as far as it matters: what follows something that is always there is never chosen.
        branches: The branches in which these stand; where the second stands in none, it is taken if the first is not.
    """

    node: Node
    refs: tuple[Ref, ...]
    branches: tuple[Branch, ...]


class Meetings:
    """All of them, and what references stand for with them in the way."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.by_node = {node.id: _meeting(names, node) for node in names.plan.nodes if node.function == EITHER}
        self.clusters = _clusters(one for one in self.by_node.values() if one.branches)

    def cluster(self, branch: str) -> str:
        """The first of the branches that meet this one; empty if none does."""
        return next((min(cluster) for cluster in self.clusters if branch in cluster), "")

    def channels(self, ref: Ref) -> tuple[Channel, ...]:
        """What a reference stands for; an `either` whose first input is always there is that input."""
        meeting = self.by_node.get(ref.node)
        if meeting is None:
            return self._names.channels(ref)
        return self.channel(meeting) if meeting.branches else self.channels(meeting.refs[0])

    def channel(self, meeting: Meeting) -> tuple[Channel, ...]:
        """What an `either` gives."""
        return (Channel(self._names.of(meeting.node.id), SINGLE),)


def _meeting(names: Names, node: Node) -> Meeting:
    refs = tuple(node.inputs.values())[:2]
    inner = [_inside(names, node, ref) for ref in refs]
    if not inner[0]:
        return Meeting(node, refs[:1], ())
    first, second = (names.groups[path[-1]] if path else None for path in inner)
    simple = all(len(path) <= 1 for path in inner) and isinstance(first, Branch)
    single = all(ref.node in names.groups or not names.nodes[ref.node].seeds for ref in refs)
    if simple and single and isinstance(first, Branch):
        if second is None:
            return Meeting(node, refs, (first,))
        if isinstance(second, Branch) and complementary(first, second):
            return Meeting(node, refs, (first, second))
    raise Invalid(
        f"{node.id!r} chooses among {', '.join(ref.node for ref in node.inputs.values())} in a way that Kubeflow "
        "cannot (expected two single values: of a branch and its opposite, or of a branch and what is always there)",
        code="not-in-kubeflow",
        hint="choose between two at a time, the inner ones inside of the branch around them",
    )


def _inside(names: Names, node: Node, ref: Ref) -> tuple[str, ...]:
    """The groups around a reference that are not around the `either` as well."""
    around = (*names.scope(ref.node), ref.node) if ref.node in names.groups else names.scope(ref.node)
    return around[len(names.scope(node.id)) :]


def _clusters(found: Iterable[Meeting]) -> list[set[str]]:
    clusters: list[set[str]] = []
    for meeting in found:
        mine = {branch.id for branch in meeting.branches}
        for other in [one for one in clusters if one & mine]:
            clusters.remove(other)
            mine |= other
        clusters.append(mine)
    return clusters
