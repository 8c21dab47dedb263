"""`migrate`: the database of an earlier version, brought up to date."""

from __future__ import annotations

import click

from stellwerk.cli.command import Command
from stellwerk.cli.session import Session


@click.command(cls=Command)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.pass_obj
def migrate(session: Session, dry_run: bool) -> None:
    """Bring the database up to date after an upgrade of Stellwerk.

    Everything is copied first: to a file beside the database (ledger.db-schema-N), or to a schema on the server. The
    migration itself is one transaction: killed half-way it has not happened. An earlier version of Stellwerk refuses
    to open the result; to go back, stop all processes and put the copy in place of ledger.db.

    \b
    Example:
      stellwerk migrate --dry-run
    """
    from stellwerk.workspace import migrating
    from stellwerk.workspace.settings import read

    layout = session.layout()
    with session.screen.working("looking at the database" if dry_run else "migrating the database"):
        act = migrating.preview if dry_run else migrating.migrate
        report = act(layout, read())
    if not report.steps:
        session.screen.show(report, f"schema {report.after}: nothing to do")
        return
    verb = "would become" if dry_run else "became"
    lines = [f"schema {report.before} {verb} {report.after}", *(f"- {step}" for step in report.steps)]
    if report.copy:
        lines.append(f"before that everything was copied to {report.copy}")
    session.screen.show(report, *lines)
    if not dry_run:
        session.screen.suggest("stellwerk verify")
