"""The contract of executors as a test suite. Subclass `ExecutorContract` and override the fixture `executor`.

The steps are loaded from a file, as a user's would be. Where values are stored is not tested here.
"""

from __future__ import annotations

from stellwerk.testing.executors.limits import Limits
from stellwerk.testing.executors.surroundings import Surroundings
from stellwerk.testing.executors.trial import alive
from stellwerk.testing.executors.turns import Turns
from stellwerk.testing.executors.values import Values

__all__ = ["ExecutorContract", "alive"]


class ExecutorContract(Surroundings, Turns, Limits, Values):
    """What every executor promises."""
