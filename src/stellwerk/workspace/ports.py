"""How the Python facade reaches a workspace: in this process, or at the other end of a URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from stellwerk.core.clock import Clock
from stellwerk.store.ports import Blobs


class Caller(Protocol):
    """Carries out operations. Safe for many threads. Raises the errors of the rooms, wherever they are."""

    @property
    def blobs(self) -> Blobs:
        """The store of the workspace."""
        ...

    @property
    def clock(self) -> Clock:
        """The time of the workspace."""
        ...

    @property
    def local(self) -> bool:
        """Whether the workspace is a folder of this machine."""
        ...

    @property
    def home(self) -> Path:
        """The project's folder on this machine."""
        ...

    @property
    def memory(self) -> Path:
        """A folder on this machine for what is remembered of this workspace alone. Losing it loses nothing."""
        ...

    def call(self, operation: Any, arguments: dict[str, Any]) -> Any:
        """Carry out one operation of `calls.OPERATIONS` with typed arguments; the answer is typed."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...
