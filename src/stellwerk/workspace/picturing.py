"""The steps of an execution as a graph: what was planned, in its loops, branches and pipelines, and how it stands."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import StellwerkError
from stellwerk.governance.model import Edge, Frame, Graph, Node
from stellwerk.pipelines import rules
from stellwerk.pipelines.model import EITHER, RESOLVED, Branch, Group, Plan, StepResult, Stored, parse
from stellwerk.pipelines.replaying import Past, replay
from stellwerk.pipelines.rules.describe import called, heading
from stellwerk.tracking.model import Run
from stellwerk.tracking.tables import lasted
from stellwerk.workspace import lineage
from stellwerk.workspace.rooms import Rooms

MOST_NODES = 300
"""Steps that are drawn; the table of the page lists what ran."""
MOST_TASKS = 20_000
WORDS = {"done": "finished", "cached": "cached", "omitted": "not taken", "ready": "not yet", "pending": "not yet"}
_ORDER = ("failed", "waiting", "running", "interrupted", "finished", "cached", "skipped", "not taken", "not yet")


def steps(rooms: Rooms, run: Run, children: Sequence[Run]) -> Graph:
    """The graph of a pipeline's run; of one whose plan is not known, what used what."""
    plan = _plan(rooms, run)
    if plan is None or len(plan.nodes) > MOST_NODES:
        return lineage.steps(children[:MOST_NODES])
    if len(children) == 1000:
        children = rooms.runs.search(parent=run.id, limit=MOST_TASKS)
    latest = {child.name: child for child in sorted(children, key=lambda one: one.id)}
    try:
        state = replay(plan, _past(rooms, latest), rooms.blobs.get)
    except StellwerkError:
        return lineage.steps(children[:MOST_NODES])
    waiting = {task.task for task in rooms.executions.tasks(run.id) if task.status == "waiting"}
    return _Picture(state, latest, waiting).graph()


def _plan(rooms: Rooms, run: Run) -> Plan | None:
    try:
        return parse(canonical.loads(rooms.blobs.get(Digest(run.tags["plan"]))))
    except (StellwerkError, KeyError, TypeError):
        return None


def _past(rooms: Rooms, latest: Mapping[str, Run]) -> dict[str, Past]:
    keys = {child.step_key for child in latest.values() if child.step_key is not None}
    media = {memory.step_key: memory.media for memory in rooms.runs.remembered_many(list(keys))}
    past = {}
    for name, child in latest.items():
        known = media.get(child.step_key) if child.step_key else None
        outputs = {
            one: Stored(digest=child.outputs[one], media=kind)
            for one, kind in (known or {}).items()
            if one in child.outputs
        }
        result = StepResult(outputs=outputs) if outputs else None
        if child.status == "finished":
            past[name] = Past(status="done", result=result)
        else:
            past[name] = Past(status="failed" if child.status == "failed" else "under way")
    return past


class _Picture:
    def __init__(self, state: rules.State, latest: Mapping[str, Run], waiting: set[str]) -> None:
        self._state, self._shape, self._latest, self._waiting = state, state.shape, latest, waiting
        self._tasks: dict[str, list[rules.Task]] = defaultdict(list)
        for task in state.tasks.values():
            self._tasks[task.of].append(task)

    def graph(self) -> Graph:
        nodes = [self._node(node.id) for node in self._shape.order if node.function not in RESOLVED]
        others = [child for name, child in self._latest.items() if name not in self._state.tasks]
        known = {node.id for node in nodes}
        beside = lineage.steps([*self._latest.values()]) if others else Graph(nodes=(), edges=())
        ids = {
            child.id: self._state.tasks[name].of for name, child in self._latest.items() if name in self._state.tasks
        }
        loose = {child.id for child in others}
        edges = [
            Edge(source=ids.get(edge.source, edge.source), target=edge.target, label=edge.label)
            for edge in beside.edges
            if edge.target in loose
        ]
        return Graph(
            nodes=(*nodes, *(node for node in beside.nodes if node.id in loose)),
            edges=tuple(dict.fromkeys([*self._edges(known), *edges])),
            frames=(*(self._frame(group) for group in self._shape.groups.values()), *self._calls(nodes)),
        )

    def _node(self, name: str) -> Node:
        node = self._shape.nodes[name]
        tasks = self._tasks[name]
        counts = Counter(map(self._status, tasks))
        state = _state(counts)
        one = self._latest.get(tasks[0].id) if len(tasks) == 1 else None
        said = _said(counts)
        if one is not None and lasted(one) is not None and not one.cached:
            said += f", {lasted(one):.1f} s"
        return Node(
            id=name,
            kind=node.kind,
            title=name,
            detail=said or "not yet",
            state=state,
            link=f"/runs/{one.id}" if one is not None else "",
            within=_within(self._shape.around(name)),
            note=_short(counts) if state == "plain" or (len(tasks) > 1 and state != "omitted") else "",
        )

    def _status(self, task: rules.Task) -> str:
        if task.id in self._waiting and task.status not in rules.OVER:
            return "waiting"
        child = self._latest.get(task.id)
        if self._shape.nodes[task.of].function == EITHER and task.status == "cached":
            return "finished"
        if child is not None and task.status in ("ready", "pending", "done", "cached"):
            return "cached" if child.cached else child.status
        return WORDS.get(task.status, task.status)

    def _frame(self, group: Group) -> Frame:
        tasks = self._tasks[group.id]
        counts: Counter[str] = Counter(task.status for task in tasks)
        return Frame(
            id=group.id,
            kind="when" if isinstance(group, Branch) else "each",
            title=heading(group),
            detail=self._taken(counts) if isinstance(group, Branch) else self._items(tasks),
            state="failed"
            if counts["failed"]
            else "omitted"
            if tasks and counts["omitted"] == len(tasks)
            else "plain",
            within=_within(self._shape.around(group.id)),
        )

    def _calls(self, nodes: Sequence[Node]) -> Iterator[Frame]:
        """A frame for each call of a pipeline that steps come from."""
        inside: dict[str, list[Node]] = defaultdict(list)
        around: dict[str, str] = {}
        for node in nodes:
            boxes = self._shape.around(node.id)
            for depth, box in enumerate(boxes):
                if box.call:
                    inside[box.name].append(node)
                    around.setdefault(box.name, _within(boxes[:depth]))
        for name, members in inside.items():
            states: Counter[str] = Counter(node.state for node in members)
            omitted = states["omitted"] == len(members)
            yield Frame(
                id=_id(rules.Box(name, call=True)),
                kind="call",
                title=called(name),
                detail=_steps(states),
                state="failed" if states["failed"] else "omitted" if omitted else "plain",
                within=around[name],
            )

    def _taken(self, counts: Counter[str]) -> str:
        judged = counts["done"] + counts["omitted"]
        if counts["failed"]:
            return "could not be judged"
        if not judged:
            return "skipped" if counts["skipped"] else "not yet"
        if judged == 1:
            return "taken" if counts["done"] else "not taken"
        return f"taken {counts['done']:,} of {judged:,}"

    def _items(self, tasks: Sequence[rules.Task]) -> str:
        """How many items a loop came to; of one inside another loop, all of them together."""
        counted = [self._state.counts[task.id] for task in tasks if task.id in self._state.counts]
        if counted:
            return f"{sum(counted):,} {'item' if sum(counted) == 1 else 'items'}" + (
                f" in {len(counted):,} rounds" if len(counted) > 1 else ""
            )
        found = {task.status for task in tasks}
        return next(
            (word for word in ("failed", "skipped") if word in found),
            "not taken" if "omitted" in found else "not yet",
        )

    def _edges(self, known: set[str]) -> Iterator[Edge]:
        for node in self._shape.order:
            for argument, ref in node.inputs.items():
                if ref.node in known and node.id in known:
                    yield Edge(source=ref.node, target=node.id, label=argument.partition("[")[0])
            for other in node.after:
                if other in known and node.id in known:
                    yield Edge(source=other, target=node.id, label="after")
        for name in self._shape.groups:
            for ref in self._shape.refs(name):
                if ref.node in known:
                    yield Edge(source=ref.node, target=name, label="")


def _id(box: rules.Box) -> str:
    return f"[{box.name}]" if box.call else box.name  # no group has brackets in its id


def _within(boxes: Sequence[rules.Box]) -> str:
    return _id(boxes[-1]) if boxes else ""


def _steps(states: Mapping[str, int]) -> str:
    """How many steps there are, and what is wrong with some: `3 steps, 1 failed`."""
    total = sum(states.values())
    worst = [f", {states[state]:,} {state}" for state in ("failed", "waiting") if states[state]]
    return f"{total:,} {'step' if total == 1 else 'steps'}{''.join(worst)}"


def _said(counts: Counter[str]) -> str:
    """How tasks came out: `finished`, or `3 failed, 197 finished`."""
    words = sorted(counts, key=lambda one: _ORDER.index(one) if one in _ORDER else len(_ORDER))
    if sum(counts.values()) == 1:
        return words[0]
    return ", ".join(f"{counts[word]:,} {word}" for word in words)


def _short(counts: Counter[str]) -> str:
    """The same for a small box: what is worst, out of how many."""
    total = sum(counts.values())
    if not total:
        return "not yet"
    said = _said(counts).partition(", ")[0]
    if total == 1:
        return said
    return said if len(counts) == 1 else f"{said} of {total:,}"


def _state(counts: Counter[str]) -> Literal["failed", "waiting", "omitted", "plain"]:
    total = sum(counts.values())
    if counts["failed"]:
        return "failed"
    if counts["waiting"]:
        return "waiting"
    return "omitted" if total and counts["not taken"] + counts["skipped"] == total else "plain"
