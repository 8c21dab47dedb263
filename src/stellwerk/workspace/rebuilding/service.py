"""Rebuilding a model version: repeat its run from the ledger, compare step by step, grade, and record the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.clock import monotonic
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.evidence.metrics import PROPER
from stellwerk.evidence.rebuilds import Facts
from stellwerk.evidence.reproduction import Measured, Probes, StepPair
from stellwerk.pipelines import machine as machines
from stellwerk.pipelines.adapters.environments import Say
from stellwerk.pipelines.model import Node, Plan
from stellwerk.store import service as trees
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.tracking.model import Run
from stellwerk.workspace import codecs, declaring
from stellwerk.workspace import operations as ops
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.rebuilding import original as originals
from stellwerk.workspace.rebuilding import starting
from stellwerk.workspace.rebuilding.model import Original, Rebuilt
from stellwerk.workspace.rebuilding.repeating import STORE

MOST_NAMES = 5


def rebuild(
    caller: Caller,
    model: str,
    *,
    here: bool = False,
    offline: bool = False,
    metric: str = "",
    margin: float | None = None,
    say: Say = lambda text: None,
    heard: starting.Heard = lambda kind, task: None,
) -> Rebuilt:
    """Repeat the run behind a model version, and record how much came out again.

    Args:
        here: In the environment of this process, instead of one made of the run's lock.
        offline: Packages come from the installer's cache.
        metric: What the seeds are compared by; the loss that the model was chosen by, unless said.
        margin: By how much means of seeds may differ; the margin that the endpoint of this name declares, unless said.
    """
    started = monotonic()
    found = originals.find(caller, model)
    measured_by = metric or PROPER.get(found.evaluation.get("task", ""), "")
    _check_metric(found, measured_by)
    python, notes = (None, ()) if here else starting.interpreter(caller.blobs, found, offline=offline, say=say)
    say(f"repeating {len(found.steps)} steps of run {found.run.id}")
    stock = declaring.resources(caller.home)
    with starting.prepared(caller.blobs, found, offline=offline, stock=stock) as folder:
        report = starting.repeat(folder, python, found, heard)
        now = _tree(LocalFolder(folder / STORE), report)
    facts = Facts(
        run=found.run.id,
        plan=Digest(found.run.tags["plan"]),
        before=found.version.bytes(),
        now=now,
        steps=_pairs(found, report),
        given=tuple(sorted({one.digest for one in found.inputs.values()})),
        probes=_probes(found, report),
        metric=_measured(found.evaluation, report.get("evaluation"), measured_by),
        margin=_margin(caller, found.version.name, measured_by) if margin is None else margin,
        fresh=not here,
        environment=caller.blobs.put(canonical.dumps(report["environment"])),
        machine=caller.blobs.put(canonical.dumps(report["machine"])),
        notes=(*found.notes, *notes, *_notes(found, report)),
        seconds=monotonic() - started,
    )
    kept = caller.blobs.put(facts.document)
    said = f"{found.version.name}@{found.version.version}"
    recorded = caller.call(ops.record_rebuild, {"model": said, "report": kept})
    tasks = tuple((pair.task, pair.same, _seconds(report, pair.task)) for pair in facts.steps)
    return Rebuilt(
        model=said,
        grade=facts.grade,
        facts=facts,
        run=str(recorded.facts["run"]),
        report=kept,
        evidence=recorded.id,
        tasks=tasks,
    )


def _check_metric(found: Original, metric: str) -> None:
    known = found.evaluation.get("metrics", {})
    if metric not in known:
        raise Invalid(
            f"the run did not measure {metric!r} (it measured {', '.join(sorted(known)) or 'nothing'})",
            code="unknown-metric",
        )


def _tree(store: LocalFolder, report: Mapping[str, Any]) -> Digest | None:
    if "model" not in report:
        return None
    return trees.put_files(store, codecs.files(store.get(Digest(report["model"]))))


# Step by step


def _pairs(found: Original, report: Mapping[str, Any]) -> tuple[StepPair, ...]:
    now = {task["task"]: task for task in report["tasks"]}
    order = {name: place for place, name in enumerate(now)}
    names = sorted(found.steps, key=lambda name: order.get(name, len(order)))
    return tuple(_pair(found.plan, found.steps[name], now.get(name, {})) for name in names)


def _pair(plan: Plan, run: Run, task: Mapping[str, Any]) -> StepPair:
    node = _node(plan, run.name)
    declared = node.outputs if node else tuple(run.outputs)
    missing = "" if task else "it did not run this time"
    return StepPair(
        task=run.name,
        inputs=tuple(sorted(set(run.inputs.values()))),
        before={name: digest for name, digest in run.outputs.items() if name in declared},
        now={name: Digest(digest) for name, digest in task.get("outputs", {}).items()},
        error=str(task.get("error", "")) or missing,
    )


def _node(plan: Plan, task: str) -> Node | None:
    found = [node for node in plan.nodes if task == node.id or task.startswith((f"{node.id}#", f"{node.id}["))]
    return max(found, key=lambda node: len(node.id), default=None)


def _seconds(report: Mapping[str, Any], task: str) -> float:
    return next((float(one["seconds"]) for one in report["tasks"] if one["task"] == task), 0.0)


# What the level follows from


def _probes(found: Original, report: Mapping[str, Any]) -> Probes | None:
    if "probes" not in report:
        return None
    now = machines.read(canonical.dumps(report["machine"]))
    same = machines.same_hardware(found.machine, now)
    said = report["probes"]
    return Probes(rows=said["rows"], largest=float(said["largest"]), classes=said["classes"], same_hardware=same)


def _measured(before: Mapping[str, Any], now: Mapping[str, Any] | None, metric: str) -> Measured | None:
    """The metric of all seeds of whichever kind of model was chosen: the pipeline's, or the simpler one beside it."""
    if now is None:
        return None
    chosen, seeds = int(before["chosen"]), len(before["seeds"])
    kind, place = ("seeds", chosen) if chosen < seeds else ("simpler", chosen - seeds)
    values = [tuple(float(one[metric]) for one in said[kind] if metric in one) for said in (before, now)]
    return Measured(metric=metric, before=values[0], now=values[1], chosen=place)


def _margin(caller: Caller, name: str, metric: str) -> float | None:
    endpoint = next((one for one in caller.call(ops.list_endpoints, {}) if one.name == name), None)
    goals = endpoint.goals if endpoint else ()
    return next((goal.margin for goal in goals if goal.metric == metric), None)


# What differs around it


def _notes(found: Original, report: Mapping[str, Any]) -> Iterator[str]:
    machine = machines.read(canonical.dumps(report["machine"]))
    local = set(found.machine.local) if found.machine else set()
    yield from _packages(found.environment["distributions"], report["environment"]["distributions"], local)
    for name in ("python", "implementation", "platform"):
        before, now = found.environment[name], report["environment"][name]
        if before != now:
            yield f"{name} {before}, now {now}"
    if found.machine is None:
        yield "the run did not keep its machine"
    yield from (
        text for text in machines.differences(found.machine, machine) if not text.startswith("Python's version")
    )
    for function, digest in sorted(report["codes"].items()):
        if found.codes.get(function, digest) != digest:
            yield f"the code of {function} is not what it was"
    if "unasked" in report:
        yield f"the two models could not be asked: {report['unasked']}"
    yield from (f"step {task['task']}: {task['error']}" for task in report["tasks"] if task["error"])


def _packages(before: Sequence[str], now: Sequence[str], local: set[str]) -> Iterator[str]:
    old, new = (dict(text.partition("==")[::2] for text in texts) for texts in (before, now))
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            yield f"{name} {old[name]}, now {new[name]}"
    for what, names in (("not there now", old.keys() - new.keys()), ("only there now", new.keys() - old.keys())):
        left = sorted(names - local)
        if left:
            more = f" and {len(left) - MOST_NAMES} more" if len(left) > MOST_NAMES else ""
            yield f"{what}: {', '.join(left[:MOST_NAMES])}{more}"
