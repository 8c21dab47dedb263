"""Graphs with frames: everything inside what it stands in, nothing overlaps, nothing runs backwards."""

from __future__ import annotations

import itertools
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.governance.model import Edge, Frame, Graph, Node
from stellwerk.web.ui import frames, graph


def made(count: int, within: list[int], of_node: list[int], links: list[tuple[int, int]], into: list[int]) -> Graph:
    """Frames in frames, nodes anywhere, links from earlier to later nodes and from nodes to frames."""
    boxes = [
        Frame(id=f"f{n}", kind="each", title=f"each of {n}", detail="3 items", within=f"f{up}" if 0 <= up < n else "")
        for n, up in enumerate(within)
    ]
    nodes = [
        Node(
            id=f"n{n}",
            kind="step",
            title=f"step {n}",
            within=f"f{of_node[n]}" if 0 <= of_node[n] < len(boxes) else "",
        )
        for n in range(count)
    ]
    edges = [Edge(source=f"n{min(a, b)}", target=f"n{max(a, b)}") for a, b in links if a != b]
    edges += [Edge(source=f"n{n % count}", target=f"f{box}") for n, box in enumerate(into) if box < len(boxes)]
    return Graph(nodes=tuple(nodes), edges=tuple(dict.fromkeys(edges)), frames=tuple(boxes))


@st.composite
def graphs(draw: Any) -> Graph:
    count = draw(st.integers(1, 14))
    return made(
        count,
        draw(st.lists(st.integers(-1, 4), min_size=1, max_size=5)),
        draw(st.lists(st.integers(-1, 4), min_size=count, max_size=count)),
        draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=24)),
        draw(st.lists(st.integers(0, 4), max_size=4)),
    )


def inside(inner: tuple[float, float, float, float], outer: tuple[float, float, float, float]) -> bool:
    return (
        outer[0] - 0.1 <= inner[0]
        and outer[1] - 0.1 <= inner[1]
        and inner[0] + inner[2] <= outer[0] + outer[2] + 0.1
        and inner[1] + inner[3] <= outer[1] + outer[3] + 0.1
    )


def boxes(layout: graph.Layout) -> dict[str, tuple[str, tuple[float, float, float, float]]]:
    """By id what each stands in, and its place and size."""
    found = {p.node.id: (p.node.within, (p.x, p.y, graph.WIDTH, graph.HEIGHT)) for p in layout.nodes}
    return found | {f.frame.id: (f.frame.within, (f.x, f.y, f.width, f.height)) for f in layout.frames}


@settings(deadline=None)
@given(graphs())
def test_everything_stands_where_it_belongs(drawn: Graph) -> None:
    """Inside its frame, below the frame's title, and beside everything else in there."""
    found = boxes(frames.lay_out(drawn))

    assert len(drawn.nodes) + len(drawn.frames) == len(found)
    for within, box in found.values():
        if within:
            frame = found[within][1]
            assert inside(box, frame)
            assert box[1] >= frame[1] + frames.HEAD - 0.1
    for one, other in itertools.combinations(found.values(), 2):
        if one[0] == other[0]:
            (x, y, w, h), (a, b, c, d) = one[1], other[1]
            assert x + w <= a or a + c <= x or y + h <= b or b + d <= y


@settings(deadline=None)
@given(graphs())
def test_links_run_from_their_source_to_their_target(drawn: Graph) -> None:
    """They begin at the right side of one, end at the left side of the other or of the frame, and never turn back."""
    layout = frames.lay_out(drawn)
    found = boxes(layout)
    lefts = {round(box[0], 1) for _, box in found.values()}

    assert len(drawn.edges) == len(layout.wires) + layout.undrawn
    for wire in layout.wires:
        numbers = [float(one) for one in re.findall(r"-?[\d.]+(?:e[+-]\d+)?", wire.path)]
        xs = [
            float(x) for x in re.findall(r"(?:M|H|C[-\d.e+]+ [-\d.e+]+ [-\d.e+]+ [-\d.e+]+ )([-\d.e+]+)", wire.path)
        ]
        source = layout.nodes[wire.source]
        end = layout.nodes[wire.target].x if wire.target >= 0 else None
        assert abs(numbers[0] - source.x - graph.WIDTH) < 0.2
        assert abs(numbers[1] - source.y - graph.HEIGHT / 2) < 0.2
        assert xs == sorted(xs)
        assert abs(xs[-1] - end) < 0.2 if end is not None else round(xs[-1], 1) in lefts
        assert wire.reaches or wire.target < 0


@settings(deadline=None)
@given(graphs())
def test_the_same_graph_gives_the_same_drawing(drawn: Graph) -> None:
    """Nothing depends on chance or on hashing."""
    assert frames.lay_out(drawn) == frames.lay_out(drawn)


def test_a_link_to_a_frame_lights_all_that_stands_in_it() -> None:
    """Whoever looks at a list sees what the loop over it does, also in the branches inside."""
    layout = frames.lay_out(
        Graph(
            nodes=(
                Node(id="months", kind="data", title="months"),
                Node(id="flights", kind="clean", title="flights", within="each"),
                Node(id="note", kind="step", title="note", within="when", state="omitted"),
            ),
            edges=(Edge(source="months", target="each"), Edge(source="flights", target="note")),
            frames=(
                Frame(id="each", kind="each", title="each of months", detail="200 items"),
                Frame(id="when", kind="when", title="when flights", within="each", state="omitted"),
            ),
        )
    )

    assert [(0, -1, (1, 2), False), (1, 2, (2,), True)] == [
        (wire.source, wire.target, wire.reaches, wire.faint) for wire in layout.wires
    ]
    assert ("each of months", "200 items") == frames.title(layout.frames[0])


def test_links_run_level_into_frames_and_out_of_them() -> None:
    """A chain of steps is a straight line, however many frames begin and end between them."""
    layout = frames.lay_out(
        Graph(
            nodes=(
                Node(id="read", kind="data", title="read"),
                Node(id="clean", kind="clean", title="clean", within="prepare"),
                Node(id="scale", kind="features", title="scale", within="features"),
                Node(id="fit", kind="train", title="fit"),
            ),
            edges=(
                Edge(source="read", target="clean"),
                Edge(source="clean", target="scale"),
                Edge(source="scale", target="fit"),
            ),
            frames=(
                Frame(id="prepare", kind="call", title="pipeline prepare", detail="2 steps"),
                Frame(id="features", kind="call", title="pipeline features", within="prepare"),
            ),
        )
    )

    assert 1 == len({placed.y for placed in layout.nodes})
    middle = f"{layout.nodes[0].y + graph.HEIGHT / 2:g}"
    assert {middle} == {y for wire in layout.wires for y in re.findall(r"[\d.]+", wire.path)[1::2]}
    assert {
        "prepare": "pipeline prepare",
        "features": "pipeline features, in pipeline prepare",
    } == frames.said(layout)


def test_frames_that_make_no_sense_are_drawn_all_the_same() -> None:
    """Frames in circles, frames that are not there, links into one's own frame: what cannot be drawn is counted."""
    layout = frames.lay_out(
        Graph(
            nodes=(
                Node(id="a", kind="step", title="a", within="x"),
                Node(id="b", kind="step", title="b", within="no"),
            ),
            edges=(Edge(source="a", target="x"), Edge(source="a", target="b"), Edge(source="b", target="a")),
            frames=(
                Frame(id="x", kind="each", title="x", within="y"),
                Frame(id="y", kind="each", title="y", within="x"),
            ),
        )
    )

    assert 2 == len(layout.nodes)
    assert 3 == len(layout.wires) + layout.undrawn


def test_ids_may_be_anything() -> None:
    """Empty, the same for a node and a frame, or like a name that is used within: everything is drawn once."""
    layout = frames.lay_out(
        Graph(
            nodes=(Node(id="", kind="step", title="a", within="x"), Node(id="x", kind="step", title="b", within="x")),
            edges=(Edge(source="", target="x"), Edge(source="x", target="")),
            frames=(
                Frame(id="", kind="each", title="none", within=""),
                Frame(id="x", kind="each", title="x", within=""),
                Frame(id="out n0", kind="each", title="y", within="x"),
            ),
        )
    )

    assert ["a", "b"] == [placed.node.title for placed in layout.nodes]
    assert {"x", "out n0"} == {framed.frame.id for framed in layout.frames}
    assert 2 == len(layout.wires) + layout.undrawn
