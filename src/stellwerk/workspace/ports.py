"""How the Python facade reaches a workspace, here or at the other end of a URL, and what frameworks write to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from stellwerk.core.clock import Clock
from stellwerk.store.ports import Blobs
from stellwerk.tracking.model import Status


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


class Scribe(Protocol):
    """What an integration of a framework writes to. Takes names and values as the framework has them."""

    @property
    def run(self) -> Any:
        """The run that is written to, for whoever wants more of it."""
        ...

    def begin(self) -> None:
        """Something new is trained."""
        ...

    def params(self, params: Mapping[str, Any]) -> None:
        """Keep what training was given."""
        ...

    def tags(self, tags: Mapping[str, str]) -> None:
        """Attach words."""
        ...

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Keep values of a step; what is no number is left out."""
        ...

    def rest(self) -> None:
        """Training is over, and more may come."""
        ...

    def end(self, status: Status = "finished") -> None:
        """Training is over."""
        ...
