"""A plan in words: for people, in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from stellwerk.pipelines.model import SINGLE, Branch, Group, Node, Plan, Ref, Resources
from stellwerk.pipelines.rules.shape import Box, Shape

Tree = dict["Box | str", "Node | Tree"]

_TESTS = {
    "true": "",
    "equals": "=",
    "above": ">",
    "below": "<",
    "at_least": "≥",
    "at_most": "≤",
    "among": "in",
}


def describe(plan: Plan) -> list[str]:
    """The plan as lines: its call, then each node with what goes into it, inside its branches, loops and pipelines."""
    params = ", ".join(f"{name}={value!r}" for name, value in plan.params.items())
    lines = [f"{plan.name}({params})"]
    shape = Shape(plan)
    width = max((len(node.id) for node in plan.nodes), default=0)
    kinds = max((len(node.kind) for node in plan.nodes), default=0)
    for depth, here in _lines(_tree(shape), 1):
        if isinstance(here, Box):
            said = called(here.name) if here.call else heading(shape.groups[here.name])
            lines.append(f"{'  ' * depth}{said}:")
        else:
            facts = ", ".join(_facts(here))
            lines.append(f"{'  ' * depth}{here.id:<{width}}  {here.kind:<{kinds}}  {facts}".rstrip())
    lines += [f"  {name} = {_name(ref)}" for name, ref in plan.results.items()]
    return lines


def _tree(shape: Shape) -> Tree:
    """What stands directly in the plan, and in each of its boxes: each of them where its first node is."""
    tree: Tree = {}
    for node in _readable(shape):
        inner = tree
        for box in shape.around(node.id):
            inner = inner.setdefault(box, {})  # type: ignore[assignment]  # by boxes there are only trees
        inner[node.id] = node
    return tree


def _readable(shape: Shape) -> tuple[Node, ...]:
    """The nodes as they were written, if each comes after what it uses; otherwise in their order."""
    seen: set[str] = set(shape.groups)
    for node in shape.plan.nodes:
        groups = [box.name for box in shape.around(node.id) if not box.call]
        if not seen >= {ref.node for name in (*groups, node.id) for ref in shape.refs(name)}:
            return shape.order
        seen.add(node.id)
    return shape.plan.nodes


def _lines(tree: Tree, depth: int) -> Iterator[tuple[int, Box | Node]]:
    for here, inner in tree.items():
        if isinstance(inner, Node):
            yield depth, inner
        elif isinstance(here, Box):
            yield depth, here
            yield from _lines(inner, depth + 1)


def heading(group: Group) -> str:
    """A branch or loop in words: `when score > 0.7`, `each of months`."""
    if isinstance(group, Branch):
        compared = "" if group.test == "true" else f" {_TESTS[group.test]} {group.value!r}"
        return f"{'unless' if group.negated else 'when'} {_name(group.subject)}{compared}"
    over = _name(group.items) if group.items is not None else f"{list(group.values)!r}"
    return f"each of {over}" + (f", {group.at_once} at once" if group.at_once else "")


def called(name: str) -> str:
    """A call of a pipeline inside the pipeline in words."""
    return f"pipeline {name}"


def _facts(node: Node) -> list[str]:
    facts = [f"{name} <- {_name(ref)}" for name, ref in node.inputs.items()]
    facts += [f"{name}={value!r}" for name, value in node.params.items()]
    facts += [f"seeds {node.seeds}"] if node.seeds else []
    facts += [f"retries {node.retries}"] if node.retries else []
    facts += [f"timeout {node.timeout}"] if node.timeout else []
    facts += [f"memory {node.resources.memory}"] if node.resources.memory else []
    facts += [f"cpus {node.resources.cpus:g}"] if node.resources.cpus != Resources().cpus else []
    facts += [f"gpus {node.resources.gpus:g}"] if node.resources.gpus else []
    facts += [f"{name} {amount:g}" for name, amount in node.resources.custom.items()]
    facts += [f"after {', '.join(node.after)}"] if node.after else []
    facts += [] if node.cache else ["never cached"]
    return facts


def _name(ref: Ref) -> str:
    return ref.node if ref.output == SINGLE else f"{ref.node}.{ref.output}"
