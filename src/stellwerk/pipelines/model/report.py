"""What happened: the events of an execution, and the report at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from stellwerk.core.digest import Digest
from stellwerk.pipelines.model.attempt import Failure, StepResult, Stored
from stellwerk.pipelines.model.plan import Status

Outcomes = Literal["done", "failed", "waiting", "paused", "cancelled"]

EventKind = Literal[
    "input-resolved",
    "node-started",
    "node-retried",
    "node-finished",
    "node-cached",
    "node-failed",
    "node-skipped",
    "node-omitted",
    "node-waiting",
    "node-decided",
    "loop-expanded",
    "progress",
    "workers-awaited",
    "paused",
    "cancelled",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened while a plan was executed.

    Args:
        task: The node's id, with `#<seed>` if the node has seeds.
        attempt: Counts from 1.
        result: With `node-finished` and `node-cached`: what was committed or found.
        value: With `node-finished`: the value, where it is a small JSON object.
        inputs: With events of a task that has a key: what goes into it, one or several values by argument.
        params: Likewise its parameters, with every name made definite.
        failure: With `node-failed` and `node-retried`: why.
        stored: With `input-resolved`: the dataset version's bytes.
        because: With `node-skipped` and `node-omitted`: the task that is the reason; with `node-waiting`: the case.
        done: With `progress`: how many tasks of `total` are over.
    """

    kind: EventKind
    at: datetime
    node: str = ""
    task: str = ""
    seed: int | None = None
    attempt: int = 0
    key: str = ""
    code: str = ""
    result: StepResult | None = None
    value: Mapping[str, Any] | None = None
    inputs: Mapping[str, Stored | list[Stored]] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    failure: Failure | None = None
    stored: Stored | None = None
    because: str = ""
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReport:
    """How one task, a node or one seed of it, ended."""

    task: str
    node: str
    seed: int | None
    status: Status
    attempts: int = 0
    key: str = ""
    code: str = ""
    result: StepResult | None = None
    failure: Failure | None = None
    because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """How the execution of a plan ended.

    Args:
        inputs: The resolved dataset versions by node.
        tasks: In the order of the plan.
        results: The stored results of the pipeline by name; one item, or one per seed and item of a loop. Missing if a
            step failed, was omitted, or still waits.
    """

    plan: Digest
    environment: Digest
    started: datetime
    ended: datetime
    inputs: dict[str, Stored]
    tasks: tuple[TaskReport, ...]
    results: dict[str, tuple[Stored, ...]]

    @property
    def status(self) -> Outcomes:
        """`waiting` if it goes on once a person, an event or a time has decided; `paused` if it is asked to."""
        found = {task.status for task in self.tasks}
        if found <= {"done", "cached", "omitted"}:
            return "done"
        if "cancelled" in found:
            return "cancelled"
        if "waiting" in found and not found & {"queued", "delayed", "running"}:
            return "waiting"
        return "paused" if found & {"ready", "queued", "delayed", "pending", "waiting"} else "failed"

    @property
    def failures(self) -> tuple[TaskReport, ...]:
        """The tasks that failed themselves; skipped ones only waited for them."""
        return tuple(task for task in self.tasks if task.status == "failed")

    def count(self, status: Status) -> int:
        """How many tasks ended in a status."""
        return sum(task.status == status for task in self.tasks)
