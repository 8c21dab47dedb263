"""What a task that runs by itself writes into the workspace: its run, in the run that holds all tasks together."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Conflict, NotFound
from stellwerk.pipelines.environment import current
from stellwerk.pipelines.keys import KeyDocument
from stellwerk.pipelines.model import Failure, Node, Plan, StepResult, Stored, document
from stellwerk.tracking.model import Cost, Run, StepMemory
from stellwerk.workspace import operations as ops
from stellwerk.workspace.journal import origin_tags
from stellwerk.workspace.layout import this_process
from stellwerk.workspace.ports import Caller


@dataclass(kw_only=True)
class Book:
    """Writes the runs of one task.

    Args:
        task: The task's name, such as `train#0`.
        parent: The run that holds the tasks together; empty for none.
    """

    caller: Caller
    plan: Plan
    node: Node
    task: str
    parent: str
    document: KeyDocument
    environment: Digest = field(init=False)
    run: str = ""
    cpu: float = 0.0

    def __post_init__(self) -> None:
        self.environment = self.caller.blobs.put(current().document)

    def known(self) -> StepResult | None:
        """The result that the step key has already."""
        known: StepMemory | None = self.caller.call(ops.remembered_step, {"step_key": self.document.key})
        if known is None:
            return None
        return StepResult(
            outputs={n: Stored(digest=d, media=known.media[n]) for n, d in known.outputs.items() if n in known.media}
        )

    def found(self, result: StepResult) -> Run:
        """Note that nothing had to be executed."""
        now = self.caller.clock.now()
        facts = self._facts()
        facts["tags"] = {**facts["tags"], **origin_tags(result)}
        run = Run(
            id="",
            status="finished",
            started_at=now,
            started_by="",
            outputs={name: stored.digest for name, stored in result.outputs.items()},
            cached=True,
            **facts,
        )
        recorded: Run = self.caller.call(ops.record_run, {"run": run})
        return recorded

    def start(self, tags: Mapping[str, str]) -> None:
        """Begin the run. What the step key stands for is kept first, so that the step can be repeated if it fails."""
        self.caller.blobs.put(self.document.bytes)
        process = this_process() if self.caller.local else None
        self.cpu = _cpu()
        facts = self._facts()
        facts["tags"] = {**facts["tags"], **tags}
        self.run = self.caller.call(ops.start_run, {**facts, "process": process}).id

    def finish(self, result: StepResult, metrics: Mapping[str, float], features: Mapping[str, Digest]) -> StepResult:
        """End the run and commit the result, unless the key has one; return the one that counts."""
        outputs = {name: stored.digest for name, stored in result.outputs.items()}
        memory = StepMemory(
            step_key=self.document.key,
            outputs=outputs,
            media={name: stored.media for name, stored in result.outputs.items()},
            run=self.run,
            created_at=self.caller.clock.now(),
        )
        peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        arguments = {
            "run": self.run,
            "outputs": {**outputs, **features},
            "metrics": metrics,
            "cost": Cost(
                wall_seconds=result.seconds, cpu_seconds=max(0.0, _cpu() - self.cpu), peak_memory_bytes=peak * 1024
            ),
            "log": Digest(result.log) if result.log else None,
            "memory": memory,
        }
        self.caller.call(ops.finish_run, arguments)
        return self.known() or result

    def fail(self, failure: Failure) -> None:
        """End the run with what went wrong."""
        text = "\n".join(part for part in (failure.log, failure.traceback) if part)
        log = self.caller.blobs.put(text.encode("utf-8", "replace")) if text else None
        arguments = {"run": self.run, "status": "failed", "error": failure.message, "log": log}
        self.caller.call(ops.finish_run, arguments)

    def interrupt(self, why: str) -> None:
        """End the run of a step that could not come to its end."""
        with suppress(Conflict):
            arguments = {"run": self.run, "status": "interrupted", "error": why or "interrupted"}
            self.caller.call(ops.finish_run, arguments)

    def _facts(self) -> dict[str, Any]:
        seed = {} if self.document.seed is None else {"seed": self.document.seed}
        return {
            "experiment": self.plan.name,
            "name": self.task,
            "kind": self.node.kind,
            "parent": self.parent or None,
            "params": {**self.node.params, **seed},
            "inputs": dict(_named(self.document)),
            "code": self.document.code,
            "environment": self.environment,
            "step_key": self.document.key,
            "tags": {} if self.parent else _tags(self.caller, self.plan),
        }


def gather(caller: Caller, plan: Plan, group: str, tags: Mapping[str, str] | None = None) -> str:
    """The run that holds the tasks of a group together, begun by whoever comes first."""
    if not group:
        return ""
    run: Run = caller.call(
        ops.gather_run,
        {
            "run": group,
            "experiment": plan.name,
            "name": plan.name,
            "params": plan.params,
            "tags": {**_tags(caller, plan), **(tags or {})},
        },
    )
    return run.id


def close(caller: Caller, group: str, *, failed: str = "") -> str:
    """End the run of a group; the status it has then. One that has ended stays as it is.

    It has failed if somebody says so, or if the last attempt at one of its tasks has.
    """
    try:
        run: Run = caller.call(ops.get_run, {"run": group})
        if run.status != "running":
            return run.status
        failed = failed or _ended(caller, group)
        status = "failed" if failed else "finished"
        return str(caller.call(ops.finish_run, {"run": group, "status": status, "error": failed}).status)
    except NotFound:
        return ""  # no task came far enough to begin it
    except Conflict:
        return str(caller.call(ops.get_run, {"run": group}).status)


def _ended(caller: Caller, group: str) -> str:
    """End the runs of tasks whose pods were killed, as nobody else would; why the last one of a task failed, if any."""
    last: dict[str, Run] = {}
    for run in caller.call(ops.search_runs, {"parent": group, "limit": 1000}):  # newest first
        if run.status == "running":
            with suppress(Conflict):
                ended = {"run": run.id, "status": "interrupted", "error": "its pod or job ended without a word"}
                run = caller.call(ops.finish_run, ended)
        last.setdefault(run.name, run)
    return next((run.error for run in last.values() if run.status in ("failed", "interrupted")), "")


def _tags(caller: Caller, plan: Plan) -> dict[str, str]:
    return {"plan": caller.blobs.put(canonical.dumps(document(plan)))}


def _named(said: KeyDocument) -> list[tuple[str, Digest]]:
    """Inputs as runs name them: `model#0` is the first of several."""
    named: list[tuple[str, Digest]] = []
    for argument, value in said.given.items():
        several = (value,) if isinstance(value, Stored) else value
        for index, one in enumerate(several):
            named.append((argument if len(several) == 1 else f"{argument}#{index}", one.digest))
    return named


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(one.ru_utime + one.ru_stime for one in usage)
