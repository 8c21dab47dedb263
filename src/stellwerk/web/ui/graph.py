"""Places the nodes of a graph in columns from causes to effects: layering, ordering, heights. No markup.

The method is Sugiyama's: longest-path layers, points for links that cross layers (shared by all links of one
source, so they read as one trunk), barycentre ordering, then heights by isotonic regression, which keeps every
distance while moving each node as close as possible to its neighbours. What stands in a frame, such as the steps of a
loop, is laid out by `frames` in the same way, and the frame is one node of what is around it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from stellwerk.governance.model import Frame, Graph, Node

WIDTH, HEIGHT = 146.0, 56.0
GAP_X, GAP_Y = 38.0, 16.0
PORT_GAP = 18.0
"""Between the edge of a frame and what stands in it."""
BEND = 10.0
"""Distance of a passing link from whatever is above or below it."""
MARGIN = 12.0
SWEEPS = 16
STRAIGHT = 8

Pairs = list[tuple[int, int]]
Size = tuple[float, float]
"""Width and height. What has neither is a port: a place on the edge of a frame where links pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Things with their places, and links as stops: `(x, y, level)`, where a level stretch leads to a stop or a curve."""

    places: tuple[tuple[float, float], ...]
    layers: tuple[int, ...]
    stops: Mapping[tuple[int, int], Sequence[Stop]]
    width: float
    height: float


class Stop(NamedTuple):
    """Where a link comes to, by a curve or on the level."""

    x: float
    y: float
    level: bool


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
    """The node; -1 where it leads to a frame."""
    label: str
    path: str
    reaches: tuple[int, ...] = ()
    """The nodes that it leads to: its target, or all in the frame."""
    faint: bool = False
    """Whether it leads to or from what was not taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Framed:
    """A frame around nodes, and its upper left corner."""

    frame: Frame
    x: float
    y: float
    width: float
    height: float
    depth: int
    """In how many others it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A drawing plan."""

    width: float
    height: float
    nodes: tuple[Placed, ...]
    wires: tuple[Wire, ...]
    frames: tuple[Framed, ...] = ()
    """The outer ones before the inner ones."""
    undrawn: int
    """Links that could not be drawn from left to right: part of a loop, or to something that is not there."""


@dataclass(slots=True)
class _Rank:
    """Nodes and passing points by layer; items 0..n-1 are nodes, the rest are points."""

    nodes: int
    sizes: Sequence[Size]
    layer: list[int]
    columns: list[list[int]]
    links: Pairs
    routes: dict[tuple[int, int], list[int]]


def lay_out(graph: Graph) -> Layout:
    """Place every node. The same graph always gives the same drawing."""
    nodes = unique(graph)
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
    plot = arrange([(WIDTH, HEIGHT)] * len(nodes), links)
    return Layout(
        width=2 * MARGIN + plot.width,
        height=round(2 * MARGIN + plot.height, 2),
        nodes=tuple(
            Placed(index=i, node=node, layer=plot.layers[i], x=MARGIN + x, y=round(MARGIN + y, 2))
            for i, (node, (x, y)) in enumerate(zip(nodes, plot.places, strict=True))
        ),
        wires=tuple(
            Wire(source=s, target=t, label=labels[s, t], path=path(plot.stops[s, t], MARGIN, MARGIN), reaches=(t,))
            for s, t in links
        ),
        undrawn=undrawn + len(labels) - len(links),
    )


def unique(graph: Graph) -> tuple[Node, ...]:
    """The nodes of a graph; of several with one id the first."""
    known: dict[str, Node] = {}
    for node in graph.nodes:
        known.setdefault(node.id, node)
    return tuple(known.values())


def arrange(
    sizes: Sequence[Size],
    links: Pairs,
    *,
    first: Collection[int] = (),
    last: Collection[int] = (),
    heights: Mapping[tuple[int, int], Size] | None = None,
) -> Plot:
    """Place things of any size that have no loops.

    Args:
        first: Things that stand left of all others.
        last: Things that stand right of all others.
        heights: By link how far below the top of its source it leaves, and below that of its target it arrives, where
            that is not their middle.
    """
    rank = _rank(sizes, links, _pinned(layers(len(sizes), links), first, last))
    _order(rank)
    return _plot(rank, _heights(rank, _shifts(rank, heights or {})), heights or {})


def _pinned(layer: list[int], first: Collection[int], last: Collection[int]) -> list[int]:
    free = [place for item, place in enumerate(layer) if item not in first and item not in last]
    begin, end = min(free, default=1) - 1, max(free, default=-1) + 1
    moved = [begin if item in first else end if item in last else place for item, place in enumerate(layer)]
    least = min(moved, default=0)
    return [place - least for place in moved]


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


def _rank(sizes: Sequence[Size], links: Pairs, layer: list[int]) -> _Rank:
    count = len(sizes)
    columns: list[list[int]] = [[] for _ in range(max(layer, default=-1) + 1)]
    for index in range(count):
        columns[layer[index]].append(index)
    rank = _Rank(nodes=count, sizes=sizes, layer=list(layer), columns=columns, links=[], routes={})
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


def _shifts(rank: _Rank, heights: Mapping[tuple[int, int], Size]) -> dict[tuple[int, int], float]:
    """By an item and its neighbour how far below the middle of the item the link between them ends, if not there."""
    found: dict[tuple[int, int], float] = {}
    for link, (start, end) in heights.items():
        route = rank.routes[link]
        found[route[0], route[1]] = start - _half(rank, route[0])
        found[route[-1], route[-2]] = end - _half(rank, route[-1])
    return found


def _heights(rank: _Rank, shifts: Mapping[tuple[int, int], float]) -> list[float]:
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
            wished = [_wish(item, before[item] + after[item], middle, rank.nodes, shifts) for item in column]
            for item, y in zip(column, apart(wished, _gaps(rank, column)), strict=True):
                middle[item] = y
    top = min((middle[c[0]] - _half(rank, c[0]) for c in rank.columns if c), default=0.0)
    return [round(y - top, 2) for y in middle]


def _wish(
    item: int,
    around: Sequence[int],
    middle: Sequence[float],
    nodes: int,
    shifts: Mapping[tuple[int, int], float],
) -> float:
    """The mean height at which links to its neighbours are level.

    Passing points count more for each other, which keeps trunks straight.
    """
    if not around:
        return middle[item]
    weights = [STRAIGHT if item >= nodes and n >= nodes else 1 for n in around]
    level = [middle[n] + shifts.get((n, item), 0.0) - shifts.get((item, n), 0.0) for n in around]
    return sum(w * y for w, y in zip(weights, level, strict=True)) / sum(weights)


def _half(rank: _Rank, item: int) -> float:
    return rank.sizes[item][1] / 2 if item < rank.nodes else 0.0


def _gaps(rank: _Rank, column: Sequence[int]) -> list[float]:
    """The least distance of each item's middle from the first one's."""
    gaps = [0.0] if column else []
    for above, below in pairwise(column):
        both = min(_half(rank, above), _half(rank, below)) > 0
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


def _plot(rank: _Rank, middle: Sequence[float], heights: Mapping[tuple[int, int], Size]) -> Plot:
    widths = [max((rank.sizes[i][0] for i in column if i < rank.nodes), default=0.0) for column in rank.columns]
    lefts = [0.0]
    for width in widths:
        lefts.append(lefts[-1] + width + (GAP_X if width else PORT_GAP))
    if widths and not widths[-1] and len(widths) > 1:
        lefts[-2] -= GAP_X - PORT_GAP  # nothing but ports: as near as they are at the other side
    tops = [middle[i] - _half(rank, i) for i in range(rank.nodes)]
    return Plot(
        places=tuple((lefts[rank.layer[i]], round(tops[i], 2)) for i in range(rank.nodes)),
        layers=tuple(rank.layer[: rank.nodes]),
        stops={
            (s, t): _stops(route, rank, (lefts, widths), middle, *_ends(tops, heights.get((s, t)), (s, t), middle))
            for (s, t), route in rank.routes.items()
        },
        width=lefts[len(widths) - 1] + widths[-1] if widths else 0.0,
        height=round(max((y + _half(rank, i) for i, y in enumerate(middle)), default=0.0), 2),
    )


def _ends(
    tops: Sequence[float], asked: Size | None, link: tuple[int, int], middle: Sequence[float]
) -> tuple[float, float]:
    source, target = link
    if asked is None:
        return middle[source], middle[target]
    return round(tops[source] + asked[0], 2), round(tops[target] + asked[1], 2)


def _stops(
    route: Sequence[int],
    rank: _Rank,
    columns: tuple[Sequence[float], Sequence[float]],
    middle: Sequence[float],
    start: float,
    end: float,
) -> list[Stop]:
    """Curves in the gaps between columns, level lines through them."""
    lefts, widths = columns
    source = rank.layer[route[0]]
    right = lefts[source] + widths[source]
    stops = [Stop(lefts[source] + rank.sizes[route[0]][0], start, False)]
    if stops[0].x < right:
        stops.append(Stop(right, start, True))
    for here in route[1:]:
        left = lefts[rank.layer[here]]
        stops.append(Stop(left, end if here == route[-1] else middle[here], False))
        if here != route[-1]:
            stops.append(Stop(left + widths[rank.layer[here]], middle[here], True))
    return stops


def path(stops: Sequence[Stop], x: float = 0.0, y: float = 0.0) -> str:
    """Stops as an SVG path, moved by some distance."""
    here = stops[0]
    parts = [f"M{_said(here.x + x)} {_said(here.y + y)}"]
    for there in stops[1:]:
        if there.level:
            parts.append(f"H{_said(there.x + x)}")
        else:
            half = (here.x + there.x) / 2 + x
            curve = (half, here.y + y, half, there.y + y, there.x + x, there.y + y)
            parts.append("C" + " ".join(map(_said, curve)))
        here = there
    return "".join(parts)


def _said(number: float) -> str:
    return f"{round(number, 2):g}"
