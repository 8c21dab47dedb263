"""What production says: outcomes, assessments, duels and cases."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from stellwerk.governance.comparing import Duel
from stellwerk.monitoring.model import Assessment, Outcome, OutcomeReport
from stellwerk.reviews.model import Case
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
    rooms: Rooms, status: Literal["open", "decided"] = "open", endpoint: str | None = None, limit: int = 50
) -> tuple[Case, ...]:
    """Cases, the most urgent first."""
    return tuple(rooms.inbox.list(status=status, endpoint=endpoint, limit=limit))


@operation("cases.decide", "cases:decide", changes=True)
def decide_case(rooms: Rooms, case: str, decision: str, reason: str = "") -> Case:
    """Decide a case."""
    return rooms.inbox.decide(case, decision, reason)
