"""Places graphs whose nodes stand in frames, such as the steps of loops and branches. No markup.

Each frame is laid out by itself, from the innermost on, and then is one node of what is around it. A link that crosses
the edge of a frame passes it at a port: a thing without size that stands at the edge, so that inside and outside are
laid out as if the link ended there, and fit together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

from stellwerk.governance.model import Frame, Graph, Node
from stellwerk.web.ui.graph import (
    HEIGHT,
    MARGIN,
    WIDTH,
    Framed,
    Layout,
    Pairs,
    Placed,
    Plot,
    Size,
    Stop,
    Wire,
    arrange,
    path,
    unique,
    without_loops,
)
from stellwerk.web.ui.graph import lay_out as lay_out_plain
from stellwerk.web.ui.words import clip

HEAD = 30.0
PAD = 12.0
LETTER = 6.6
"""How wide a letter of a title is, about."""
MOST_TITLE = 44
"""Letters of a title that make its frame wider."""

Name = str
"""Of a thing inside a frame: a node's or a frame's id, or a port's."""


@dataclass(slots=True)
class _Room:
    """What stands directly in a frame, or in none: its things and the links between them."""

    things: dict[Name, Size] = field(default_factory=dict)
    links: dict[tuple[Name, Name], Size | None] = field(default_factory=dict)
    entries: dict[Name, None] = field(default_factory=dict)
    exits: dict[Name, None] = field(default_factory=dict)
    index: dict[Name, int] = field(default_factory=dict)
    plot: Plot | None = None
    size: Size = (0.0, 0.0)
    lost: set[tuple[Name, Name]] = field(default_factory=set)


def lay_out(graph: Graph) -> Layout:
    """Place every node and frame. The same graph always gives the same drawing."""
    nodes = unique(graph)
    frames = {frame.id: frame for frame in reversed(graph.frames) if frame.id}
    if not frames:
        return lay_out_plain(graph)
    # Under names of our own, because ids may be anything, and those of nodes and frames the same.
    ids, boxes = ({one: f"{kind}{n}" for n, one in enumerate(of)} for kind, of in (("n", _ids(nodes)), ("f", frames)))
    named = Graph(
        nodes=tuple(replace(node, id=ids[node.id], within=boxes.get(node.within, "")) for node in nodes),
        edges=tuple(
            replace(edge, source=ids.get(edge.source, ""), target=ids.get(edge.target) or boxes.get(edge.target, ""))
            for edge in graph.edges
        ),
        frames=tuple(replace(one, id=boxes[one.id], within=boxes.get(one.within, "")) for one in frames.values()),
    )
    drawn, known = _Drawing(named).layout(), {boxes[one]: frame for one, frame in frames.items()}
    return replace(
        drawn,
        nodes=tuple(replace(placed, node=nodes[placed.index]) for placed in drawn.nodes),
        frames=tuple(replace(framed, frame=known[framed.frame.id]) for framed in drawn.frames),
    )


def _ids(nodes: Iterable[Node]) -> list[str]:
    return [node.id for node in nodes]


class _Drawing:
    def __init__(self, graph: Graph) -> None:
        self._nodes: tuple[Node, ...] = unique(graph)
        self._frames: dict[str, Frame] = {}
        for frame in graph.frames:
            self._frames.setdefault(frame.id, frame)
        self._position = {node.id: index for index, node in enumerate(self._nodes)}
        self._up = _parents(self._frames)
        self._around = {name: self._scope(self._up[name]) for name in self._frames}
        self._around |= {node.id: self._scope(node.within) for node in self._nodes}
        self._rooms: dict[str, _Room] = {"": _Room(), **{name: _Room() for name in self._frames}}
        self._ways: dict[tuple[str, str], list[tuple[str, Name, Name]]] = {}
        self._labels: dict[tuple[str, str], str] = {}
        self._undrawn = 0
        for edge in graph.edges:
            self._link(edge.source, edge.target, edge.label)

    def _scope(self, within: str) -> tuple[str, ...]:
        """The frames around something, the outermost first."""
        found: list[str] = []
        while within in self._frames:
            found.append(within)
            within = self._up[within]
        return tuple(reversed(found))

    def _link(self, source: str, target: str, label: str) -> None:
        known = source in self._position and (target in self._position or target in self._frames)
        if not known or source == target or target in self._around.get(source, ()):
            self._undrawn += 1
            return
        if (source, target) in self._ways:
            return
        self._labels[source, target] = label
        out, into = self._around[source], self._around[target]
        shared = 0
        while shared < min(len(out), len(into)) and out[shared] == into[shared]:
            shared += 1
        self._ways[source, target] = list(self._way(source, target, out, into, shared))

    def _way(
        self, source: str, target: str, out: tuple[str, ...], into: tuple[str, ...], shared: int
    ) -> list[tuple[str, Name, Name]]:
        """A link as its parts, each inside one frame: out of those around its source, into those around its target."""
        parts: list[tuple[str, Name, Name]] = []
        here = source
        for frame in reversed(out[shared:]):
            port = f"out {source}"
            self._rooms[frame].exits[port] = None
            parts.append((frame, here, port))
            here = frame
        room = out[shared - 1] if shared else ""
        then = into[shared] if len(into) > shared else target
        parts.append((room, here, then))
        for frame, further in pairwise([*into[shared:], target]):
            port = f"in {source}"
            self._rooms[frame].entries[port] = None
            parts.append((frame, port, further))
        return parts

    # Placing, from the inside out

    def layout(self) -> Layout:
        for node in self._nodes:
            self._rooms[self._inmost(node.id)].things[node.id] = (WIDTH, HEIGHT)
        for name in sorted(self._frames, key=lambda one: -len(self._around[one])):
            self._rooms[self._inmost(name)].things[name] = self._settle(name)
        width, height = self._settle("")
        corners = self._corners()
        drawn = [wire for way in self._ways for wire in self._wire(way, corners)]
        return Layout(
            width=round(2 * MARGIN + width, 2),
            height=round(2 * MARGIN + height, 2),
            nodes=tuple(self._placed(index, node, corners) for index, node in enumerate(self._nodes)),
            wires=tuple(drawn),
            frames=tuple(
                self._framed(name, corners) for name in sorted(self._frames, key=lambda one: len(self._around[one]))
            ),
            undrawn=self._undrawn + len(self._ways) - len(drawn),
        )

    def _inmost(self, name: str) -> str:
        around = self._around[name]
        return around[-1] if around else ""

    def _settle(self, name: str) -> Size:
        """Place what stands in a frame, whose inner frames have their sizes; how large that makes it."""
        room = self._rooms[name]
        for way, parts in self._ways.items():
            for frame, here, then in parts:
                if frame == name:
                    room.links.setdefault((here, then), self._heights(way, here, then))
        names = [*room.things, *room.entries, *room.exits]
        room.index = {one: index for index, one in enumerate(names)}
        pairs: Pairs = [(room.index[a], room.index[b]) for a, b in room.links]
        kept = without_loops(len(names), pairs)
        room.lost = {link for link, pair in zip(room.links, pairs, strict=True) if pair not in set(kept)}
        room.plot = arrange(
            [room.things.get(one, (0.0, 0.0)) for one in names],
            kept,
            first={room.index[one] for one in room.entries},
            last={room.index[one] for one in room.exits},
            heights={
                (room.index[a], room.index[b]): ends
                for (a, b), ends in room.links.items()
                if ends is not None and (a, b) not in room.lost
            },
        )
        if not name:
            return room.plot.width, room.plot.height
        around = self._frames[name]
        inner = room.plot.width + (0 if room.entries else PAD) + (0 if room.exits else PAD)
        title = LETTER * min(len(around.title) + len(around.detail) + 3, MOST_TITLE) + 2 * PAD
        room.size = (max(inner, title), room.plot.height + HEAD + PAD)
        return room.size

    def _heights(self, way: tuple[str, str], here: Name, then: Name) -> Size | None:
        """How far below their tops a link leaves and arrives, where one end is a frame; None for two middles."""
        if here not in self._frames and then not in self._frames:
            return None
        start = self._port(here, f"out {way[0]}") if here in self._frames else _middle(here, self._position)
        if then not in self._frames:
            return start, _middle(then, self._position)
        return start, HEAD / 2 if then == way[1] else self._port(then, f"in {way[0]}")

    def _port(self, frame: str, port: Name) -> float:
        room = self._rooms[frame]
        assert room.plot is not None  # inner frames are placed before what is around them
        return HEAD + room.plot.places[room.index[port]][1]

    # Drawing, from the outside in

    def _corners(self) -> dict[str, tuple[float, float]]:
        """The upper left corner of what stands in each frame, and of everything that stands somewhere."""
        corners: dict[str, tuple[float, float]] = {}
        inside = {"": (MARGIN, MARGIN)}
        for name in ("", *sorted(self._frames, key=lambda one: len(self._around[one]))):
            room = self._rooms[name]
            assert room.plot is not None
            if name:
                x, y = corners[name]
                inside[name] = (x + (0 if room.entries else PAD), y + HEAD)
            for thing in room.things:
                left, top = room.plot.places[room.index[thing]]
                corners[thing] = (inside[name][0] + left, inside[name][1] + top)
        self._inside = inside
        return corners

    def _placed(self, index: int, node: Node, corners: dict[str, tuple[float, float]]) -> Placed:
        x, y = corners[node.id]
        room = self._rooms[self._inmost(node.id)]
        layer = room.plot.layers[room.index[node.id]] if room.plot else 0
        return Placed(index=index, node=node, layer=layer, x=round(x, 2), y=round(y, 2))

    def _framed(self, name: str, corners: dict[str, tuple[float, float]]) -> Framed:
        (x, y), (width, height) = corners[name], self._rooms[name].size
        frame = self._frames[name]
        return Framed(
            frame=frame, x=round(x, 2), y=round(y, 2), width=round(width, 2), height=round(height, 2),
            depth=len(self._around[name]),
        )  # fmt: skip

    def _wire(self, way: tuple[str, str], corners: dict[str, tuple[float, float]]) -> list[Wire]:
        stops: list[Stop] = []
        for frame, here, then in self._ways[way]:
            room = self._rooms[frame]
            if (here, then) in room.lost or room.plot is None:
                return []
            x, y = self._inside[frame]
            found = room.plot.stops[room.index[here], room.index[then]]
            moved = [Stop(stop.x + x, stop.y + y, stop.level) for stop in found]
            if stops and abs(moved[0].x - stops[-1].x) > 0.01:  # a frame may be wider than what stands in it
                stops.append(Stop(moved[0].x, stops[-1].y, True))
            stops += moved[1:] if stops else moved
        source, target = way
        return [
            Wire(
                source=self._position[source],
                target=self._position.get(target, -1),
                label=self._labels[way],
                path=path(_smooth(stops)),
                reaches=self._reached(target),
                faint="omitted" in (self._state(source), self._state(target)),
            )
        ]

    def _state(self, name: str) -> str:
        return self._nodes[self._position[name]].state if name in self._position else self._frames[name].state

    def _reached(self, target: str) -> tuple[int, ...]:
        if target in self._position:
            return (self._position[target],)
        return tuple(self._position[node.id] for node in self._nodes if target in self._around[node.id])


def title(framed: Framed) -> tuple[str, str]:
    """The title of a frame and what is said beside it, as far as there is room for them."""
    room = int((framed.width - 2 * PAD) / LETTER)
    frame = framed.frame
    said = clip(frame.detail, max(room - len(frame.title) - 1, room // 2, 8))
    return clip(frame.title, max(room - len(said) - 1, 6)), said


def said(layout: Layout) -> dict[str, str]:
    """By the id of a frame in words what it is, and what it stands in: `pipeline prepare, in each of months`."""
    frames = {framed.frame.id: framed.frame for framed in layout.frames}
    up = _parents(frames)
    return {name: ", in ".join(frames[one].title for one in _outwards(name, up)) for name in frames}


def _outwards(name: str, up: dict[str, str]) -> Iterator[str]:
    while name:
        yield name
        name = up[name]


def _parents(frames: dict[str, Frame]) -> dict[str, str]:
    """In which frame each stands; one that would stand in itself, or in none that there is, stands in none."""
    found: dict[str, str] = {}
    for name, frame in frames.items():
        above = frame.within
        while above in found:
            above = found[above]
        found[name] = frame.within if frame.within in frames and above != name else ""
    return found


def _middle(name: Name, nodes: dict[str, int]) -> float:
    return HEIGHT / 2 if name in nodes else 0.0


def _smooth(stops: list[Stop]) -> list[Stop]:
    """Without stops at which nothing changes."""
    kept = stops[:1]
    for before, here in pairwise(stops):
        if (here.x, here.y) != (before.x, before.y):
            kept.append(here)
    return kept
