"""What the state machine hears, and what it asks for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The step cache has a result for a ready task."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """The step cache has nothing for a ready task."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Whether the condition of a ready branch holds."""

    task: str
    taken: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """How many items a ready loop has."""

    task: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A ready task cannot be looked up, judged or counted, because what it is given does not fit."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """An attempt gave its outputs."""

    task: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An attempt ended without outputs.

    Args:
        retryable: Whether another attempt may end differently.
        lost: Whether what ran it is gone, through no fault of the step.
        chance: A number in [0, 1) for the jitter of the wait before the next attempt.
    """

    task: str
    attempt: int
    retryable: bool = True
    lost: bool = False
    chance: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The wait before another attempt is over."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What a waiting task waited for has happened; `well` says whether it goes on."""

    task: str
    well: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """No further attempt is to be started until `Resumed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """Attempts are started again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """Nothing is to go on."""


Event = (
    Found | Missed | Judged | Counted | Rejected | Finished | Failed | Due | Decided | Paused | Resumed | Cancelled
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """Compute the task's key and ask the step cache."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Look whether the condition of a branch holds."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Count the items of a loop."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Start an attempt."""

    task: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """Say `Due` after so many seconds."""

    task: str
    attempt: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Ask the person, or watch for the event or time, that a task waits for."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Keep the result of this attempt; of a waiting task, the decision."""

    task: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """The task has failed for good."""

    task: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """The task will not run, because another one failed."""

    task: str
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Omit:
    """The task will not run, because its branch is not taken."""

    task: str
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End an attempt that is under way; its result is of no use any more."""

    task: str
    attempt: int


Command = Lookup | Judge | Count | Run | Delay | Open | Commit | Fail | Skip | Omit | Stop
