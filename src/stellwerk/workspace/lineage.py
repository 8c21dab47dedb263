"""Where a run stands between what it read and what it made, as a graph: one step in each direction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from stellwerk.core.digest import short
from stellwerk.governance.model import Edge, Graph, LoggedLine, Node, RunModel
from stellwerk.tracking.logged import VERSIONS_TAG, LoggedModel
from stellwerk.tracking.model import CONTEXT_TAG, DatasetUse, Run
from stellwerk.tracking.tables import lasted

MOST = 12
"""Things of one kind that are drawn; the tables of the page list all."""


def steps(children: Sequence[Run]) -> Graph:
    """Steps of a pipeline as nodes; an edge where one used what another made."""
    makers = {digest: child for child in children for digest in child.outputs.values()}
    nodes = tuple(_run(child, _detail(child)) for child in children)
    edges = {
        (makers[digest].id, child.id): Edge(source=makers[digest].id, target=child.id, label=label)
        for child in children
        for label, digest in child.inputs.items()
        if digest in makers and makers[digest].id != child.id
    }
    return Graph(nodes=nodes, edges=tuple(edges.values()))


def around(
    run: Run, *, parent: Run | None, children: Sequence[Run], logged: Sequence[LoggedModel], made: Sequence[RunModel]
) -> Graph:
    """What a run read stands left of it, what it made stands right; nothing where it stands alone."""
    drawing = _Drawing(run)
    if parent is not None:
        drawing.before(_run(parent, parent.kind), "part of")
    for label, digest in list(run.inputs.items())[:MOST]:
        drawing.before(_artifact(label, digest), label)
    for one in run.datasets[:MOST]:
        drawing.before(_data(one), one.tags.get(CONTEXT_TAG, ""))
    uses = {use.model: use.role for use in run.models}
    for model in logged[:MOST]:
        (drawing.before if uses.get(model.id) == "used" else drawing.after)(_logged(model), "")
    for label, digest in list(run.outputs.items())[:MOST]:
        drawing.after(_artifact(label, digest), label)
    origins = {version: model.id for model in logged for version in _versions(model)}
    for version in made[:MOST]:
        drawing.after(_registered(version), "registered", of=origins.get((version.name, version.version)))
    for child in children[:MOST]:
        drawing.after(_run(child, _detail(child)), "part")
    return drawing.graph()


def lines(run: Run, logged: Iterable[LoggedModel]) -> tuple[LoggedLine, ...]:
    """Logged models in a list."""
    uses = {use.model: use for use in run.models}
    return tuple(
        LoggedLine(id=one.id, name=one.name, status=one.status, role=uses[one.id].role, step=uses[one.id].step)
        for one in logged
    )


class _Drawing:
    """A graph around one run."""

    def __init__(self, run: Run) -> None:
        self._middle = run.id
        self._nodes: dict[str, Node] = {run.id: _run(run, _detail(run))}
        self._edges: dict[tuple[str, str], Edge] = {}

    def before(self, node: Node, label: str) -> None:
        """Draw a thing left of the run."""
        self._nodes.setdefault(node.id, node)
        self._link(node.id, self._middle, label)

    def after(self, node: Node, label: str, *, of: str | None = None) -> None:
        """Draw a thing right of the run, or of another one that is drawn already."""
        self._nodes.setdefault(node.id, node)
        self._link(of if of is not None and of in self._nodes else self._middle, node.id, label)

    def graph(self) -> Graph:
        """What was drawn, if that is more than the run."""
        nodes = tuple(self._nodes.values()) if len(self._nodes) > 1 else ()
        return Graph(nodes=nodes, edges=tuple(self._edges.values()))

    def _link(self, source: str, target: str, label: str) -> None:
        if source != target and (target, source) not in self._edges:
            self._edges.setdefault((source, target), Edge(source=source, target=target, label=label))


def _run(run: Run, detail: str) -> Node:
    return Node(
        id=run.id,
        kind="run",
        title=run.name or run.id,
        detail=detail,
        state="failed" if run.status == "failed" else "plain",
        link=f"/runs/{run.id}",
    )


def _detail(run: Run) -> str:
    seconds = lasted(run)
    return "cached" if run.cached else run.status + ("" if seconds is None else f", {seconds:.1f} s")


def _data(one: DatasetUse) -> Node:
    return Node(id=f"data:{one.name}:{one.digest}", kind="dataset", title=one.name, detail=f"its digest {one.digest}")


def _logged(model: LoggedModel) -> Node:
    return Node(
        id=model.id,
        kind="model",
        title=model.name,
        detail=f"logged, {model.status}",
        link=f"/logged-models/{model.id}/files",
    )


def _registered(one: RunModel) -> Node:
    said = f"{one.name}@{one.version}"
    link = f"/models/{quote(one.name, safe='')}"
    return Node(id=f"model:{said}", kind="model", title=said, detail="registered", digest=one.digest, link=link)


def _artifact(label: str, digest: str) -> Node:
    return Node(id=digest, kind="artifact", title=label, detail=short(digest), link=f"/trace/{digest}", digest=digest)


def _versions(model: LoggedModel) -> list[tuple[str, int]]:
    """What a logged model was registered as, as its tag says."""
    try:
        said = json.loads(model.tags.get(VERSIONS_TAG, "[]"))
        return [(str(one["name"]), int(one["version"])) for one in said]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
