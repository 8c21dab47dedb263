"""What happened: the events of an execution, and the report at its end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from stellwerk.core.digest import Digest
from stellwerk.pipelines.model.attempt import Failure, StepResult, Stored
from stellwerk.pipelines.model.plan import Status

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
    "cancelled",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened while a plan was executed.

    Args:
        task: The node's id, with `#<seed>` if the node has seeds.
        attempt: Counts from 1.
        result: With `node-finished` and `node-cached`: what was committed or found.
        failure: With `node-failed` and `node-retried`: why.
        stored: With `input-resolved`: the dataset version's bytes.
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
    failure: Failure | None = None
    stored: Stored | None = None
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
        results: The stored results of the pipeline by name; one item, or one per seed. Missing if a step failed.
    """

    plan: Digest
    environment: Digest
    started: datetime
    ended: datetime
    inputs: dict[str, Stored]
    tasks: tuple[TaskReport, ...]
    results: dict[str, tuple[Stored, ...]]

    @property
    def status(self) -> Literal["done", "failed"]:
        return "done" if all(task.status in {"done", "cached"} for task in self.tasks) else "failed"

    @property
    def failures(self) -> tuple[TaskReport, ...]:
        """The tasks that failed themselves; skipped ones only waited for them."""
        return tuple(task for task in self.tasks if task.status == "failed")

    def count(self, status: Status) -> int:
        """How many tasks ended in a status."""
        return sum(task.status == status for task in self.tasks)
