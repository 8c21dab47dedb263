"""Graphs as trees of text: causes below effects, or effects below causes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stellwerk.cli.output import Drawing, Span, Tone, dim, strong
from stellwerk.core.digest import short

if TYPE_CHECKING:
    from stellwerk.governance.model import Graph, Node

MARKS: dict[str, tuple[str, Tone]] = {
    "verified": ("✓", "good"),
    "failed": ("✗", "bad"),
    "unproven": ("?", "warn"),
    "plain": ("·", "dim"),
    "waiting": ("…", "warn"),
    "omitted": ("–", "dim"),
}


def tree(graph: Graph, *, down: bool = False) -> Drawing:
    """One line per use of a node; what stands below a node is drawn once.

    Args:
        down: Draw effects below causes; else causes below effects.
    """
    return Drawing(lines=tuple(_lines(graph, down=down)))


def _lines(graph: Graph, *, down: bool) -> Iterator[tuple[Span, ...]]:
    nodes = {node.id: node for node in graph.nodes}
    below: dict[str, list[tuple[str, str]]] = {name: [] for name in nodes}
    inner: set[str] = set()
    for edge in graph.edges:
        parent, child = (edge.source, edge.target) if down else (edge.target, edge.source)
        if parent in below and child in nodes:
            below[parent].append((child, edge.label))
            inner.add(child)
    drawn: set[str] = set()
    roots = [name for name in nodes if name not in inner] or list(nodes)[:1]
    # An explicit stack, because a chain of dataset versions may be longer than Python likes to recurse.
    waiting = [(root, "", "", "") for root in reversed(roots)]
    while waiting:
        name, label, lead, guide = waiting.pop()
        beside = [nodes[child] for child, _ in below[name] if _beside(nodes[child]) and not below[child]]
        children = [(child, text) for child, text in below[name] if nodes[child] not in beside]
        seen = name in drawn and bool(below[name])
        yield (*_node(nodes[name], label, lead + guide), *(_seen() if seen else _rest(nodes[name], beside)))
        if seen:
            continue
        drawn.add(name)
        inside = lead + {"": "", "├─ ": "│  ", "└─ ": "   "}[guide]
        for index, (child, text) in reversed(list(enumerate(children))):
            text = f"as {text}" if nodes[name].kind == "run" and not down else text
            waiting.append((child, text, inside, "└─ " if index == len(children) - 1 else "├─ "))


def _beside(node: Node) -> bool:
    """Every run has these two; where nothing is wrong with them, they need no line of their own."""
    return node.kind in ("code", "environment") and node.state == "verified"


def _node(node: Node, label: str, lead: str) -> tuple[Span, ...]:
    mark, tone = MARKS[node.state]
    pieces = (dim(lead), Span(mark, tone), dim(f" {node.kind} "), strong(node.title))
    plain = label.removeprefix("as ") in ("", node.kind, "made", "used")
    return pieces if plain else (*pieces, dim(f"  {label}"))


def _seen() -> tuple[Span, ...]:
    return (dim("  (above)"),)


def _rest(node: Node, beside: list[Node]) -> tuple[Span, ...]:
    pieces = [Span(f"  {node.detail}", "bad" if node.state == "failed" else "plain")] if node.detail else []
    pieces += [dim(f"  {short(node.digest)}")] if node.digest and short(node.digest) != node.title else []
    for one in beside:
        mark, tone = MARKS[one.state]
        pieces += [Span(f"  {mark}", tone), dim(f" {one.kind}")]
    return tuple(pieces)
