"""What steps of executions wait for, and how it came out."""

from __future__ import annotations

from typing import Any

from stellwerk.core.clock import parse_duration
from stellwerk.core.digest import Digest
from stellwerk.pipelines.model import Verdict, Wait
from stellwerk.reviews.model import Case
from stellwerk.workspace import awaiting
from stellwerk.workspace.calls import operation
from stellwerk.workspace.rooms import Rooms

PATIENCE = "365d"
"""When a case without a deadline is due: it is shown after those that have one."""


@operation("waits.open", "runs:write", changes=True)
def open_wait(
    rooms: Rooms,
    execution: str,
    pipeline: str,
    task: str,
    key: Digest,
    params: dict[str, Any],
    about: tuple[Digest, ...] = (),
) -> str:
    """Begin to wait, once under a key, for a person, a time or an entry of the ledger. Gives the case, if it is one."""
    person = params.get("for") == "person"
    name = f"wait-{key.removeprefix('sha256:')[:32]}"
    if person:
        now = rooms.clock.now()
        rooms.inbox.open(
            Case(
                id=name,
                endpoint=pipeline,
                kind="approval",
                subject=f"run:{execution}",
                queue=str(params.get("queue") or "pipelines"),
                opened_at=now,
                due_at=now + parse_duration(params.get("deadline") or PATIENCE),
                why=str(params.get("question") or ""),
                facts={"task": task, "step_key": key, "options": list(params["options"]), "about": list(about)},
            )
        )
    rooms.waits.open(
        Wait(
            key=key,
            execution=execution,
            task=task,
            params=params,
            since=rooms.clock.now(),
            position=rooms.database.size(),
            case=name if person else "",
        )
    )
    return name if person else ""


@operation("waits.look", "runs:read")
def look_at_wait(rooms: Rooms, key: Digest) -> Verdict | None:
    """How a wait came out, if it is over by now."""
    return awaiting.verdict(rooms, rooms.waits.get(key))
