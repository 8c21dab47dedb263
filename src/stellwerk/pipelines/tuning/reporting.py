"""How a step tells of itself while it is tuned: `sw.report(step, value)`. Everywhere else that does nothing."""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import Any

from stellwerk.core.errors import Invalid, Refused
from stellwerk.pipelines.tuning.ports import Report

PRUNED = "trial-pruned"
TELL: ContextVar[Report | None] = ContextVar("stellwerk_trial", default=None)
"""Where the trial that runs in this context reports to."""


class Pruned(Refused):
    """Ends a trial that others are so much better than that it is not worth going on. Let it pass."""


def report(step: int, value: float) -> None:
    """Say how good a step of a trial is: its loss or score after epoch `step`, in the direction of the objective.

    Raises:
        Pruned: The trial is not worth going on. Do not catch it.
        Invalid: The step is no whole number, or the value no finite number.
    """
    tell = TELL.get()
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise Invalid(f"the step is {step!r} (expected a whole number from 0)", code="invalid-report")
    number = _number(value)
    if tell is not None and tell(step, number):
        raise Pruned(f"pruned at step {step}, with {number:g}", code="trial-pruned")


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as cause:
        raise Invalid(f"the value is {value!r} (expected a number)", code="invalid-report") from cause
    if not math.isfinite(number):
        raise Invalid(f"the value is {number} (expected a finite number)", code="invalid-report")
    return number
