"""`environments`: the virtual environments that steps and rebuilds have left on this machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Table, dim
from stellwerk.cli.session import Session


@click.command(cls=Command)
@click.option(
    "--unused", type=click.FloatRange(0, 3650), metavar="DAYS", help="Remove those that nobody used for so long."
)
@click.pass_obj
def environments(session: Session, unused: float | None) -> None:
    """List the virtual environments that steps and rebuilds have left on this machine, or remove unused ones.

    They lie in the user's cache and belong to no workspace. One that a process uses is never removed, and one that is
    needed again is made again.

    \b
    Example:
      stellwerk environments
      stellwerk environments --unused 30
    """
    from stellwerk.workspace.caches import environments as kept

    here = kept()
    if unused is not None:
        gone = here.collect(now=datetime.now(UTC), unused=timedelta(days=unused))
        session.screen.show({"removed": gone}, f"removed {words.count(len(gone), 'environment')}")
        return
    found = here.list()
    session.screen.show(
        [{"name": one.name, "packages": one.packages, "used": one.used} for one in found],
        Table(
            header=("environment", "packages", "last used"),
            right=(1,),
            rows=tuple((one.name[:12], f"{one.packages:,}", words.moment(one.used)) for one in found),
        )
        if found
        else dim("none"),
    )
