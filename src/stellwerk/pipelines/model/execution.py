"""What is kept of an execution, so that another engine can go on with it: its state beside the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from stellwerk.core.digest import Digest
from stellwerk.pipelines.model.plan import Status

Standing = Literal["running", "waiting", "paused", "done", "failed", "cancelled", "interrupted"]
"""How an execution stands: `waiting` for persons, events or times, without any machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One execution of a plan. Its id is that of its run.

    Args:
        plan: The plan's document, in the store.
        code: The digest of all code that the plan reaches: it goes on under no other.
        call: How it was asked for, so that it can be planned again: file and pipeline by name, parameters, options.
        epoch: Counts the engines that had it; what an earlier one writes is refused.
        owner: The process that executes it, as `machine:process id`; empty if none does.
        seen_at: When its engine was last heard of.
        request: What somebody wants of it: `pause`, `cancel`, or nothing.
        passed: Why a runner of triggers does not go on with it by itself; empty again once somebody has taken it.
        keys: The step keys that it came to, as a document in the store: what the next one probably asks for.
    """

    id: str
    pipeline: str
    plan: Digest
    code: Digest
    status: Standing = "running"
    call: dict[str, Any] = field(default_factory=dict)
    epoch: int = 1
    owner: str = ""
    begun_at: datetime
    seen_at: datetime
    request: str = ""
    passed: str = ""
    keys: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """An execution that waited, and something that it waited for has come.

    Args:
        cause: What has come, for the ledger: `case:…`, `time:…`, `entry:…` or `deadline:…`.
    """

    execution: Execution
    task: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """A task that has not simply been done: it runs, waits, was tried in vain, or has failed.

    What is done is in the step cache, under its key.
    """

    execution: str
    task: str
    node: str
    status: Status
    at: datetime
    attempts: int = 0
    lost: int = 0
    because: str = ""
    """Why it waits or was tried again: a case, or what the last attempt said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """That a step waits, under its key.

    Args:
        params: What for: a person, a time, or an entry of the ledger.
        position: How many entries the ledger had when the wait began: only later ones count.
        case: The case that a person decides; empty for other waits.
    """

    key: Digest
    execution: str
    task: str
    params: dict[str, Any]
    since: datetime
    position: int
    case: str = ""
