"""Places the nodes of a graph in columns from causes to effects: layering, ordering, heights. No markup.

The method is Sugiyama's: longest-path layers, points for links that cross layers (shared by all links of one
source, so they read as one trunk), barycentre ordering, then heights by isotonic regression, which keeps every
distance while moving each node as close as possible to its neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from stellwerk.governance.model import Graph, Node

WIDTH, HEIGHT = 146.0, 56.0
GAP_X, GAP_Y = 38.0, 16.0
BEND = 10.0
"""Distance of a passing link from whatever is above or below it."""
MARGIN = 12.0
SWEEPS = 16
STRAIGHT = 8

Pairs = list[tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A node and its upper left corner."""

    index: int
    node: Node
    layer: int
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A link as an SVG path from the right side of its source to the left side of its target."""

    source: int
    target: int
    label: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A drawing plan."""

    width: float
    height: float
    nodes: tuple[Placed, ...]
    wires: tuple[Wire, ...]
    undrawn: int
    """Links that could not be drawn from left to right: part of a loop, or to something that is not there."""


@dataclass(slots=True)
class _Rank:
    """Nodes and passing points by layer; items 0..n-1 are nodes, the rest are points."""

    nodes: int
    layer: list[int]
    columns: list[list[int]]
    links: Pairs
    routes: dict[tuple[int, int], list[int]]


def lay_out(graph: Graph) -> Layout:
    """Place every node. The same graph always gives the same drawing."""
    nodes = tuple(
        {node.id: node for node in reversed(graph.nodes)}[i] for i in dict.fromkeys(n.id for n in graph.nodes)
    )
    position = {node.id: index for index, node in enumerate(nodes)}
    labels: dict[tuple[int, int], str] = {}
    undrawn = 0
    for edge in graph.edges:
        source, target = position.get(edge.source), position.get(edge.target)
        if source is None or target is None or source == target:
            undrawn += 1
        else:
            labels.setdefault((source, target), edge.label)
    links = without_loops(len(nodes), list(labels))
    undrawn += len(labels) - len(links)
    rank = _rank(len(nodes), links, layers(len(nodes), links))
    _order(rank)
    middle = _heights(rank)
    return _drawing(nodes, rank, middle, {pair: labels[pair] for pair in links}, undrawn)


def without_loops(count: int, links: Pairs) -> Pairs:
    """The links that remain when every link back to a node still being visited is dropped."""
    after: dict[int, list[int]] = defaultdict(list)
    for source, target in links:
        after[source].append(target)
    state = [0] * count
    back: set[tuple[int, int]] = set()
    for root in range(count):
        if state[root]:
            continue
        state[root] = 1
        path = [(root, iter(after[root]))]
        while path:
            here, rest = path[-1]
            following = next(rest, None)
            if following is None:
                state[here] = 2
                path.pop()
            elif state[following] == 1:
                back.add((here, following))
            elif state[following] == 0:
                state[following] = 1
                path.append((following, iter(after[following])))
    return [pair for pair in links if pair not in back]


def layers(count: int, links: Pairs) -> list[int]:
    """The longest path to each node; then nodes with more effects than causes move next to their first effect."""
    before: dict[int, list[int]] = defaultdict(list)
    after: dict[int, list[int]] = defaultdict(list)
    for source, target in links:
        after[source].append(target)
        before[target].append(source)
    waiting = [len(before[i]) for i in range(count)]
    ready = [i for i in range(count) if not waiting[i]]
    layer = [0] * count
    for here in ready:  # grows while it is read: a topological order
        for target in after[here]:
            layer[target] = max(layer[target], layer[here] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    for here in reversed(ready):
        if after[here] and len(after[here]) >= len(before[here]):
            layer[here] = min(layer[t] for t in after[here]) - 1
    return layer


def _rank(count: int, links: Pairs, layer: list[int]) -> _Rank:
    columns: list[list[int]] = [[] for _ in range(max(layer, default=-1) + 1)]
    for index in range(count):
        columns[layer[index]].append(index)
    rank = _Rank(nodes=count, layer=list(layer), columns=columns, links=[], routes={})
    trunks: dict[int, list[int]] = defaultdict(list)
    seen: set[tuple[int, int]] = set()
    for source, target in links:
        trunk = trunks[source]
        while len(trunk) < layer[target] - layer[source] - 1:
            point = len(rank.layer)
            rank.layer.append(layer[source] + len(trunk) + 1)
            columns[rank.layer[point]].append(point)
            trunk.append(point)
        route = [source, *trunk[: layer[target] - layer[source] - 1], target]
        rank.routes[source, target] = route
        for pair in pairwise(route):
            if pair not in seen:
                seen.add(pair)
                rank.links.append(pair)
    return rank


def _order(rank: _Rank) -> None:
    """Sweep right and left, sorting each column by the mean place of its neighbours; keep the fewest crossings."""
    before, after = _neighbours(rank)
    best, fewest = [list(c) for c in rank.columns], crossings(rank.columns, after)
    for sweep in range(SWEEPS if len(rank.layer) < 4000 else 3):
        if not fewest:
            break
        rightwards = sweep % 2 == 0
        columns = rank.columns if rightwards else rank.columns[::-1]
        for fixed, free in pairwise(columns):
            place = {item: i / max(len(fixed) - 1, 1) for i, item in enumerate(fixed)}
            _sort_column(free, before if rightwards else after, place)
        now = crossings(rank.columns, after)
        if now < fewest:
            best, fewest = [list(c) for c in rank.columns], now
    rank.columns = best


def _sort_column(column: list[int], neighbours: Sequence[Sequence[int]], place: dict[int, float]) -> None:
    own = {item: i / max(len(column) - 1, 1) for i, item in enumerate(column)}
    key = {
        item: sum(place[n] for n in neighbours[item]) / len(neighbours[item]) if neighbours[item] else own[item]
        for item in column
    }
    column.sort(key=lambda item: key[item])


def _neighbours(rank: _Rank) -> tuple[list[list[int]], list[list[int]]]:
    before: list[list[int]] = [[] for _ in rank.layer]
    after: list[list[int]] = [[] for _ in rank.layer]
    for source, target in rank.links:
        after[source].append(target)
        before[target].append(source)
    return before, after


def crossings(columns: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> int:
    """How many pairs of links between neighbouring columns cross, counted with a Fenwick tree."""
    total = 0
    for left, right in pairwise(columns):
        place = {item: i for i, item in enumerate(right)}
        tree, seen = [0] * (len(right) + 1), 0
        for item in left:
            ends = sorted(place[t] for t in after[item])
            for end in ends:
                total += seen - _prefix(tree, end + 1)
            for end in ends:
                _add(tree, end + 1)
            seen += len(ends)
    return total


def _prefix(tree: list[int], index: int) -> int:
    total = 0
    while index > 0:
        total += tree[index]
        index -= index & -index
    return total


def _add(tree: list[int], index: int) -> None:
    while index < len(tree):
        tree[index] += 1
        index += index & -index


def _heights(rank: _Rank) -> list[float]:
    """The middle of each item, from the top of the drawing."""
    before, after = _neighbours(rank)
    middle = [0.0] * len(rank.layer)
    for column in rank.columns:
        gaps = _gaps(rank, column)
        for item, y in zip(column, gaps, strict=True):
            middle[item] = y - gaps[-1] / 2
    for sweep in range(SWEEPS if len(rank.layer) < 4000 else 4):
        columns = rank.columns if sweep % 2 == 0 else rank.columns[::-1]
        for column in columns:
            wished = [_wish(item, before[item] + after[item], middle, rank.nodes) for item in column]
            for item, y in zip(column, apart(wished, _gaps(rank, column)), strict=True):
                middle[item] = y
    top = min((middle[c[0]] - _half(rank, c[0]) for c in rank.columns if c), default=0.0)
    return [round(y - top + MARGIN, 2) for y in middle]


def _wish(item: int, around: Sequence[int], middle: Sequence[float], nodes: int) -> float:
    """The mean height of the neighbours; passing points count more for each other, which keeps trunks straight."""
    weights = [STRAIGHT if item >= nodes and n >= nodes else 1 for n in around]
    return sum(w * middle[n] for w, n in zip(weights, around, strict=True)) / sum(weights) if around else middle[item]


def _half(rank: _Rank, item: int) -> float:
    return HEIGHT / 2 if item < rank.nodes else 0.0


def _gaps(rank: _Rank, column: Sequence[int]) -> list[float]:
    """The least distance of each item's middle from the first one's."""
    gaps = [0.0] if column else []
    for above, below in pairwise(column):
        both = above < rank.nodes and below < rank.nodes
        gaps.append(gaps[-1] + _half(rank, above) + _half(rank, below) + (GAP_Y if both else BEND))
    return gaps


def apart(wished: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """The places closest to those wished, in squares, that keep order and distances: pool adjacent violators."""
    pools: list[tuple[float, int]] = []
    for wish, gap in zip(wished, gaps, strict=True):
        total, count = wish - gap, 1
        while pools and pools[-1][0] / pools[-1][1] >= total / count:
            before, members = pools.pop()
            total, count = total + before, count + members
        pools.append((total, count))
    level = [total / count for total, count in pools for _ in range(count)]
    return [base + gap for base, gap in zip(level, gaps, strict=True)]


def _drawing(
    nodes: Sequence[Node],
    rank: _Rank,
    middle: Sequence[float],
    labels: dict[tuple[int, int], str],
    undrawn: int,
) -> Layout:
    left = [MARGIN + layer * (WIDTH + GAP_X) for layer in rank.layer]
    placed = tuple(
        Placed(index=i, node=node, layer=rank.layer[i], x=left[i], y=round(middle[i] - HEIGHT / 2, 2))
        for i, node in enumerate(nodes)
    )
    wires = tuple(
        Wire(source=s, target=t, label=label, path=_path(rank.routes[s, t], left, middle))
        for (s, t), label in labels.items()
    )
    return Layout(
        width=2 * MARGIN + max(len(rank.columns) * (WIDTH + GAP_X) - GAP_X, 0.0),
        height=round(max(middle, default=0.0) + HEIGHT / 2 + MARGIN, 2),
        nodes=placed,
        wires=wires,
        undrawn=undrawn,
    )


def _path(route: Sequence[int], left: Sequence[float], middle: Sequence[float]) -> str:
    """Curves in the gaps between columns, level lines through them."""
    parts = [f"M{left[route[0]] + WIDTH:g} {middle[route[0]]:g}"]
    for here, there in pairwise(route):
        x0, x1, y0, y1 = left[here] + WIDTH, left[there], middle[here], middle[there]
        half = (x0 + x1) / 2
        parts.append(f"C{half:g} {y0:g} {half:g} {y1:g} {x1:g} {y1:g}")
        if there != route[-1]:
            parts.append(f"H{x1 + WIDTH:g}")
    return "".join(parts)
