"""`inbox`: cases that wait for a person, and their decisions."""

from __future__ import annotations

import shlex
from typing import get_args

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command, Group
from stellwerk.cli.output import Span, Table, dim, strong
from stellwerk.cli.session import Session
from stellwerk.core.errors import Invalid
from stellwerk.reviews.model import Case, CaseStatus

RUN = "run:"
"""Begins the subject of a case that an execution waits for."""
_TAKES_VALUE = ("-w", "--workspace")


class _Inbox(Group):
    """`inbox delay` means `inbox list delay`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = [word for before, word in zip(["", *args], args, strict=False) if before not in _TAKES_VALUE]
        named = next((word for word in words if not word.startswith("-")), "")
        if named not in self.commands and not set(args) & {"-h", "--help"}:
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Inbox)
def inbox() -> None:
    """Cases that wait for a person.

    Without a command it lists them, as `inbox list` does.

    \b
    Example:
      stellwerk inbox delay
      stellwerk inbox decide 01kc4v3n0w5x8y2z6q7r9s1t3v-17 late --reason "crew was missing"
    """


@inbox.command("list")
@click.argument("endpoint", required=False)
@click.option(
    "--status", type=click.Choice(get_args(CaseStatus)), default="open", show_default=True, help="How they stand."
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most.")
@click.pass_obj
def list_cases(session: Session, endpoint: str | None, status: CaseStatus, limit: int) -> None:
    """List cases that are open, the most urgent first; or those that were decided, withdrawn or not decided in time.

    \b
    Example:
      stellwerk inbox list delay --limit 10
    """
    with session.workspace() as workspace:
        cases = workspace.inbox(status=status, endpoint=endpoint, limit=limit)
        now = workspace.now()
    table = Table(
        header=("case", "endpoint", "kind", "due", "asked", "why"),
        firm=(0, 3),
        spare=(2, 4),
        rows=tuple(
            (
                strong(case.id),
                case.endpoint,
                case.kind,
                Span(words.moment(case.due_at), "warn" if case.due_at < now else "plain"),
                case.asked or case.queue,
                case.why,
            )
            for case in cases
        ),
    )
    session.screen.show(cases, table if cases else dim(f"no {status} case"))
    if cases and status == "open":
        session.screen.suggest(_next(cases[0]))


def _next(case: Case) -> str:
    """What to type about a case: look at what a model answered, or decide what an execution waits for."""
    if case.subject.startswith(RUN):
        return shlex.join(("stellwerk", "inbox", "decide", case.id, case.facts["options"][0]))
    return f"stellwerk trace {case.subject.removeprefix('prediction:')}"


@inbox.command(cls=Command)
@click.argument("case")
@click.argument("decision")
@click.option("--reason", default="", help="Why it was decided so.")
@click.pass_obj
def decide(session: Session, case: str, decision: str, reason: str) -> None:
    """Decide a case, once.

    \b
    Example:
      stellwerk inbox decide 01kc4v3n0w5x8y2z6q7r9s1t3v-17 late
    """
    with session.workspace() as workspace:
        decided = workspace.decide(case, decision, reason=reason)
    session.screen.show(
        decided, (strong(decided.id), "  decided as ", strong(decided.decision), f" by {decided.decided_by}")
    )
    if decided.subject.startswith(RUN):
        session.screen.suggest(f"stellwerk resume {decided.subject.removeprefix(RUN)}")


@inbox.command(cls=Command)
@click.argument("case")
@click.argument("person", required=False, default="")
@click.option("--queue", default="", help="Whoever looks after this queue is asked, instead of one person.")
@click.option("--reason", default="", help="Why, for the ledger.")
@click.pass_obj
def delegate(session: Session, case: str, person: str, queue: str, reason: str) -> None:
    """Hand an open case to another person, or to another queue.

    A person who is asked decides alone, and whoever handed the case on does not decide it any more: it takes a second
    pair of eyes. So it cannot be handed to oneself, to somebody who handed it on before, to whoever began the run that
    it is about, or to somebody who may not decide.

    \b
    Example:
      stellwerk inbox delegate wait-5a8c0f3b7d2e4f61 bela --reason "knows the dispatchers"
      stellwerk inbox delegate wait-5a8c0f3b7d2e4f61 --queue editors
    """
    if bool(person) == bool(queue):
        raise Invalid(
            f"case {case} goes to one person or to one queue",
            code="usage",
            hint="`stellwerk inbox delegate CASE PERSON`",
        )
    with session.workspace() as workspace:
        moved = workspace.delegate(case, person, queue=queue, reason=reason)
    to = moved.asked or f"the queue {moved.queue}"
    session.screen.show(moved, (strong(moved.id), "  is asked of ", strong(to)))
