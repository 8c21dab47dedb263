"""What is executed: built-in steps and code, values as bytes, attempts and how they end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, StellwerkError, Unavailable
from stellwerk.pipelines.model.plan import SINGLE, Environment, Resources


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
class Origin:
    """Where a result was computed that was not computed here: the name of the workspace's book, and its run."""

    workspace: str
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step gave under one step key.

    Args:
        outputs: The stored outputs by name.
        seconds: How long the attempt took.
        log: The digest of what the step printed; empty if it printed nothing.
        cpu_seconds: Processor time that it used, as far as its executor could tell.
        peak_memory: The most memory that its process held, in bytes.
        origin: Where it was computed, if another workspace gave it.
    """

    outputs: dict[str, Stored]
    seconds: float = 0.0
    log: str = ""
    cpu_seconds: float = 0.0
    peak_memory: int = 0
    origin: Origin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A value as bytes, and how to read them; their digest, where they come from the store."""

    media: str
    data: bytes
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One execution of a step, self-contained: everything an executor needs to know.

    Args:
        id: Unique among all attempts of an execution.
        task: The node's id, with the indices of its loops and its seed.
        node: The node's id, for messages.
        function: `module:qualname`, or `builtin:<name>`.
        code: The closure that the step key was made of; an executor that loads the code anew must find the same.
        inputs: Encoded values by argument; exactly one each, unless the argument is named in `listed`.
        listed: Arguments whose values are passed as a list, because the step that made them ran once per seed.
        seed: The seed of this attempt; None if the step declares no seeds.
        outputs: Names of the outputs that the step must return.
        timeout: Seconds of wall-clock time; None for no limit.
        memory: Bytes of address space; None for no limit.
        resources: What it may use, for executors that share machines out.
        environment: Where the step runs in another one than the pipeline.
    """

    id: str = ""
    task: str = ""
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
    resources: Resources = field(default_factory=Resources)
    environment: Environment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A successful attempt: encoded outputs by name, what was printed, what it took (seconds, and bytes of memory)."""

    outputs: dict[str, Encoded]
    log: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int = 0


FailureCode = Literal[
    "step-failed",
    "step-timeout",
    "step-memory",
    "step-killed",
    "step-cancelled",
    "not-approved",
    "invalid-condition",
    "worker-lost",
    "step-not-importable",
    "source-changed",
    "unsupported-value",
    "wrong-outputs",
]

_UNAVAILABLE = {"step-timeout", "step-memory", "step-killed", "step-cancelled", "worker-lost"}
_FINAL = {
    "step-cancelled",
    "not-approved",
    "invalid-condition",
    "step-not-importable",
    "source-changed",
    "unsupported-value",
    "wrong-outputs",
}


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

    @property
    def lost(self) -> bool:
        """Whether what ran the step is gone, through no fault of the step."""
        return self.code == "worker-lost"

    def error(self) -> StellwerkError:
        """The error to raise where somebody wants an exception."""
        kind = Unavailable if self.code in _UNAVAILABLE else Invalid
        return kind(self.message, code=self.code, hint=self.hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An attempt that an executor has brought to its end."""

    attempt: str
    outcome: Outcome | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a wait came out.

    Args:
        value: What the step gives: JSON.
        refusal: Why it does not go on; empty if it does.
    """

    value: Any = None
    refusal: str = ""
