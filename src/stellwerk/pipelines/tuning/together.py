"""One executor for several threads, each of which waits for an attempt of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from stellwerk.core.errors import Unavailable
from stellwerk.pipelines.model import Attempt, Ended, Failure, Outcome

LOOK_SECONDS = 0.2


class Taking(Protocol):
    """What is needed of an executor here; see `pipelines.ports`."""

    def start(self, attempt: Attempt) -> None:
        """Take an attempt on."""
        ...

    def wait(self, timeout: float | None) -> Ended | None:
        """The next attempt that ended."""
        ...

    def close(self) -> None:
        """End everything."""
        ...


class Together:
    """Hands attempts to an executor and their ends to whoever waits for them.

    Args:
        make: Makes the executor, when the first attempt comes.
    """

    def __init__(self, make: Callable[[], Taking]) -> None:
        self._make = make
        self._executor: Taking | None = None
        self._changed = threading.Condition()
        self._ended: dict[str, Outcome | Failure] = {}
        self._problem: BaseException | None = None
        self._under_way = 0

    def run(self, attempt: Attempt) -> Outcome | Failure:
        """Run an attempt to its end. Attempts of several threads run at the same time."""
        with self._changed:
            self._check()
            if self._executor is None:
                self._executor = self._make()
                threading.Thread(target=self._listen, args=(self._executor,), name="tune", daemon=True).start()
            self._under_way += 1
            self._changed.notify_all()
            self._executor.start(attempt)
            try:
                while attempt.id not in self._ended:
                    self._check()
                    self._changed.wait(LOOK_SECONDS)
                return self._ended.pop(attempt.id)
            finally:
                self._under_way -= 1

    def close(self) -> None:
        """End everything; whoever waits is told so."""
        with self._changed:
            executor, self._executor = self._executor, None
            self._problem = self._problem or Unavailable("the search was ended", code="executor-closed")
            self._changed.notify_all()
        if executor is not None:
            executor.close()

    def _check(self) -> None:
        if self._problem is not None:
            raise self._problem

    def _listen(self, executor: Taking) -> None:
        while True:
            with self._changed:
                while self._under_way == 0 and self._problem is None:
                    self._changed.wait(LOOK_SECONDS)
                if self._problem is not None:
                    return
            try:
                ended = executor.wait(LOOK_SECONDS)
            except BaseException as problem:  # noqa: BLE001  # raised where somebody waits
                with self._changed:
                    self._problem = problem
                    self._changed.notify_all()
                return
            if ended is None:
                continue
            with self._changed:
                self._ended[ended.attempt] = ended.outcome
                self._changed.notify_all()
