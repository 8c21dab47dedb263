"""Graph layout: nothing overlaps, everything runs left to right, the same every time."""

from __future__ import annotations

import itertools
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.clock import monotonic
from stellwerk.governance.model import Edge, Graph, Node
from stellwerk.web.ui import graph as drawing

samples = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("samples.py"))))


def made(count: int, links: list[tuple[int, int]]) -> Graph:
    return Graph(
        nodes=tuple(Node(id=str(i), kind="step", title=f"step {i}") for i in range(count)),
        edges=tuple(Edge(source=str(a), target=str(b)) for a, b in links),
    )


GRAPHS = st.integers(1, 25).flatmap(
    lambda n: st.builds(
        made, st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=60)
    )
)


def points_of(path: str) -> list[float]:
    """The x of every stop of a path, in order."""
    stops = re.findall(r"M([\d.e+-]+) |C[^C]*? ([\d.e+-]+) [\d.e+-]+(?=[CH]|$)|H([\d.e+-]+)", path)
    return [float(next(filter(None, stop))) for stop in stops]


@settings(deadline=None)
@given(GRAPHS)
def test_nodes_never_overlap(graph: Graph) -> None:
    """Any two nodes of a column have a gap, columns have one, and all are inside the drawing."""
    layout = drawing.lay_out(graph)

    assert len(graph.nodes) == len(layout.nodes)
    for one, other in itertools.combinations(layout.nodes, 2):
        apart_x = abs(one.x - other.x) >= drawing.WIDTH + drawing.GAP_X - 0.1
        assert apart_x or abs(one.y - other.y) >= drawing.HEIGHT + drawing.BEND - 0.1
    for placed in layout.nodes:
        assert 0 <= placed.x <= layout.width - drawing.WIDTH
        assert 0 <= placed.y <= layout.height - drawing.HEIGHT


@settings(deadline=None)
@given(GRAPHS)
def test_links_run_left_to_right(graph: Graph) -> None:
    """Each drawn link starts at its source, ends at its target and never turns back; loops are counted, not drawn."""
    layout = drawing.lay_out(graph)

    for wire in layout.wires:
        source, target = layout.nodes[wire.source], layout.nodes[wire.target]
        stops = points_of(wire.path)
        assert source.layer < target.layer
        assert abs(stops[0] - source.x - drawing.WIDTH) < 0.1
        assert abs(stops[-1] - target.x) < 0.1
        assert stops == sorted(stops)
    distinct = {(e.source, e.target) for e in graph.edges if e.source != e.target}
    loops = sum(e.source == e.target for e in graph.edges)
    assert len(distinct) + loops == len(layout.wires) + layout.undrawn


@settings(deadline=None)
@given(st.integers(2, 20), st.data())
def test_without_loops_every_link_is_drawn(count: int, data: st.DataObject) -> None:
    """A graph of causes and effects loses nothing."""
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda p: p[0] < p[1])
    links = data.draw(st.lists(pairs, unique=True, max_size=40))

    layout = drawing.lay_out(made(count, links))

    assert 0 == layout.undrawn
    assert sorted(links) == sorted((w.source, w.target) for w in layout.wires)


@settings(deadline=None)
@given(GRAPHS)
def test_passing_links_stay_clear_of_nodes(graph: Graph) -> None:
    """Where a link crosses a column it keeps its distance from every node in it."""
    layout = drawing.lay_out(graph)
    boxes: dict[float, list[tuple[float, float]]] = {}
    for placed in layout.nodes:
        boxes.setdefault(round(placed.x, 1), []).append((placed.y, placed.y + drawing.HEIGHT))

    for wire in layout.wires:
        for x, y in re.findall(r"([\d.e+-]+) ([\d.e+-]+)H", wire.path):
            for top, bottom in boxes.get(round(float(x), 1), ()):
                assert float(y) <= top - drawing.BEND + 0.2 or float(y) >= bottom + drawing.BEND - 0.2


@settings(deadline=None)
@given(GRAPHS)
def test_the_same_graph_gives_the_same_drawing(graph: Graph) -> None:
    """Nothing depends on chance or on hashing."""
    assert drawing.lay_out(graph) == drawing.lay_out(graph)


def test_sound_in_the_face_of_nonsense() -> None:
    """Unknown ends, repeated ids and repeated links neither fail nor disappear silently."""
    node = Node(id="a", kind="step", title="first")
    graph = Graph(
        nodes=(node, Node(id="a", kind="step", title="second"), Node(id="b", kind="step", title="")),
        edges=(
            Edge(source="a", target="nowhere"),
            Edge(source="a", target="b"),
            Edge(source="a", target="b", label="x"),
        ),
    )

    layout = drawing.lay_out(graph)

    assert ["first", ""] == [p.node.title for p in layout.nodes]
    assert 1 == layout.undrawn
    assert 1 == len(layout.wires)


def test_an_empty_graph_has_a_drawing() -> None:
    """Nothing to draw is not an error."""
    layout = drawing.lay_out(Graph(nodes=(), edges=()))

    assert () == layout.nodes
    assert () == layout.wires


def test_long_links_of_one_source_share_a_trunk() -> None:
    """The code used by three steps leaves as one line and branches."""
    layout = drawing.lay_out(made(5, [(0, 1), (1, 2), (2, 3), (3, 4), (0, 3), (0, 4)]))
    paths = {(w.source, w.target): w.path for w in layout.wires}

    shared = paths[0, 3].rsplit("C", 1)[0]
    assert "H" in shared
    assert paths[0, 4].startswith(shared)


def test_crossings_are_counted_and_removed() -> None:
    """Two crossing links are seen as one crossing, and the ordering removes it."""
    assert 1 == drawing.crossings([[0, 1], [2, 3]], [[3], [2], [], []])
    assert 0 == drawing.crossings([[0, 1], [2, 3]], [[2, 3], [3], [], []])
    layout = drawing.lay_out(made(4, [(0, 3), (1, 2)]))
    height = {p.index: p.y for p in layout.nodes}
    assert (height[0] < height[1]) == (height[3] < height[2])


@given(
    st.lists(st.floats(-1000, 1000), min_size=1, max_size=20), st.lists(st.floats(1, 50), min_size=20, max_size=20)
)
def test_heights_keep_every_distance(wished: list[float], steps: list[float]) -> None:
    """Isotonic placing keeps order and distance, and does not move what already fits."""
    gaps = [0.0, *itertools.accumulate(steps)][: len(wished)]

    placed = drawing.apart(wished, gaps)

    for i in range(len(placed) - 1):
        assert placed[i + 1] - placed[i] >= gaps[i + 1] - gaps[i] - 1e-6
    again = drawing.apart(placed, gaps)
    assert all(abs(a - b) < 1e-6 for a, b in zip(placed, again, strict=True))


def test_the_sample_trace_reads_from_files_to_the_prediction() -> None:
    """25 things: causes in the first columns, the prediction alone in the last."""
    layout = drawing.lay_out(samples.trace_graph())
    last = max(p.layer for p in layout.nodes)

    assert ["prediction"] == [p.node.kind for p in layout.nodes if p.layer == last]
    assert {"file", "dataset", "plan"} == {p.node.kind for p in layout.nodes if p.layer == 0}
    assert 0 == layout.undrawn


def test_three_hundred_nodes_are_fast() -> None:
    """A large recall is laid out while the page is rendered."""
    links = [(i, j) for i in range(300) for j in (i + 1, i + 7, i + 31) if j < 300]
    start = monotonic()

    layout = drawing.lay_out(made(300, links))

    assert 300 == len(layout.nodes)
    assert monotonic() - start < 5
