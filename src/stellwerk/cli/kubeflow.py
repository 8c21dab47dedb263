"""`kubeflow`: a pipeline as a file that Kubeflow Pipelines runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stellwerk.cli import parameters, words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Table, dim, strong
from stellwerk.cli.session import Session
from stellwerk.core.digest import short
from stellwerk.core.errors import Invalid
from stellwerk.core.files import replace_text


@click.command(cls=Command)
@parameters.pipeline
@click.option(
    "--image", required=True, metavar="IMAGE", help="The image of the pods: its environment runs the steps."
)
@click.option("--image-of", "images", multiple=True, metavar="STEP=IMAGE", help="Another image for one step.")
@click.option("--address", default="", metavar="URL|PATH", help="Where the pods reach the workspace.")
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="VARIABLE=SECRET/KEY",
    help="A key of a secret of the cluster, as a variable of every pod.",
)
@click.option("--code-in-image", is_flag=True, help="The images hold the code; it is not put into the workspace.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write, such as pipe.yaml.",
)
@click.pass_obj
def kubeflow(
    session: Session,
    /,
    pipeline: str,
    param: tuple[str, ...],
    file: Path | None,
    out: Path,
    **wanted: Any,
) -> None:
    """Write a pipeline as a file for Kubeflow Pipelines.

    Each task of it runs `stellwerk step exec` in a pod, against this workspace: what the laptop has computed is not
    computed again in the cluster, and the other way round. The plan and its code are put into the workspace. No secret
    is ever written into the file.

    \b
    Example:
      stellwerk kubeflow delay --image ghcr.io/team/steps:1 --address http://stellwerk.team.svc:8000 --out pipe.yaml
    """
    from stellwerk.pipelines.kubeflow.model import Secret, within_reach
    from stellwerk.workspace.steps.emitting import Wish

    found = parameters.find(parameters.place(session, session.project(), file), pipeline)
    plan = parameters.plan(found, param)
    wish = Wish(
        image=wanted["image"],
        address=wanted["address"] or (session.place if session.remote else ""),
        images=dict(_pair(text, "--image-of", "STEP=IMAGE") for text in wanted["images"]),
        secrets=tuple(
            Secret(variable=name, secret=place.partition("/")[0], key=place.partition("/")[2])
            for name, place in (_pair(text, "--secret", "VARIABLE=SECRET/KEY") for text in wanted["secrets"])
        ),
        carries=not wanted["code_in_image"],
    )
    with session.workspace() as workspace:
        export = workspace.steps.export(plan, found, wish)
    replace_text(out, export.text)
    if not within_reach(wish.address):
        session.screen.say(
            f"{wish.address} is the machine that says it: the pods of a cluster will not reach this workspace there;",
            " --address says where they do",
        )
    session.screen.show(
        {
            "file": str(out),
            "plan": export.plan,
            "code": export.code or None,
            "run": export.run,
            "tasks": export.tasks,
        },
        Table(
            rows=(
                (dim("pipeline"), (strong(plan.name), f"  {words.count(export.tasks, 'task')}  ", dim(str(out)))),
                (dim("plan"), short(export.plan)),
                (dim("code"), short(export.code) if export.code else "in the images"),
                (dim("run"), export.run),
            )
        ),
    )


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise Invalid(f"{option} {text[:80]!r} (expected {form})", code="usage")
    return name, value
