"""`ci import`: a CI file that is there becomes a pipeline file, and every construct is accounted for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stellwerk.cli import exits, words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Span, Table, Tone, dim
from stellwerk.cli.session import Session
from stellwerk.core.errors import Conflict, Invalid, NotFound, Unavailable

if TYPE_CHECKING:
    from stellwerk.delivery.ci.taking.model import Finding, Taken

TITLES: dict[str, tuple[str, Tone]] = {
    "taken": ("taken over", "good"),
    "changed": ("with a change", "warn"),
    "left": ("not taken over", "bad"),
}


@click.command("import", cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "system", type=click.Choice(("github", "gitlab", "jenkins")), help="Whose file it is.")
@click.option(
    "--out", type=click.Path(path_type=Path), default="pipeline.py", show_default=True, help="What to write."
)
@click.option("--all", "every", is_flag=True, help="Also list what is taken over as it is.")
@click.option("--stdout", is_flag=True, help="Show the pipeline file and write nothing.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.pass_obj
def import_(
    session: Session, file: Path, system: str | None, out: Path, every: bool, stdout: bool, force: bool
) -> int:
    """Make a pipeline file of a CI file.

    Reads a declarative Jenkinsfile, a .gitlab-ci.yml or a workflow of GitHub. Each job or stage becomes a step that
    runs its script. Nothing is executed. Every construct is accounted for: taken over, taken over with a change, or
    not taken over, with the line, the reason, and what to do instead.

    \b
    Example:
      stellwerk ci import Jenkinsfile
      stellwerk ci import .github/workflows/train.yml --out train.py --all
    """
    from stellwerk.core.files import replace_text
    from stellwerk.delivery.ci.taking import take
    from stellwerk.delivery.ci.taking.writing import render

    taken = take(_read(file), file.name, system=system or "")
    if not taken.steps:
        session.screen.say(*_lost(taken.findings))
        raise Invalid(
            f"nothing of {file.name} could be taken over",
            code="nothing-taken-over",
            hint="the lines above say why",
        )
    text = render(taken, name=out.resolve().parent.name)
    told = {"source": taken.source, "system": taken.system, "steps": taken.steps, "findings": taken.findings}
    if stdout:
        session.screen.show({**told, "text": text}, text.rstrip("\n"))
        return exits.DONE
    if out.exists() and not force:
        raise Conflict(
            f"{out.name} is there already", code="already-exists", hint="--out FILE, or --force to replace it"
        )
    replace_text(out, text)
    session.screen.show({**told, "path": str(out)}, *_told(taken, every=every))
    session.screen.suggest(f"stellwerk run --file {out}")
    return exits.DONE


def _lost(findings: tuple[Finding, ...]) -> list[str | Span]:
    return [
        Span("\n".join(f"line {one.line}: {one.construct}: {one.why}" for one in findings if one.outcome == "left"))
    ]


def _told(taken: Taken, *, every: bool) -> list[Block]:
    shown = [one for one in taken.findings if every or one.outcome != "taken"]
    counts = ", ".join(f"{taken.count(kind)} {TITLES[kind][0]}" for kind in ("taken", "changed", "left"))
    blocks: list[Block] = [f"{taken.source}: {words.count(len(taken.steps), 'step')}; {counts}"]
    if shown:
        rows = tuple(
            (
                str(one.line),
                one.construct,
                Span(*TITLES[one.outcome]),
                (one.why + ("" if not one.instead else ": "), dim(one.instead)),
            )
            for one in shown
        )
        blocks += [
            "",
            Table(header=("line", "construct", "outcome", "why, and what to do instead"), right=(0,), rows=rows),
        ]
    return blocks


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as cause:
        raise NotFound(f"there is no file {file.name!r}", code="no-such-file") from cause
    except OSError as cause:
        raise Unavailable(f"{file.name} cannot be read: {cause.strerror}", code="file-unreadable") from cause
