"""A workspace in a folder of this machine, called in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stellwerk.core.clock import Clock
from stellwerk.store.ports import Blobs
from stellwerk.workspace.rooms import Rooms


class LocalCaller:
    """Carries out operations on rooms. Permissions are checked on each."""

    local = True

    def __init__(self, rooms: Rooms) -> None:
        self.rooms = rooms

    @property
    def blobs(self) -> Blobs:
        return self.rooms.blobs

    @property
    def clock(self) -> Clock:
        return self.rooms.clock

    @property
    def home(self) -> Path:
        return self.rooms.layout.root

    @property
    def memory(self) -> Path:
        return self.rooms.layout.cache

    def call(self, operation: Any, arguments: dict[str, Any]) -> Any:
        return operation.perform(self.rooms, arguments, local=True)

    def close(self) -> None:
        self.rooms.close()
