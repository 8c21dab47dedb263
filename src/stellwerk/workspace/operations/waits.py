"""What steps of executions wait for, and how it came out."""

from __future__ import annotations

from typing import Any

from stellwerk.core.clock import parse_duration
from stellwerk.core.digest import Digest
from stellwerk.pipelines.model import Verdict, Wait
from stellwerk.reviews.model import Case
from stellwerk.reviews.rules import holding, numbered
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
    """Begin to wait, once under a key, for a person, a time or an entry of the ledger. Gives the case, if it is one.

    A person is asked anew after a case that was withdrawn, or that was overdue before the execution began.
    """
    person = params.get("for") == "person"
    first = f"wait-{key.removeprefix('sha256:')[:32]}"
    name = first
    if person:
        now, deadline = rooms.clock.now(), params.get("deadline")
        known = rooms.inbox.asked(first)
        held = holding(known, rooms.executions.get(execution).begun_at)
        name = numbered(first, len(known) + 1) if held is None else held.id
        facts = {"task": task, "step_key": key, "options": list(params["options"]), "about": list(about)}
        rooms.inbox.open(
            Case(
                id=name,
                endpoint=pipeline,
                kind="approval",
                subject=f"run:{execution}",
                queue=str(params.get("queue") or "pipelines"),
                opened_at=now,
                due_at=now + parse_duration(deadline or PATIENCE),
                why=str(params.get("question") or ""),
                facts={**facts, "deadline": deadline} if deadline else facts,
            ),
            after=known[-1].id if known and held is None else "",
        )
    rooms.waits.open(
        Wait(
            key=key,
            execution=execution,
            task=task,
            params=params,
            since=rooms.clock.now(),
            position=rooms.database.size(),
            case=first if person else "",
        )
    )
    return name if person else ""


@operation("waits.look", "runs:read")
def look_at_wait(rooms: Rooms, key: Digest, execution: str = "") -> Verdict | None:
    """How a wait came out for an execution (or the first that waited), if it is over by now."""
    wait = rooms.waits.get(key)
    return awaiting.verdict(rooms, awaiting.asked(rooms, wait, execution or wait.execution))
