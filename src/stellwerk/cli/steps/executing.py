"""`step exec`, `step register` and `step close`: what pods of Kubeflow and jobs of CI call."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stellwerk.cli.command import Command
from stellwerk.cli.output import Table, dim, state, strong
from stellwerk.cli.session import Session
from stellwerk.core.digest import short
from stellwerk.core.errors import NotFound, StellwerkError
from stellwerk.core.files import replace_bytes

if TYPE_CHECKING:
    from stellwerk.workspace.steps.performing import Performed

PLAN = click.option(
    "--plan", required=True, metavar="FILE|DIGEST", help="The plan: a file, or its digest in the store."
)
GROUP = click.option(
    "--group", default="", metavar="ID", help="The id of the run that holds the steps of several machines together."
)
KUBEFLOW = click.option(
    "--kubeflow", default="", metavar="JSON", help="What Kubeflow hands to a pod in the place of {{$}}."
)


@click.command("exec", cls=Command)
@PLAN
@click.option("--node", required=True, metavar="NAME", help="The step of the plan; in a pod also a branch or a loop.")
@click.option("--seed", type=click.IntRange(0), help="Which of its seeds.")
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    metavar="ARG=FROM",
    help="Where an input comes from: the --out file of another step, or a step key, with #OUTPUT where it has several; "
    "or DIGEST;MEDIA. Several for one argument make a list. What is not named is found by the keys of the steps before.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write what came of it to this file.")
@GROUP
@click.option("--code", default="", metavar="DIGEST", help="A source tree in the workspace, instead of this folder.")
@click.option("--expect", default="", metavar="DIGEST", help="The digest that the code of the step must have.")
@click.option("--pipeline", default="", metavar="MODULE:NAME", help="What plans again where parameters are others.")
@click.option("--stored", default="", metavar="JSON", help="Hand on this value, which is kept already.")
@KUBEFLOW
@click.pass_obj
def execute(session: Session, /, out: Path | None, **said: Any) -> None:
    """Execute one step of a plan, here and now.

    Its step key is looked up first: what any machine has computed is not executed again. Otherwise the step runs with
    the code of the current folder (or of --code), within its limits, and its result is committed under its key, once.

    \b
    Example:
      stellwerk step plan delay --out plan.json
      stellwerk step exec --plan plan.json --node months --out months.json
      stellwerk step exec --plan plan.json --node train --seed 0
    """
    from stellwerk.workspace.steps import entry, performing

    screen = session.screen
    if out is not None and not out.absolute().parent.is_dir():
        raise NotFound(f"there is no folder for {out.name!r}", code="no-such-folder", hint="check --out")
    with session.workspace() as workspace:
        try:
            # What a pipeline file prints while it is imported is talk; stdout is for data.
            with contextlib.redirect_stdout(sys.stderr):
                performed = workspace.steps.execute(entry.Request(**said))
        except StellwerkError as error:
            if isinstance(error.__cause__, performing.Failed):
                screen.say(dim(str(error.__cause__)))
            raise
    if out is not None:
        replace_bytes(out, entry.result(performed))
    screen.show(performed, _table(performed))


@click.command("register", cls=Command)
@PLAN
@click.option("--node", required=True, metavar="NAME", help="The step that evaluates.")
@GROUP
@click.option("--kubeflow", required=True, metavar="JSON", help="What Kubeflow hands to a pod in the place of {{$}}.")
@click.pass_obj
def register(session: Session, /, plan: str, node: str, group: str, kubeflow: str) -> None:
    """Register the model that an evaluation chose, in a pod.

    The last task of an exported pipeline that evaluates a model; `stellwerk run` does it by itself.

    \b
    Example:
      stellwerk step register --plan plan.json --node evaluate --kubeflow "$(cat executor-input.json)"
    """
    with session.workspace() as workspace:
        version = workspace.steps.register(plan, node, group=group, kubeflow=kubeflow)
    session.screen.show(version, (strong(f"{version.name}@{version.version}"), "  ", dim(short(version.bytes()))))


@click.command("close", cls=Command)
@click.option("--group", required=True, metavar="ID", help="The id of the run that holds the steps together.")
@click.option("--failed", default="", metavar="WHY", help="Say that it failed, and why.")
@KUBEFLOW
@click.pass_obj
def close(session: Session, /, group: str, failed: str, kubeflow: str) -> None:
    """End the run that holds the steps of several machines together.

    \b
    Example:
      stellwerk step close --group ci-4711
      stellwerk step close --group ci-4711 --failed "the job train failed"
    """
    with session.workspace() as workspace:
        ended = workspace.steps.close(group, failed=failed, kubeflow=kubeflow)
    session.screen.show(
        {"run": group, "status": ended or None}, (f"{group}  ", state(ended) if ended else dim("no step began it"))
    )


def _table(performed: Performed) -> Table:
    how = "cached" if performed.cached else "done"
    rows: list[tuple[Any, ...]] = [(dim("step"), (strong(performed.task), "  ", state(how)))]
    rows += [(dim("run"), performed.run)] if performed.run else []
    rows += [(dim("step key"), performed.key)] if performed.key else []
    rows += [
        (dim("output"), (f"{name}  ", dim(f"{stored.digest}  {stored.media}")))
        for name, stored in performed.outputs.items()
    ]
    return Table(rows=tuple(rows))
