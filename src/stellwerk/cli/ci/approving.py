"""`ci approve`: an approval in the CI decides the case that an execution waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from stellwerk.cli import exits
from stellwerk.cli.command import Command
from stellwerk.cli.executing import resume
from stellwerk.cli.output import dim, strong
from stellwerk.cli.session import Session

if TYPE_CHECKING:
    from stellwerk.reviews.model import Case

MANY = 1000


@click.command(cls=Command)
@click.argument("run_id", metavar="[RUN]", required=False, default="")
@click.option("--pipeline", metavar="NAME", help="Of this pipeline; by default of any.")
@click.option(
    "--reason", default="", metavar="TEXT", help="Why, for the ledger; the address of the build by default."
)
@click.pass_context
def approve(context: click.Context, /, run_id: str, pipeline: str | None, reason: str) -> int:
    """Say yes to what an execution waits for, and go on with it.

    For a job that a person has to start or approve in the CI: what they approve there is the case here. Without RUN it
    is the newest execution that waits. It goes on only under the code with which it began. Exit code 3 where it waits
    again afterwards; nothing is done, and the code is 0, where nothing waits.

    \b
    Example:
      stellwerk ci approve
      stellwerk ci approve 01kc4v3n0w5x8y2z6q7r9s1t3v --reason "seen with the dispatchers"
    """
    from stellwerk.workspace import revision

    session: Session = context.obj
    with session.workspace() as workspace:
        waiting = workspace.executions(status="waiting", pipeline=pipeline, limit=MANY)
        chosen = [one for one in waiting if not run_id or one.id == run_id][:1]
        if run_id and not chosen:
            workspace.execution(run_id)  # says so where there is none
        asked: tuple[Case, ...] = ()
        if chosen:
            subject = f"run:{chosen[0].id}"
            cases = workspace.inbox(endpoint=chosen[0].pipeline, limit=MANY)
            asked = tuple(case for case in cases if case.kind == "approval" and case.subject == subject)
        why = reason or revision.read(session.home()).url or "approved in the CI"
        for case in asked:
            workspace.decide(case.id, str(case.facts["options"][0]), reason=why)
    if not chosen:
        session.screen.show({"approved": [], "run": None}, dim("nothing waits"))
        return exits.DONE
    for case in asked:
        session.screen.say("approved: ", strong(case.why))
    context.invoke(resume, run_id=chosen[0].id, file=None, on="in-process", stay=False)
    with session.workspace() as workspace:
        status = workspace.execution(chosen[0].id).status
    return exits.UNPROVEN if status in ("waiting", "paused") else exits.DONE
