"""What tuning needs of others: somebody who advises, somebody who keeps trials, and somebody who runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from stellwerk.pipelines.tuning.model import Ending, State, Trial

Report = Callable[[int, float], bool]
"""Takes what a trial reports at a step; answers whether the trial is to end."""
Run = Callable[[Trial, Report], Ending]
"""Runs one trial to its end, whatever that is."""


class Advisor(Protocol):
    """Says what to try next. Used by one thread at a time.

    What it says depends on the setup, the number and the trials so far, and on nothing else: so it can be made anew
    from the trials at any time, and says the same.
    """

    def ask(self, number: int) -> dict[str, Any] | None:
        """The parameters of the trial of this number, the next one; None where nothing is left to try."""
        ...

    def report(self, number: int, step: int, value: float) -> bool:
        """Note what a trial reports; answers whether it should end."""
        ...

    def tell(self, number: int, state: State, values: Sequence[float]) -> None:
        """Note how a trial ended."""
        ...


class Trials(Protocol):
    """Keeps the trials of one study, durably. Safe for many threads, processes and machines."""

    def known(self) -> list[Trial]:
        """All trials by number."""
        ...

    def claim(self, number: int, params: Mapping[str, Any]) -> Trial:
        """Begin the trial of a number. Raises `Conflict` where somebody has begun it."""
        ...

    def retake(self, trial: Trial) -> Trial | None:
        """Begin a trial again whose holder is gone; None where somebody else did, or its holder is there."""
        ...

    def finish(self, trial: Trial, ending: Ending) -> bool:
        """End a trial, once. False where it is no longer ours: what it came to is then forgotten."""
        ...

    def renew(self) -> None:
        """Say that whoever holds trials here is still at work. Called now and then; most calls do nothing."""
        ...

    def release(self) -> None:
        """Give back what is held here, for somebody to begin again."""
        ...
