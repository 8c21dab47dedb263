"""`gc`: removing bytes that nothing refers to."""

from __future__ import annotations

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Span, Table, dim
from stellwerk.cli.session import Session


@click.command(cls=Command)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option(
    "--grace", "days", type=float, default=7.0, show_default=True, help="Days for which a blob must be unreachable."
)
@click.option(
    "--bin", "binned", type=float, metavar="DAYS", help="First forget runs that were deleted so many days ago."
)
@click.option("--consent", is_flag=True, help="Also remove more than half of all blobs.")
@click.pass_obj
def gc(session: Session, dry_run: bool, days: float, binned: float | None, consent: bool) -> None:
    """Remove bytes that nothing refers to.

    A blob goes in two steps: it is marked when it is first found unreachable, and removed by a later collection when
    it has been so for the time of grace. Nothing that the ledger or the present state names is ever removed. A grace
    of less than an hour (`--grace 0`) removes at once, and needs the workspace to itself.

    \b
    Example:
      stellwerk gc --dry-run
      stellwerk gc --bin 30
    """
    with session.workspace() as workspace, session.screen.working("looking for what nothing refers to"):
        if binned is not None and not dry_run:
            forgotten = workspace.empty_bin(days=binned)
            session.screen.say(f"{words.count(len(forgotten), 'run')} forgotten")
        found = workspace.collect(days=days, dry_run=dry_run, consent=consent)
    removed = "would be removed" if dry_run else "removed"
    blocks: list[Block] = [
        (Span(words.size(found.bytes if dry_run else found.freed), "good"), dim("  to go" if dry_run else "  freed")),
        "",
        Table(
            rows=(
                (dim("blobs"), f"{found.blobs:,}"),
                (dim("referred to"), f"{found.reachable:,}"),
                (dim(removed), f"{found.removed:,}"),
                (dim("newly marked"), f"{found.marked:,}"),
                (dim("waiting"), f"{found.waiting:,}"),
            )
        ),
    ]
    session.screen.show(found, *blocks)
    if found.next_at is not None and not dry_run:
        session.screen.say(f"the next may go on {words.moment(found.next_at)}")
