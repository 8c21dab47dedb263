"""Which executor runs which attempt, and waiting for all of them at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from stellwerk.core.clock import monotonic
from stellwerk.pipelines.model import BUILTIN, Attempt, Ended, Node, Resources
from stellwerk.pipelines.rules import PORTABLE, isolated

if TYPE_CHECKING:
    from stellwerk.pipelines.ports import Executor

SLICE = 0.02
"""Seconds of waiting for one executor before the next is asked."""


class Fleet:
    """The executors of one execution.

    Args:
        here: Runs built-in steps, in this process, while somebody waits for it.
        limited: Runs the steps that declare limits.
        main: Runs all others.
        apart: Runs the steps that declare an environment.
    """

    def __init__(self, *, here: Executor, limited: Executor, main: Executor, apart: Executor | None = None) -> None:
        self._here, self._limited, self._main, self._apart = here, limited, main, apart or limited
        self._under_way: dict[str, Executor] = {}

    @property
    def busy(self) -> bool:
        """Whether an attempt is under way."""
        return bool(self._under_way)

    def capacity(self) -> Resources:
        """What attempts share."""
        return self._main.capacity()

    def start(self, node: Node, attempt: Attempt) -> None:
        """Let the right executor take an attempt on."""
        executor = self._for(node)
        executor.start(attempt)
        self._under_way[attempt.id] = executor

    def _for(self, node: Node) -> Executor:
        if node.function.startswith(BUILTIN) and node.function not in PORTABLE:
            return self._here
        if node.environment is not None:
            return self._apart
        return self._limited if isolated(node) else self._main

    def stop(self, attempt: str) -> None:
        """End an attempt that is under way."""
        if attempt in self._under_way:
            self._under_way[attempt].stop(attempt)

    def wait(self, timeout: float | None) -> Ended | None:
        """The next attempt that ended anywhere; None if none did in time, or none is under way."""
        until = None if timeout is None else monotonic() + timeout
        while self._under_way:
            working = [one for one in self._executors() if one in self._under_way.values()]
            # What runs elsewhere goes on while this process works, so it is only looked at, unless it is all there is.
            elsewhere = [one for one in working if one is not self._here]
            for executor in elsewhere:
                alone = len(working) == 1
                left = None if until is None else max(0.0, until - monotonic())
                patience = left if alone else 0.0 if self._here in working else SLICE
                if (ended := executor.wait(patience)) is not None:
                    return self._ended(ended)
            if self._here in working and (ended := self._here.wait(None)) is not None:
                return self._ended(ended)
            if until is not None and monotonic() >= until:
                return None
        return None

    def _ended(self, ended: Ended) -> Ended:
        self._under_way.pop(ended.attempt, None)
        return ended

    def _executors(self) -> Iterable[Executor]:
        return dict.fromkeys((self._apart, self._limited, self._main, self._here))

    def close(self) -> None:
        """Leave nothing running."""
        for executor in self._executors():
            executor.close()
