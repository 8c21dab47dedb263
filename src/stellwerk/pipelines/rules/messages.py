"""What the state machine hears, and what it asks for.

They are structs of msgspec, as tasks are: equal to frozen dataclasses in use, but made and changed in a tenth of the
time, and so are their classes, which every start of a command pays for.
"""

from __future__ import annotations

from msgspec import Struct


class Found(Struct, frozen=True, kw_only=True):
    """The step cache has a result for a ready task."""

    task: str


class Missed(Struct, frozen=True, kw_only=True):
    """The step cache has nothing for a ready task."""

    task: str


class Judged(Struct, frozen=True, kw_only=True):
    """Whether the condition of a ready branch holds."""

    task: str
    taken: bool


class Counted(Struct, frozen=True, kw_only=True):
    """How many items a ready loop has."""

    task: str
    count: int


class Rejected(Struct, frozen=True, kw_only=True):
    """A ready task cannot be looked up, judged or counted, because what it is given does not fit."""

    task: str


class Finished(Struct, frozen=True, kw_only=True):
    """An attempt gave its outputs."""

    task: str
    attempt: int


class Failed(Struct, frozen=True, kw_only=True):
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


class Due(Struct, frozen=True, kw_only=True):
    """The wait before another attempt is over."""

    task: str


class Decided(Struct, frozen=True, kw_only=True):
    """What a waiting task waited for has happened; `well` says whether it goes on."""

    task: str
    well: bool = True


class Paused(Struct, frozen=True, kw_only=True):
    """No further attempt is to be started until `Resumed`."""


class Resumed(Struct, frozen=True, kw_only=True):
    """Attempts are started again."""


class Cancelled(Struct, frozen=True, kw_only=True):
    """Nothing is to go on."""


Event = (
    Found | Missed | Judged | Counted | Rejected | Finished | Failed | Due | Decided | Paused | Resumed | Cancelled
)


class Lookup(Struct, frozen=True, kw_only=True):
    """Compute the task's key and ask the step cache."""

    task: str


class Judge(Struct, frozen=True, kw_only=True):
    """Look whether the condition of a branch holds."""

    task: str


class Count(Struct, frozen=True, kw_only=True):
    """Count the items of a loop."""

    task: str


class Run(Struct, frozen=True, kw_only=True):
    """Start an attempt."""

    task: str
    attempt: int


class Delay(Struct, frozen=True, kw_only=True):
    """Say `Due` after so many seconds."""

    task: str
    attempt: int
    seconds: float


class Open(Struct, frozen=True, kw_only=True):
    """Ask the person, or watch for the event or time, that a task waits for."""

    task: str


class Commit(Struct, frozen=True, kw_only=True):
    """Keep the result of this attempt; of a waiting task, the decision."""

    task: str
    attempt: int


class Fail(Struct, frozen=True, kw_only=True):
    """The task has failed for good."""

    task: str
    attempt: int


class Skip(Struct, frozen=True, kw_only=True):
    """The task will not run, because another one failed."""

    task: str
    because: str


class Omit(Struct, frozen=True, kw_only=True):
    """The task will not run, because its branch is not taken."""

    task: str
    because: str


class Stop(Struct, frozen=True, kw_only=True):
    """End an attempt that is under way; its result is of no use any more."""

    task: str
    attempt: int


Command = Lookup | Judge | Count | Run | Delay | Open | Commit | Fail | Skip | Omit | Stop
