"""The values of pipelines: plans and their nodes, attempts and their outcomes, run reports.

How a plan is written is in `authoring`, how it is executed in `rules` and `service`.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, StellwerkError, Unavailable

SINGLE = "value"
"""The name of the only output of a step that declares none."""

BUILTIN = "builtin:"
"""Function references with this prefix name steps that come with Stellwerk."""

DATASET = BUILTIN + "dataset"
"""The function reference of input nodes: they are resolved, never executed."""

Status = Literal["pending", "ready", "running", "cached", "done", "failed", "skipped"]

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_size(text: str) -> int:
    """Read `512MB`, `2GB` or `1.5GiB` as bytes; GB are 10^9, GiB are 2^30."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)\s?([A-Za-z]{1,3})", text)
    if not match or match[2].upper() not in _UNITS:
        raise Invalid(
            f"not a size: {text[:40]!r} (expected a number and B, KB, MB, GB, TB, KiB, MiB or GiB)",
            code="invalid-size",
        )
    return int(float(match[1]) * _UNITS[match[2].upper()])


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a step needs. A memory limit is enforced in a child process; `cpus` tells schedulers what to reserve."""

    cpus: float = 1
    memory: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.cpus, bool) or not isinstance(self.cpus, (int, float)) or not self.cpus > 0:
            raise Invalid(f"cpus is {self.cpus!r} (expected a number above 0)", code="invalid-resources")
        if self.memory and parse_size(self.memory) < 1:
            raise Invalid(f"memory is {self.memory!r} (expected more than nothing)", code="invalid-resources")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """An output of a node, standing for a value that nobody has computed yet."""

    node: str
    output: str = SINGLE

    def __bool__(self) -> bool:
        raise self._unknown("cannot be tested")

    def __iter__(self) -> Any:
        raise self._unknown("cannot be iterated or unpacked")

    def __getitem__(self, key: object) -> Any:
        raise self._unknown("cannot be indexed")

    def _unknown(self, what: str) -> Invalid:
        return Invalid(
            f"the output of step {self.node!r} {what}: it is not known while the pipeline is planned",
            code="unknown-value",
            hint="do this inside a step; several outputs are declared by @step(outputs=(...))",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One use of a step in a plan.

    Args:
        id: Unique in the plan and readable: `train`, `train-2`.
        step: Name of the step.
        kind: What the step is for: `data`, `train`, `evaluate`, ...
        function: `module:qualname`, or `builtin:<name>`.
        file: Where the function's module was loaded from; empty if it has no file. Not part of the plan's digest.
        params: JSON values by argument.
        inputs: References by argument; the items of a list argument are `tables[0]`, `tables[1]`, ...
        seeds: 0, or how often the step runs, once for each of the seeds 0, 1, ...; its output is then a list.
        timeout: Wall-clock limit of one attempt as text such as `10m`; empty for none.
    """

    id: str
    step: str
    kind: str
    function: str
    file: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Ref] = field(default_factory=dict)
    seeds: int = 0
    retries: int = 0
    timeout: str = ""
    resources: Resources = field(default_factory=Resources)
    outputs: tuple[str, ...] = (SINGLE,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A pipeline called with parameters: what would be executed, as a pure value."""

    name: str
    params: dict[str, Any] = field(default_factory=dict)
    nodes: tuple[Node, ...] = ()
    results: dict[str, Ref] = field(default_factory=dict)

    @property
    def digest(self) -> Digest:
        """The digest of the plan's document: the same on every machine, and without any code."""
        return canonical.digest(document(self))


def document(plan: Plan) -> dict[str, Any]:
    """The plan as JSON, without the paths of this machine."""
    body = asdict(plan)
    for node in body["nodes"]:
        del node["file"]
    return {"format": "stellwerk-plan/1", **body}


@dataclass(frozen=True, slots=True, kw_only=True)
class Builtin:
    """A step that comes with Stellwerk; raising `version` retires all cached results of it."""

    name: str
    version: int

    @property
    def code(self) -> Digest:
        """What stands for the code of this step in its step keys."""
        return canonical.digest({"builtin": self.name, "version": self.version})


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """The code a step can reach: its digest, and the digest of each part by qualified name, sorted."""

    digest: Digest
    parts: tuple[tuple[str, Digest], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A value that is kept as bytes: their digest, and how to read them."""

    digest: Digest
    media: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step gave under one step key.

    Args:
        outputs: The stored outputs by name.
        seconds: How long the attempt took.
        log: The digest of what the step printed; empty if it printed nothing.
    """

    outputs: dict[str, Stored]
    seconds: float = 0.0
    log: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A value as bytes, and how to read them."""

    media: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One execution of a step, self-contained: everything an executor needs to know.

    Args:
        node: The node's id, for messages.
        function: `module:qualname`, or `builtin:<name>`.
        code: The closure that the step key was made of; an executor that loads the code anew must find the same.
        inputs: Encoded values by argument; exactly one each, unless the argument is named in `listed`.
        listed: Arguments whose values are passed as a list, because the step that made them ran once per seed.
        seed: The seed of this attempt; None if the step declares no seeds.
        outputs: Names of the outputs that the step must return.
        timeout: Seconds of wall-clock time; None for no limit.
        memory: Bytes of address space; None for no limit.
    """

    node: str
    function: str
    file: str = ""
    code: Closure | None = None
    inputs: dict[str, tuple[Encoded, ...]] = field(default_factory=dict)
    listed: frozenset[str] = frozenset()
    params: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    outputs: tuple[str, ...] = (SINGLE,)
    timeout: float | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A successful attempt: encoded outputs by name, what was printed, how long it took."""

    outputs: dict[str, Encoded]
    log: str = ""
    seconds: float = 0.0


FailureCode = Literal[
    "step-failed",
    "step-timeout",
    "step-memory",
    "step-killed",
    "step-not-importable",
    "source-changed",
    "unsupported-value",
    "wrong-outputs",
]

_UNAVAILABLE = {"step-timeout", "step-memory", "step-killed"}
_FINAL = {"step-not-importable", "source-changed", "unsupported-value", "wrong-outputs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed attempt, as a value.

    Args:
        cause: The code of the `StellwerkError` that the step raised, if it was one.
        traceback: The frames of the user's own code and the exception, as text; empty if none was raised.
        log: What the step printed before.
    """

    code: FailureCode
    message: str
    hint: str = ""
    cause: str = ""
    traceback: str = ""
    log: str = ""
    seconds: float = 0.0

    @property
    def retryable(self) -> bool:
        """Whether another attempt may end differently."""
        return self.code not in _FINAL

    def error(self) -> StellwerkError:
        """The error to raise where somebody wants an exception."""
        kind = Unavailable if self.code in _UNAVAILABLE else Invalid
        return kind(self.message, code=self.code, hint=self.hint)


EventKind = Literal[
    "input-resolved",
    "node-started",
    "node-retried",
    "node-finished",
    "node-cached",
    "node-failed",
    "node-skipped",
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
