"""`step plan`: the plan of a pipeline as a file, for those who execute its steps one by one."""

from __future__ import annotations

from pathlib import Path

import click

from stellwerk.cli import parameters, words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Table, dim, strong
from stellwerk.cli.session import Session
from stellwerk.core import canonical
from stellwerk.core.digest import of_bytes, short
from stellwerk.core.files import replace_bytes


@click.command("plan", cls=Command)
@parameters.pipeline
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write, such as plan.json.",
)
@click.pass_obj
def plan(session: Session, /, pipeline: str, param: tuple[str, ...], file: Path | None, out: Path) -> None:
    """Write the plan of a pipeline into a file, for `step exec`.

    Nothing is executed. The same pipeline with the same parameters has the same plan on every machine.

    \b
    Example:
      stellwerk step plan delay -p depth=8 --out plan.json
    """
    from stellwerk.pipelines.model import document

    found = parameters.find(parameters.place(session, session.project(), file), pipeline)
    planned = parameters.plan(found, param)
    data = canonical.dumps(document(planned))
    replace_bytes(out, data)
    steps = [f"{node.id} ({node.seeds} seeds)" if node.seeds else node.id for node in planned.nodes]
    session.screen.show(
        {"file": str(out), "plan": of_bytes(data), "steps": [node.id for node in planned.nodes]},
        Table(
            rows=(
                (dim("plan"), (strong(planned.name), f"  {words.count(len(steps), 'step')}  ", dim(str(out)))),
                (dim("digest"), short(of_bytes(data))),
                (dim("steps"), ", ".join(steps)),
            )
        ),
    )
