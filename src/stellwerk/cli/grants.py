"""`grants`: who elsewhere may read results of steps."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command, Group
from stellwerk.cli.output import Line, Span, Table, dim, strong
from stellwerk.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stellwerk.access.model import ResultGrant


@click.group(cls=Group)
def grants() -> None:
    """Who elsewhere may read results of steps by their keys.

    A workspace that has the token of a grant finds what was computed here, instead of computing it again.

    \b
    Example:
      stellwerk grants list
    """


@grants.command(cls=Command)
@click.argument("to")
@click.option("--pipeline", default="", metavar="NAME", help="Only results of this pipeline; all by default.")
@click.option(
    "--for", "lasting", default="30d", show_default=True, metavar="DURATION", help="When it ends; up to 366d."
)
@click.pass_obj
def add(session: Session, to: str, pipeline: str, lasting: str) -> None:
    """Let somebody elsewhere read results of steps, until the grant ends.

    TO says who: a team, a project, a CI. The token is shown this once; whoever has it reads, one by one, the results
    whose step keys it can compute, and nothing else.

    \b
    Example:
      stellwerk grants add "CI of team two" --pipeline delay --for 90d
    """
    from stellwerk.core.clock import parse_duration

    with session.workspace() as workspace:
        made = workspace.grants.add(to, pipeline=pipeline, lasting=parse_duration(lasting))
    grant = made.grant
    session.screen.show(
        made,
        Table(
            rows=(
                (dim("grant"), grant.id),
                (dim("to"), strong(grant.to)),
                (dim("reads"), _reads(grant)),
                (dim("until"), words.moment(grant.until)),
                (dim("token"), strong(made.token)),
            )
        ),
    )
    session.screen.say(dim("the token is shown this once; there it belongs into STELLWERK_RESULTS_TOKEN"))


@grants.command("list", cls=Command)
@click.pass_obj
def list_grants(session: Session) -> None:
    """List all grants, the oldest first, with those that have ended.

    \b
    Example:
      stellwerk grants list
    """
    with session.workspace() as workspace:
        found, now = workspace.grants.list(), workspace.now()
    session.screen.show(found, _table(found, now) if found else dim("nobody elsewhere may read results"))
    if not found:
        session.screen.suggest('stellwerk grants add "NAME OF THE OTHER WORKSPACE"')


@grants.command(cls=Command)
@click.argument("grant")
@click.pass_obj
def revoke(session: Session, grant: str) -> None:
    """End a grant now.

    GRANT is its id, or whom it was made to. What was read under it stays where it was taken to.

    \b
    Example:
      stellwerk grants revoke "CI of team two"
    """
    with session.workspace() as workspace:
        ended = workspace.grants.revoke(grant)
    session.screen.show(ended, (strong(ended.to), "  reads nothing any more under ", dim(ended.id)))


def _table(found: Sequence[ResultGrant], now: datetime) -> Table:
    return Table(
        header=("to", "reads", "stands", "granted", "by", "grant"),
        firm=(0, 2, 5),
        spare=(3, 4),
        rows=tuple(
            (
                strong(one.to),
                _reads(one),
                _stands(one, now),
                words.moment(one.granted_at),
                one.granted_by,
                dim(one.id),
            )
            for one in found
        ),
    )


def _reads(grant: ResultGrant) -> str:
    return f"results of {grant.pipeline}" if grant.experiment else "results of all pipelines"


def _stands(grant: ResultGrant, now: datetime) -> Line:
    if grant.revoked_at is not None:
        return Span(f"revoked {words.moment(grant.revoked_at)}", "bad")
    if grant.until <= now:
        return Span(f"ended {words.moment(grant.until)}", "warn")
    return Span(f"until {words.moment(grant.until)}", "good")
