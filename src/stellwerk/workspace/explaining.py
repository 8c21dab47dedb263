"""Why a step is known or not: its key beside that of the last run of the same step, part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest, short
from stellwerk.pipelines import service as engine
from stellwerk.pipelines.closure import difference
from stellwerk.pipelines.environment import current, packages
from stellwerk.pipelines.keys import environment_key
from stellwerk.pipelines.model import (
    BUILTIN,
    Attempt,
    Closure,
    Ended,
    Event,
    Failure,
    Node,
    Plan,
    Resources,
    StepResult,
    Stored,
    TaskReport,
    Verdict,
)
from stellwerk.pipelines.ports import Request
from stellwerk.tracking.model import Run
from stellwerk.workspace import builtins, notebook_runs
from stellwerk.workspace import operations as ops
from stellwerk.workspace.journal import StepJournal, named
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.resolving import Names
from stellwerk.workspace.steps.retelling import retold


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a task would be executed or not.

    Args:
        status: `cached`, `changed` (its key is another one than the last time), `new` (it never ran), `unknown` (it
            waits for one that would be executed), `omitted`, or `always` (it may not be cached).
        key: Its step key, if that is known.
        because: What makes the difference, a line each.
    """

    task: str
    status: str
    key: str = ""
    because: tuple[str, ...] = ()


def explain(caller: Caller, plan: Plan, project: Any, step: str = "") -> tuple[Reason, ...]:
    """Why each task of a plan, or of one step, is known or not. Nothing is executed or written.

    Raises:
        NotFound: `unknown-step` if the plan has no step of this name.
    """
    engine.must_have(plan, [step] if step else [])
    closures = engine.closures(plan)
    environment = current()
    names = Names(caller, project)
    dry = _Dry(caller, plan, names)
    report = engine.execute(
        plan,
        blobs=dry,
        journal=dry,
        resolver=names,
        executor=dry,
        isolated=dry,
        waits=dry,
        environment=environment.digest,
        clock=caller.clock,
        builtins=builtins.BUILTINS,
        known=closures,
        patience=0.0,
    )
    nodes = {node.id: node for node in plan.nodes}
    found = [task for task in report.tasks if not step or task.node == step]
    return tuple(_reason(caller, plan, nodes[task.node], task, dry, closures) for task in found if task.node in nodes)


class _Dry:
    """An executor that executes nothing, and a journal that only reads."""

    def __init__(self, caller: Caller, plan: Plan, names: Names) -> None:
        self._caller, self._names = caller, names
        self._reader = StepJournal(caller, plan, "", 0, Digest(""), {})
        self._started: list[Attempt] = []
        self._bytes: dict[Digest, bytes] = {}
        self.events: dict[str, Event] = {}

    def environment(self, node: Node) -> Digest:
        """What stands for the environment of a step in its key."""
        own = node.environment
        locks = {own.lock: self._names.file(own.lock).digest} if own is not None and own.lock else {}
        return environment_key(current().digest, own, locks)

    def put_many(self, items: Any) -> list[Digest]:
        from stellwerk.core.digest import of_bytes

        kept = {of_bytes(item): item for item in items}
        self._bytes |= kept
        return list(kept)

    def get(self, digest: Digest) -> bytes:
        return self._bytes[digest] if digest in self._bytes else self._caller.blobs.get(digest)

    def lookup(self, key: Digest) -> StepResult | None:
        return self._reader.lookup(key)

    def write(self, events: Sequence[Event]) -> Mapping[str, StepResult]:
        self.events |= {event.task: event for event in events if event.key}
        return {}

    def request(self) -> Request:
        return ""

    def capacity(self) -> Resources:
        return Resources(cpus=10**6, gpus=10**6, custom=_Endless())

    def start(self, attempt: Attempt) -> None:
        self._started.append(attempt)

    def wait(self, timeout: float | None) -> Ended | None:
        if not self._started:
            return None
        failure = Failure(code="step-cancelled", message="this would be executed")
        return Ended(attempt=self._started.pop().id, outcome=failure)

    def stop(self, attempt: str) -> None:
        """Nothing runs."""

    def close(self) -> None:
        """Nothing runs."""

    def open(self, key: Digest, task: str, params: Mapping[str, Any], about: Sequence[Stored]) -> str:
        return ""

    def verdict(self, key: Digest, params: Mapping[str, Any]) -> Verdict | None:
        return Verdict(refusal="this would be asked")


class _Endless(dict[str, float]):
    """As much as anybody wants of anything."""

    def get(self, key: str, default: Any = None) -> float:
        return float(10**6)


def _reason(
    caller: Caller, plan: Plan, node: Node, task: TaskReport, dry: _Dry, closures: Mapping[str, Closure]
) -> Reason:
    if task.status in ("cached", "omitted"):
        why = _cached(caller, task) if task.status == "cached" and task.key else ()
        return Reason(task=task.task, status=task.status, key=task.key, because=why)
    if task.status == "skipped" or not task.key:
        return Reason(
            task=task.task, status="unknown", because=(f"it uses what {task.because or 'others'} would give",)
        )
    if not node.cache:
        return Reason(task=task.task, status="always", key=task.key, because=("it is declared with cache=False",))
    last = _last(caller, plan, task.task)
    if last is None:
        return Reason(task=task.task, status="new", key=task.key, because=("no run of this step is known",))
    event = dry.events.get(task.task)
    changed = _changes(caller, node, event, last, closures, dry.environment(node)) if event else ()
    hint = changed or ("the result of the last run is gone, or was given by a run that failed",)
    return Reason(task=task.task, status="changed", key=task.key, because=(f"compared with run {last.id}:", *hint))


def _cached(caller: Caller, task: TaskReport) -> tuple[str, ...]:
    known = caller.call(ops.remembered_step, {"step_key": Digest(task.key)})
    return (f"known since run {known.run}",) if known else ()


def _last(caller: Caller, plan: Plan, task: str) -> Run | None:
    quoted = task.replace("'", "''")
    arguments = {"where": f"attributes.run_name = '{quoted}'", "experiment": plan.name, "limit": 1}
    found: tuple[Run, ...] = caller.call(ops.search_runs, arguments)
    return found[0] if found else None


def _changes(
    caller: Caller, node: Node, event: Event, last: Run, closures: Mapping[str, Closure], environment: Digest
) -> tuple[str, ...]:
    lines: list[str] = []
    if not node.function.startswith(BUILTIN) and last.code is not None:
        before = canonical.loads(caller.blobs.get(last.code))
        parts = tuple((str(name), Digest(digest)) for name, digest in before)
        known = Closure(digest=Digest(event.code), parts=parts)
        lines += [f"code: {line}" for line in difference(known, closures[node.function])]
    given = notebook_runs.params(node, event.params)
    params = {**given, "seed": event.seed} if event.seed is not None else given
    lines += _values("parameter", last.params, params)
    old, new = (
        {name: digest for name, digest in inputs.items() if name not in node.aside}
        for inputs in (last.inputs, named(event.inputs))
    )
    lines += _values("input", old, new, short)
    lines += [f"kind: {last.kind} before, {node.kind} now"] if last.kind != node.kind else []
    if node.environment is None:
        return tuple(lines + _packages(caller, last))
    # Nobody kept what the environment was made of; but with it, the key of then would come out again.
    then = replace(last, environment=environment)
    if last.step_key and retold(caller, last.step_key, (then,), replace(node, kind=last.kind)) is None:
        said = ", ".join(f"{name} {text}" for name in OWN if (text := getattr(node.environment, name)))
        lines.append(f"environment: {said}: it is another one, or stands on another Python or platform")
    return tuple(lines)


def _values(what: str, before: Mapping[str, Any], now: Mapping[str, Any], say: Any = repr) -> list[str]:
    gone = object()
    lines = []
    for name in sorted({*before, *now}):
        old, new = before.get(name, gone), now.get(name, gone)
        if old != new:
            said = [("nothing" if value is gone else say(value)) for value in (old, new)]
            lines.append(f"{what} {name}: {said[0]} before, {said[1]} now")
    return lines


def _packages(caller: Caller, last: Run) -> list[str]:
    if last.environment is None:
        return []
    before, now = (packages(document) for document in (caller.blobs.get(last.environment), current().document))
    lines = _values("package", before, now, str)
    return lines if len(lines) <= MOST else [*lines[:MOST], f"... and {len(lines) - MOST} more packages"]


MOST = 8
"""Lines about packages: an upgrade changes many at once."""
OWN = ("extra", "lock", "python", "image")
"""What an environment of a step's own may name."""
