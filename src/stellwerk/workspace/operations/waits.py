"""What steps of executions wait for, and how it came out."""

from __future__ import annotations

from typing import Any

from stellwerk.core.clock import format_instant, parse_duration, parse_instant
from stellwerk.core.digest import Digest
from stellwerk.ledger.model import Entry
from stellwerk.pipelines.model import Verdict, Wait
from stellwerk.reviews.model import Case
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
    wait = rooms.waits.get(key)
    if wait.case:
        return _of_person(rooms, wait, rooms.inbox.get(wait.case))
    return _of_time(rooms, wait) if wait.params.get("for") == "time" else _of_event(rooms, wait)


def _of_person(rooms: Rooms, wait: Wait, case: Case) -> Verdict | None:
    if case.status == "decided":
        refused = case.decision == case.facts["options"][-1]
        reason = f": {case.reason}" if case.reason else ""
        refusal = f"{case.decided_by} decided {case.decision!r} in case {case.id}{reason}" if refused else ""
        return Verdict(value=case.decision, refusal=refusal)
    if wait.params.get("deadline") and rooms.clock.now() >= case.due_at:
        return Verdict(refusal=f"nobody decided case {case.id} by {format_instant(case.due_at)}")
    return None


def _of_time(rooms: Rooms, wait: Wait) -> Verdict | None:
    until = wait.params.get("until")
    moment = parse_instant(until) if until else wait.since + parse_duration(wait.params["lasts"])
    return Verdict(value=format_instant(moment)) if rooms.clock.now() >= moment else None


def _of_event(rooms: Rooms, wait: Wait) -> Verdict | None:
    found = _matching(rooms, wait)
    if found is not None:
        return Verdict(value={"sequence": found.sequence, "kind": found.kind, "subject": found.subject})
    deadline = wait.params.get("deadline")
    if deadline and rooms.clock.now() >= wait.since + parse_duration(deadline):
        return Verdict(refusal=f"there was no {wait.params['kind']} within {deadline}")
    return None


def _matching(rooms: Rooms, wait: Wait) -> Entry | None:
    kind = str(wait.params["kind"])
    entries = rooms.book.entries(
        kinds=[kind.removesuffix("*")], subject=wait.params.get("subject") or None, start=wait.position
    )
    return next((entry for entry in entries if kind.endswith("*") or entry.kind == kind), None)
