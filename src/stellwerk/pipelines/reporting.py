"""How an execution has ended, told from its works."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from stellwerk.core.digest import Digest
from stellwerk.pipelines.model import RESOLVED, Node, RunReport, Stored, TaskReport
from stellwerk.pipelines.rules import GOOD, Task, task_id
from stellwerk.pipelines.supplies import Supplies


def report_of(
    supplies: Supplies, codes: Mapping[str, Digest], environment: Digest, started: datetime, ended: datetime
) -> RunReport:
    """The report of an execution: its tasks in the order of the plan, and what came out of it."""
    state = supplies.state
    by_node: dict[str, list[Task]] = {}
    for task in state.tasks.values():
        by_node.setdefault(task.of, []).append(task)
    nodes = [node for node in state.shape.order if node.function not in RESOLVED]
    groups = [task for group in state.shape.plan.groups for task in by_node.get(group.id, ())]
    return RunReport(
        plan=state.shape.plan.digest,
        environment=environment,
        started=started,
        ended=ended,
        inputs=dict(supplies.given),
        tasks=tuple(
            _task(supplies, task, codes)
            for node in nodes
            for task in by_node.get(node.id) or [_never(supplies, node)]
        )
        + tuple(_task(supplies, task, codes) for task in groups if task.status == "failed"),
        results=_results(supplies),
    )


def _task(supplies: Supplies, task: Task, codes: Mapping[str, Digest]) -> TaskReport:
    work = supplies.work(task.id) if task.id in supplies.state.tasks else None
    known = {"code": codes[task.of]} if task.of in codes else {}
    return TaskReport(
        task=task.id,
        node=task.of,
        seed=task.seed,
        status=task.status,
        attempts=task.attempts,
        key=(work.key if work else None) or "",
        **known,
        result=work.result if work else None,
        failure=work.failure if work else None,
        because=task.because or (work.case if work and task.status == "waiting" else ""),
    )


def _never(supplies: Supplies, node: Node) -> Task:
    """A node in a loop that had no items, was not taken, or was not reached."""
    state = supplies.state
    for loop in reversed(state.shape.loops[node.id]):
        depth = len(state.shape.loops[loop])
        found = state.tasks.get(task_id(loop)) if not depth else None
        if found is not None:
            if found.status in GOOD:
                break
            return Task(node.id, node.id, status=found.status, because=found.because or found.id)
    return Task(node.id, node.id, status="omitted")


def _results(supplies: Supplies) -> dict[str, tuple[Stored, ...]]:
    state = supplies.state
    found: dict[str, tuple[Stored, ...]] = {}
    for name, ref in state.shape.plan.results.items():
        if ref.node in supplies.given:
            found[name] = (supplies.given[ref.node],)
            continue
        names, listed = state.instances(ref.node, "", ())
        tasks = [state.tasks.get(one) for one in names]
        whole = all(task is not None and task.status in {*GOOD, "omitted"} for task in tasks)
        loops = [state.tasks.get(task_id(loop)) for loop in state.shape.loops[ref.node][:1]]
        if not whole or any(loop is None or loop.status not in GOOD for loop in loops):
            continue
        made = supplies.makers(ref, "", ())[0] if listed or any(t and t.status in GOOD for t in tasks) else []
        if made or listed:
            found[name] = tuple(made)
    return found
