"""What the machine does while a run runs, as metrics of the run: `stellwerk.run(system=True)`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from stellwerk.core.errors import Invalid, Unavailable
from stellwerk.tracking.model import SYSTEM
from stellwerk.tracking.ports import Machine
from stellwerk.workspace.settings import LEAST_SECONDS

LOGGER = logging.getLogger("stellwerk.log")
DEFAULT_SECONDS = 10.0
STOP_SECONDS = 1.0
"""How long the end of a run waits for a reading that is being taken; a driver may hang."""

Tell = Callable[[Mapping[str, float], int], None]
"""Takes readings and their step."""
Find = Callable[[], Machine]
"""Gets hold of a machine, which may take a driver seconds."""


class Tick(Protocol):
    """Says when it is time for a reading."""

    def wait(self) -> bool:
        """Return when it is time for the next one: True, or when no more are wanted: False."""
        ...

    def stop(self) -> None:
        """No more are wanted. Whoever waits is woken."""
        ...


class Every:
    """A tick every so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._over = seconds, threading.Event()

    def wait(self) -> bool:
        return not self._over.wait(self._seconds)

    def stop(self) -> None:
        self._over.set()


class Sampler:
    """A thread that reads a machine at every tick, and once more when it is stopped, so that short runs have a reading.

    Args:
        tell: Is given the readings; their steps count from 0.
    """

    def __init__(self, find: Find, tell: Tell, tick: Tick) -> None:
        self._find, self._tell, self._tick = find, tell, tick
        self._thread = threading.Thread(target=self._work, name="stellwerk system metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take the last reading, and end."""
        self._tick.stop()
        self._thread.join(STOP_SECONDS)

    def _work(self) -> None:
        try:
            machine, step, more = self._find(), 0, True
            while more:
                more = self._tick.wait()
                self._tell({SYSTEM + name: value for name, value in machine.look().items()}, step)
                step += 1
        except Exception:  # a driver may raise what it likes; the run goes on without
            LOGGER.warning("what the machine does cannot be read any more", exc_info=True)


def seconds(asked: bool | float | None, *, setting: float) -> float:
    """Between readings, 0 for none.

    Args:
        asked: What the caller of `stellwerk.run` says; None for nothing.
        setting: What the environment says.
    """
    if asked is None or asked is True:
        return setting or (DEFAULT_SECONDS if asked else 0.0)
    if asked is False:
        return 0.0
    if not LEAST_SECONDS <= asked < float("inf"):
        raise Invalid(
            f"system={asked!r} is not a time between readings (expected seconds, at least {LEAST_SECONDS})",
            code="invalid-number",
        )
    return float(asked)


def local() -> Find:
    """Gets hold of the machine we run on. Raises `Unavailable` where psutil is not installed."""
    try:
        from stellwerk.tracking.adapters.machine import LocalMachine
    except ImportError as cause:
        raise Unavailable(
            "this installation cannot read what the machine does",
            code="needs-extra",
            hint="pip install 'stellwerk[system]', or 'stellwerk[gpu]' for GPUs too",
        ) from cause
    return LocalMachine
