"""A plan in words: for people, in a terminal."""

from __future__ import annotations

from stellwerk.pipelines.model import SINGLE, Branch, Group, Node, Plan, Ref, Resources
from stellwerk.pipelines.rules.shape import Shape

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
    """The plan as lines: its call, then each node with what goes into it, inside its branches and loops."""
    params = ", ".join(f"{name}={value!r}" for name, value in plan.params.items())
    lines = [f"{plan.name}({params})"]
    shape = Shape(plan)
    width = max((len(node.id) for node in plan.nodes), default=0)
    kinds = max((len(node.kind) for node in plan.nodes), default=0)
    said: set[str] = set()
    for node in shape.order:
        depth = _open(shape, node.within, said, lines)
        facts = ", ".join(_facts(node))
        lines.append(f"{'  ' * (depth + 1)}{node.id:<{width}}  {node.kind:<{kinds}}  {facts}".rstrip())
    lines += [f"  {name} = {_name(ref)}" for name, ref in plan.results.items()]
    return lines


def _open(shape: Shape, group: str, said: set[str], lines: list[str]) -> int:
    """Write the headings of the groups that a node stands in, unless they were written; how deep it stands."""
    if not group:
        return 0
    depth = _open(shape, shape.groups[group].within, said, lines)
    if group not in said:
        said.add(group)
        lines.append(f"{'  ' * (depth + 1)}{heading(shape.groups[group])}:")
    return depth + 1


def heading(group: Group) -> str:
    """A branch or loop in words: `when score > 0.7`, `each of months`."""
    if isinstance(group, Branch):
        compared = "" if group.test == "true" else f" {_TESTS[group.test]} {group.value!r}"
        return f"{'unless' if group.negated else 'when'} {_name(group.subject)}{compared}"
    over = _name(group.items) if group.items is not None else f"{list(group.values)!r}"
    return f"each of {over}" + (f", {group.at_once} at once" if group.at_once else "")


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
