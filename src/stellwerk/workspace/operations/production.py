"""What production says: outcomes, assessments, duels and cases."""

from __future__ import annotations

from datetime import datetime

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.governance.comparing import Duel
from stellwerk.monitoring.model import Assessment, Outcome, OutcomeReport
from stellwerk.reviews.model import Case, CaseStatus
from stellwerk.workspace import watching
from stellwerk.workspace.calls import operation
from stellwerk.workspace.rooms import Rooms


@operation("outcomes.record", "outcomes:write", changes=True)
def record_outcomes(rooms: Rooms, endpoint: str, outcomes: tuple[Outcome, ...]) -> OutcomeReport:
    """Say what became true of predictions."""
    watching.check_labels(rooms, endpoint, outcomes)
    return rooms.monitoring.record_outcomes(endpoint, outcomes)


@operation("endpoints.assess", "evidence:write", changes=True)
def assess(rooms: Rooms, endpoint: str) -> Assessment:
    """Seal the prediction log, join it with the labels, run all trackers, and set caution where they say so."""
    return watching.assess(rooms, endpoint)


@operation("models.duel", "evidence:write", changes=True)
def duel(rooms: Rooms, endpoint: str, first: str, second: str, since: datetime, until: datetime) -> Duel:
    """Two models on the same production cases, with a paired bound; signed as evidence."""
    from stellwerk.workspace.dueling import duel as compare_on_log  # numpy: only those who compare pay for it

    return compare_on_log(rooms, endpoint, first, second, since, until)


@operation("cases.list", "cases:read")
def list_cases(
    rooms: Rooms, status: CaseStatus = "open", endpoint: str | None = None, limit: int = 50
) -> tuple[Case, ...]:
    """Cases, the most urgent first."""
    return tuple(rooms.inbox.list(status=status, endpoint=endpoint, limit=limit))


@operation("cases.decide", "cases:decide", changes=True)
def decide_case(rooms: Rooms, case: str, decision: str, reason: str = "") -> Case:
    """Decide a case that is open."""
    return rooms.inbox.decide(case, decision, reason)


@operation("cases.get", "cases:read")
def get_case(rooms: Rooms, case: str) -> Case:
    """One case."""
    return rooms.inbox.get(case)


@operation("cases.delegate", "cases:decide", changes=True)
def delegate_case(rooms: Rooms, case: str, to: str = "", queue: str = "", reason: str = "") -> Case:
    """Ask a person, and nobody else, to decide an open case; or put it into another queue."""
    if bool(to) == bool(queue):
        raise Invalid("a case is handed to one person or to one queue", code="wrong-arguments")
    if queue:
        return rooms.inbox.move(case, queue, reason=reason)
    return rooms.inbox.delegate(case, to, author=_author(rooms, rooms.inbox.get(case)), reason=reason)


def _author(rooms: Rooms, case: Case) -> str:
    """Who began the run that an approval is about."""
    kind, _, run = case.subject.partition(":")
    try:
        return rooms.runs.get(run).started_by if kind == "run" else ""
    except NotFound:
        return ""
