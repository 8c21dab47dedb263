"""Who may be asked to decide a case, and who decides it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from stellwerk.access.model import Grant
from stellwerk.access.rules import allowed
from stellwerk.core.clock import format_instant
from stellwerk.core.errors import Conflict, Invalid, Refused
from stellwerk.ledger.shelf import evolve
from stellwerk.reviews.model import Case


def overdue(case: Case, moment: datetime) -> bool:
    """Whether nobody decided a case by its deadline; one that is merely due later than promised is not."""
    undecided = case.status in ("open", "expired")
    return undecided and bool(case.facts.get("deadline")) and case.due_at <= moment


def numbered(first: str, number: int) -> str:
    """What a case is called whose question was asked before: each time under the next number."""
    return first if number == 1 else f"{first}-{number}"


def holding(cases: Sequence[Case], begun: datetime) -> Case | None:
    """Of the cases of one question, the oldest first, that which counts for an execution that began at some time.

    What was withdrawn counts for none, and what was overdue already for none that began afterwards.
    """
    return next((case for case in cases if case.status != "withdrawn" and not overdue(case, begun)), None)


def must_be_open(case: Case, now: datetime) -> None:
    """Raise `Conflict` for a case that is decided or withdrawn, or whose deadline is over."""
    if case.status == "decided":
        raise Conflict(f"case {case.id} was decided by {case.decided_by!r}", code="case-decided")
    if case.status == "withdrawn":
        raise Conflict(
            f"case {case.id} was withdrawn: nothing waits for its decision any more",
            code="case-withdrawn",
            hint="execute the pipeline anew: it asks again",
        )
    if overdue(case, now):
        raise Conflict(
            f"case {case.id} was to be decided by {format_instant(case.due_at)}, and counts as refused since",
            code="case-overdue",
            hint="execute the pipeline anew: it asks again",
        )


def must_decide(case: Case, actor: str) -> None:
    """Raise `Refused` unless a case is this one's to decide: nobody else is asked, and it was not theirs to hand on."""
    if actor in case.handed_by:
        raise Refused(
            f"{actor!r} has handed case {case.id} on, and so does not decide it",
            code="case-of-another",
            hint=f"{case.asked or case.queue!r} is asked",
        )
    if case.asked and actor != case.asked:
        raise Refused(
            f"case {case.id} is {case.asked!r}'s to decide",
            code="case-of-another",
            hint=f"`stellwerk inbox delegate {case.id} PERSON` asks somebody else",
        )


def handed(case: Case, person: str, *, by: str, grant: Grant | None, author: str) -> Case:
    """An open case that a person is asked to decide from now on, by a second pair of eyes.

    Args:
        grant: What that person may do here, if anything.
        author: Who made what an approval is about.

    Raises:
        Refused: `may-not-decide` for somebody without the permission, `same-pair-of-eyes` for the one who hands it on,
            whoever did so before, and the author.
    """
    if not allowed(grant, "cases:decide"):
        raise Refused(
            f"{person!r} may not decide cases here",
            code="may-not-decide",
            hint="name somebody whose role is editor or owner; each name is that of STELLWERK_ACTOR",
        )
    if person in (by, *case.handed_by):
        raise Refused(
            f"case {case.id} cannot be handed to {person!r}, who hands it on{'' if person == by else ' already'}",
            code="same-pair-of-eyes",
            hint="decide it, or name somebody else",
        )
    if case.kind == "approval" and person == author:
        raise Refused(
            f"case {case.id} is about what {person!r} has begun", code="same-pair-of-eyes", hint="name somebody else"
        )
    before = case.handed_by if by in case.handed_by else (*case.handed_by, by)
    return evolve(case, asked=person, handed_by=before)


def moved(case: Case, queue: str) -> Case:
    """An open case that others are asked to decide: whoever of a queue comes first."""
    if queue == case.queue and not case.asked:
        raise Invalid(f"case {case.id} is in the queue {queue!r} already", code="nothing-to-delegate")
    return evolve(case, queue=queue, asked="")
