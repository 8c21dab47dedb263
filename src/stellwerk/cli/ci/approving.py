"""`ci approve`: an approval in the CI decides the case that an execution waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from stellwerk.cli import exits
from stellwerk.cli.command import Command
from stellwerk.cli.executing import resume
from stellwerk.cli.output import dim, strong
from stellwerk.cli.session import Session
from stellwerk.core.errors import NotFound

if TYPE_CHECKING:
    from stellwerk.pipelines.model import Execution
    from stellwerk.reviews.model import Case
    from stellwerk.workspace.facade import Workspace

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
    is the newest execution of this commit. It goes on only under the code with which it began. Exit code 3 where it
    waits again afterwards; nothing is done, and the code is 0, where nothing waits.

    \b
    Example:
      stellwerk ci approve
      stellwerk ci approve 01kc4v3n0w5x8y2z6q7r9s1t3v --reason "seen with the dispatchers"
    """
    from stellwerk.workspace import revision

    session: Session = context.obj
    here = revision.read(session.home())
    with session.workspace() as workspace:
        chosen = workspace.execution(run_id) if run_id else _newest(workspace, here.commit, pipeline)
        asked = _asked(workspace, chosen) if chosen.status == "waiting" else ()
        for case in asked:
            workspace.decide(
                case.id, str(case.facts["options"][0]), reason=reason or here.url or "approved in the CI"
            )
    if chosen.status != "waiting":
        session.screen.show({"approved": [], "run": chosen.id}, dim("nothing waits"))
        return exits.DONE
    for case in asked:
        session.screen.say("approved: ", strong(case.why))
    context.invoke(resume, run_id=chosen.id, file=None, on="in-process", stay=False)
    with session.workspace() as workspace:
        status = workspace.execution(chosen.id).status
    return exits.UNPROVEN if status in ("waiting", "paused") else exits.DONE


def _newest(workspace: Workspace, commit: str, pipeline: str | None) -> Execution:
    """The newest execution of this commit; where there is no commit, of all. Nobody approves what another one asked."""
    from stellwerk.workspace.revision import COMMIT

    if commit:
        where = f"parent IS NULL AND kind = 'pipeline' AND tags.`{COMMIT}` = '{commit}'"
        found = [run.id for run in workspace.runs(where, experiment=pipeline, limit=1)]
    else:
        found = [one.id for one in workspace.executions(pipeline=pipeline, limit=1)]
    if not found:
        raise NotFound(
            f"no run {f'of commit {commit[:12]}' if commit else 'at all'} is known here",
            code="no-run-of-commit",
            hint="`stellwerk run` before, in the same workspace",
        )
    return workspace.execution(found[0])


def _asked(workspace: Workspace, execution: Execution) -> tuple[Case, ...]:
    """The open cases that an execution waits for, whichever asked first: the same question is one case."""
    named = {task.because for task in workspace.tasks_of(execution.id) if task.status == "waiting"}
    cases = workspace.inbox(endpoint=execution.pipeline, limit=MANY)
    return tuple(case for case in cases if case.kind == "approval" and case.id in named)
