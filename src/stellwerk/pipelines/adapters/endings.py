"""What the end of a step's process means, as a value."""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Callable

from stellwerk.core.errors import StellwerkError
from stellwerk.pipelines.adapters import invocation
from stellwerk.pipelines.model import Attempt, Failure, Outcome

Used = tuple[float, int]
"""Seconds of processor time and, at most at a time, bytes of memory, of a process and of what it waited for."""


def used(usage: resource.struct_rusage) -> Used:
    """What the system says that a process used."""
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def timed_out(attempt: Attempt) -> Failure:
    """It was stopped because its time was over."""
    return Failure(
        code="step-timeout",
        message=f"step {attempt.node!r} took longer than its limit of {attempt.timeout:g} seconds and was stopped",
        hint="raise its timeout",
    )


def cancelled(attempt: Attempt) -> Failure:
    """It was stopped because somebody asked for that."""
    return Failure(code="step-cancelled", message=f"step {attempt.node!r} was cancelled")


def lost(attempt: Attempt, what: str) -> Failure:
    """What ran it is gone, through no fault of the step."""
    return Failure(
        code="worker-lost",
        message=f"{what} that ran step {attempt.node!r} is gone",
        hint="the step may be run again",
    )


def without_file(attempt: Attempt) -> Failure:
    """No other process can import it."""
    return Failure(
        code="step-not-importable",
        message=f"step {attempt.node!r} is defined in a session without a file",
        hint="move it to a file, or declare neither timeout nor memory",
    )


def judge(
    attempt: Attempt, status: int, log: str, answer: Callable[[], Outcome | Failure | None]
) -> Outcome | Failure:
    """What the end of a process means.

    Args:
        status: The exit status, or the negative number of the signal that killed it.
        answer: Reads what it answered: None if it did not.
    """
    if status == 0:
        try:
            answered = answer()
        except (StellwerkError, OSError, KeyError, TypeError, ValueError):
            return Failure(
                code="step-failed", message=f"step {attempt.node!r} disturbed the answer of its own process"
            )
        if answered is not None:
            return answered
    # Native code that gets no memory ends its process, after saying so.
    if attempt.memory is not None and status < 0 and invocation.out_of_memory(log):
        return invocation.memory_failure(attempt)
    if status < 0:
        name = signal.Signals(-status).name
        hint = "the system may have run out of memory" if name == "SIGKILL" else "native code of a library crashed"
        return Failure(
            code="step-killed", message=f"the process of step {attempt.node!r} was killed by {name}", hint=hint
        )
    return Failure(
        code="step-failed",
        message=f"the process of step {attempt.node!r} ended with status {status} before the step returned",
    )
