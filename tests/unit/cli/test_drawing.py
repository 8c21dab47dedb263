"""Trees of text: every node is there, nothing is drawn twice, nothing breaks on odd graphs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stellwerk.cli.drawing import tree
from stellwerk.cli.output import plain
from stellwerk.governance.model import Edge, Graph, Node

DIGEST = "sha256:" + "ab" * 32


def graph(edges: list[tuple[str, str]], **kinds: str) -> Graph:
    names = list(dict.fromkeys([*kinds, *(name for edge in edges for name in edge)]))
    return Graph(
        nodes=tuple(Node(id=name, kind=kinds.get(name, "artifact"), title=name) for name in names),
        edges=tuple(Edge(source=source, target=target) for source, target in edges),
    )


def test_causes_stand_below_effects() -> None:
    """A model hangs on the run that made it, the run on what it used."""
    found = graph([("run", "model"), ("data", "run")], model="model", run="run", data="dataset")

    assert ["· model model", "└─ · run run", "   └─ · dataset data"] == plain(tree(found))


def test_effects_stand_below_causes_the_other_way() -> None:
    """The same graph from the other end."""
    found = graph([("run", "model"), ("data", "run")], model="model", run="run", data="dataset")

    assert ["· dataset data", "└─ · run run", "   └─ · model model"] == plain(tree(found, down=True))


def test_what_was_drawn_is_only_mentioned() -> None:
    """A table that two runs used is followed once."""
    found = graph([("table", "a"), ("table", "b"), ("raw", "table"), ("a", "model"), ("b", "model")], model="model")

    assert [
        "· model model",
        "├─ · artifact a",
        "│  └─ · artifact table",
        "│     └─ · artifact raw",
        "└─ · artifact b",
        "   └─ · artifact table  (above)",
    ] == plain(tree(found))


def test_marks_say_what_was_verified() -> None:
    """Verified, failed, unproven; a failure says why."""
    nodes = (
        Node(id="m", kind="model", title="delay@1", digest=DIGEST, state="verified"),
        Node(id="f", kind="file", title="x", state="failed", detail="other bytes"),
        Node(id="c", kind="code", title="y", state="unproven"),
    )
    edges = (Edge(source="f", target="m", label="part of"), Edge(source="c", target="m"))

    assert [
        "✓ model delay@1  abababababab",
        "├─ ✗ file x  part of  other bytes",
        "└─ ? code y",
    ] == plain(tree(Graph(nodes=nodes, edges=edges)))


def test_verified_code_stands_beside_its_run() -> None:
    """Every run has code and an environment; only where something is wrong they need a line."""
    nodes = (
        Node(id="r", kind="run", title="train"),
        Node(id="c", kind="code", title="abababababab", digest=DIGEST, state="verified"),
        Node(id="e", kind="environment", title="e", state="failed", detail="gone"),
        Node(id="t", kind="artifact", title="t"),
    )
    edges = tuple(
        Edge(source=source, target="r", label=label)
        for source, label in (("c", "code"), ("e", "environment"), ("t", "table"))
    )

    assert [
        "· run train  ✓ code",
        "├─ ✗ environment e  gone",
        "└─ · artifact t  as table",
    ] == plain(tree(Graph(nodes=nodes, edges=edges)))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=25))
def test_every_edge_is_one_line(pairs: list[tuple[int, int]]) -> None:
    """In any graph without cycles: as many lines as roots and edges together."""
    edges = sorted({(f"n{min(pair)}", f"n{max(pair)}") for pair in pairs if pair[0] != pair[1]})
    found = graph(edges)
    roots = {node.id for node in found.nodes} - {source for source, _ in edges}

    assert len(roots) + len(edges) == len(plain(tree(found)))


def test_a_cycle_ends() -> None:
    """It cannot be, but a damaged book must not hang the command that looks at it."""
    assert ["· artifact a", "└─ · artifact b", "   └─ · artifact a  (above)"] == plain(
        tree(graph([("a", "b"), ("b", "a")]))
    )


def test_a_long_chain_is_drawn() -> None:
    """Ten years of daily versions are deeper than Python likes to recurse."""
    edges = [(f"v{number}", f"v{number + 1}") for number in range(3650)]

    assert 3651 == len(tree(graph(edges)).lines)


def test_nothing_is_drawn_of_nothing() -> None:
    """An empty graph is no error."""
    assert () == tree(Graph(nodes=(), edges=())).lines
