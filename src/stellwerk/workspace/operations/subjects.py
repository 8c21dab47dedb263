"""People whose data is in the workspace, and their right to be erased."""

from __future__ import annotations

from stellwerk.workspace import erasing
from stellwerk.workspace.calls import operation
from stellwerk.workspace.erasing import Erasure
from stellwerk.workspace.rooms import Rooms


@operation("subjects.find", "workspace:admin")
def find_subject(rooms: Rooms, subject: str) -> Erasure:
    """What is kept under a person's keys. Nothing is changed."""
    return erasing.erase(rooms, subject, "", really=False)


@operation("subjects.erase", "workspace:admin", changes=True)
def erase_subject(rooms: Rooms, subject: str, why: str) -> Erasure:
    """Destroy a person's keys, and with them what is encrypted under them. The reason stays in the ledger for ever."""
    return erasing.erase(rooms, subject, why, really=True)
