"""Waiting for one's turn: many processes may execute pipelines on one workspace, and none fails because others write."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stellwerk.core.errors import Unavailable

if TYPE_CHECKING:
    from stellwerk.core.clock import Clock
    from stellwerk.store.ports import Blobs
    from stellwerk.workspace.ports import Caller

FIRST, MOST = 0.05, 2.0
"""Seconds before the first further attempt, and before each of the later ones."""
ATTEMPTS = 300
"""Ten minutes: longer than any writer holds the book, shorter than anybody waits in vain."""


class Patient:
    """A caller that tries again while others write. What a busy database has refused has not happened."""

    def __init__(self, caller: Caller, pause: Callable[[float], None] = time.sleep) -> None:
        self._caller, self._pause = caller, pause

    @property
    def blobs(self) -> Blobs:
        return self._caller.blobs

    @property
    def clock(self) -> Clock:
        return self._caller.clock

    @property
    def local(self) -> bool:
        return self._caller.local

    @property
    def home(self) -> Path:
        return self._caller.home

    @property
    def memory(self) -> Path:
        return self._caller.memory

    def call(self, operation: Any, arguments: dict[str, Any]) -> Any:
        wait = FIRST
        for _ in range(ATTEMPTS):
            try:
                return self._caller.call(operation, arguments)
            except Unavailable as error:
                if error.code != "database-busy":
                    raise
            self._pause(wait)
            wait = min(MOST, 2 * wait)
        return self._caller.call(operation, arguments)

    def close(self) -> None:
        self._caller.close()
