"""What executions wait for, in words, and how it came out: decisions of persons, times, entries of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from stellwerk.core.clock import format_instant, parse_duration, parse_instant
from stellwerk.core.errors import NotFound
from stellwerk.ledger.model import Entry
from stellwerk.ledger.shelf import evolve
from stellwerk.pipelines.model import Due, TaskState, Verdict, Wait
from stellwerk.reviews.rules import holding, overdue
from stellwerk.reviews.shelves import CASES
from stellwerk.tracking.model import OPEN, Run
from stellwerk.workspace.rooms import Rooms

if TYPE_CHECKING:
    from stellwerk.governance.model import WaitLine
    from stellwerk.ledger.ports import Transaction
    from stellwerk.reviews.model import Case

MOST = 1000
"""Executions that wait at the same time of which the newest are looked at."""


def verdict(rooms: Rooms, wait: Wait) -> Verdict | None:
    """How a wait came out, if it is over by now."""
    if wait.case:
        return _of_person(rooms, wait, rooms.inbox.get(wait.case))
    return _of_time(rooms, wait) if wait.params.get("for") == "time" else _of_event(rooms, wait)


def of(rooms: Rooms, execution: str) -> tuple[Wait, ...]:
    """What an execution still waits for, what it came to first before the others."""
    tasks = [task for task in rooms.executions.tasks(execution) if task.status == "waiting"]
    mine = {wait.task: wait for wait in rooms.waits.of(execution)} if tasks else {}
    found = [
        mine.get(task.task) or _shared(rooms, task) for task in sorted(tasks, key=lambda one: (one.at, one.task))
    ]
    # What came out is remembered as the result of the step, though its task stays until the execution is over.
    return tuple(
        asked(rooms, wait, execution)
        for wait in found
        if wait is not None and rooms.runs.remembered(wait.key) is None
    )


def asked(rooms: Rooms, wait: Wait, execution: str) -> Wait:
    """A wait as it is for one execution: with the case that counts for it, where its question was asked repeatedly."""
    if not wait.case:
        return wait
    known = rooms.inbox.asked(wait.case)
    case = holding(known, rooms.executions.get(execution).begun_at) or known[-1]
    return evolve(wait, case=case.id, since=case.opened_at)


def closing(rooms: Rooms, execution: str, status: str) -> Callable[[Transaction], None] | None:
    """What closes the cases of an execution, in the transaction in which it ends; None where nothing does.

    Those whose deadline is over have expired. Those of one that is cancelled are withdrawn, unless another waits for
    the same.
    """
    if status not in ("cancelled", "failed"):
        return None
    waits = [asked(rooms, wait, execution) for wait in rooms.waits.of(execution)]
    names = {wait.case for wait in (*waits, *of(rooms, execution)) if wait.case}

    def close(tx: Transaction) -> None:
        for case in (CASES.get(tx, name) for name in sorted(names)):
            if case.status != "open":
                continue
            if overdue(case, rooms.clock.now()):
                rooms.inbox.close(tx, case, "expired", f"run:{execution}")
            elif status == "cancelled" and not rooms.executions.waited_for(tx, case.id):
                rooms.inbox.close(tx, case, "withdrawn", f"run:{execution}")

    return close


def _shared(rooms: Rooms, task: TaskState) -> Wait | None:
    """The wait of an execution that asked the same before, which is one case."""
    try:
        return rooms.waits.get(rooms.inbox.get(task.because).facts["step_key"])
    except (NotFound, KeyError):
        return None


def due(rooms: Rooms, only: Collection[str] = ()) -> Iterator[Due]:
    """Executions that can go on by themselves, because something that they waited for has come; the oldest first.

    Args:
        only: Pipelines that are meant; empty for all.
    """
    for execution in reversed(rooms.executions.all(status="waiting", limit=MOST)):
        if execution.passed or execution.request or (only and execution.pipeline not in only):
            continue
        for wait in of(rooms, execution.id):
            came = verdict(rooms, wait)
            if came is not None:
                yield Due(execution=execution, task=wait.task, cause=_cause(wait, came))
                break


def _cause(wait: Wait, came: Verdict) -> str:
    """What has come, without what anybody has said."""
    if wait.case:
        return f"case:{wait.case}"
    if came.refusal:
        return f"deadline:{wait.task}"
    return f"time:{came.value}" if wait.params["for"] == "time" else f"entry:{came.value['sequence']}"


def lines(rooms: Rooms, run: Run) -> Iterator[WaitLine]:
    """What a run waits for, for people; nothing of one that has ended."""
    from stellwerk.governance.model import WaitLine

    waits = of(rooms, run.id) if run.status in OPEN else ()
    passed = rooms.executions.get(run.id).passed if waits else ""
    for wait in waits:
        case = rooms.inbox.get(wait.case) if wait.case else None
        came = verdict(rooms, wait)
        yield WaitLine(
            task=wait.task,
            kind=wait.params["for"],
            text=case.why if case else "" if wait.params["for"] == "time" else _event(wait),
            since=wait.since,
            until=_until(wait),
            case=wait.case,
            asked=(case.asked or case.queue) if case else "",
            over="" if came is None else (came.refusal or _came(wait, case, came)) + (passed and f"; {passed}"),
        )


def _event(wait: Wait) -> str:
    subject = wait.params.get("subject")
    return str(wait.params["kind"]) + (f" of {subject}" if subject else "")


def _until(wait: Wait) -> datetime | None:
    """The time that is waited for, or until when an answer counts."""
    if wait.params["for"] == "time":
        return _moment(wait)
    deadline = wait.params.get("deadline")
    return wait.since + parse_duration(deadline) if deadline else None


def _came(wait: Wait, case: Case | None, came: Verdict) -> str:
    if case is not None:
        return f"{case.decided_by} decided {came.value!r}"
    if wait.params["for"] == "time":
        return "the time has come"
    return f"entry {came.value['sequence']}: {came.value['kind']} of {came.value['subject']}"


def _moment(wait: Wait) -> datetime:
    until = wait.params.get("until")
    return parse_instant(until) if until else wait.since + parse_duration(wait.params["lasts"])


def _of_person(rooms: Rooms, wait: Wait, case: Case) -> Verdict | None:
    if case.status == "decided":
        refused = case.decision == case.facts["options"][-1]
        reason = f": {case.reason}" if case.reason else ""
        refusal = f"{case.decided_by} decided {case.decision!r} in case {case.id}{reason}" if refused else ""
        return Verdict(value=case.decision, refusal=refusal)
    if case.status == "withdrawn":
        return Verdict(refusal=f"case {case.id} was withdrawn")
    if wait.params.get("deadline") and rooms.clock.now() >= case.due_at:
        return Verdict(refusal=f"nobody decided case {case.id} by {format_instant(case.due_at)}")
    return None


def _of_time(rooms: Rooms, wait: Wait) -> Verdict | None:
    moment = _moment(wait)
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
