"""`ci report`: what a merge request shows, as text and as the files that CI systems read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stellwerk.cli import exits, words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Table, dim, state, strong
from stellwerk.cli.session import PROJECT, Session
from stellwerk.core.errors import Invalid, StellwerkError

if TYPE_CHECKING:
    from stellwerk.governance.change.model import Change
    from stellwerk.workspace.forges import Shown
    from stellwerk.workspace.ports import Comment, Thread

MAIN = "main"
FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(cls=Command)
@click.option("--base", default="", metavar="BRANCH|RUN|MODEL@VERSION", help="What to compare with; the target branch that the CI names, else main.")  # fmt: skip  # noqa: E501
@click.option("--run", default="", metavar="RUN", help="The run to report; the newest of this commit.")
@click.option("--out", type=FILE, help="Write the report into this file instead of stdout (Markdown).")
@click.option("--junit", type=FILE, help="Steps and checks as JUnit XML.")
@click.option("--sarif", type=FILE, help="What went wrong as SARIF 2.1.0, for code scanning.")
@click.option("--codequality", type=FILE, help="The same for the Code Quality widget of GitLab.")
@click.option("--metrics", type=FILE, help="Metrics as OpenMetrics text, for GitLab's metrics report.")
@click.option(
    "--images", type=click.Path(file_okay=False, path_type=Path), help="Draw pictures into this folder (SVG)."
)
@click.option("--image-url", default="", metavar="URL", help="Where that folder can be seen, for pictures in the comment.")  # fmt: skip  # noqa: E501
@click.option("--post", is_flag=True, help="Write or update the one comment on the merge request of this build.")
@click.option(
    "--fail-on", type=click.Choice(["unproven", "stop"]), default="unproven", show_default=True,
    help="What ends with an exit code other than 0: stop alone, or unproven as well.",
)  # fmt: skip
@click.pass_obj
def report(
    session: Session,
    base: str,
    run: str,
    out: Path | None,
    junit: Path | None,
    sarif: Path | None,
    codequality: Path | None,
    metrics: Path | None,
    images: Path | None,
    image_url: str,
    post: bool,
    fail_on: str,
) -> int:
    """Show what a change comes to: verdict, metrics, data, code, steps.

    The newest pipeline run of this commit is compared with the newest one of the target branch. Where both kept the same
    selection rows, both models are asked them again, and differences get 95 % intervals. Exit code 0 is clear, 1 stop,
    3 unproven.

    \b
    Example:
      stellwerk ci report --base main --out report.md --junit junit.xml --post
      stellwerk ci report --base delay@3
    """
    from stellwerk.governance.change import markdown
    from stellwerk.workspace import revision

    if image_url and not (images and markdown.linkable(image_url)):
        raise Invalid("--image-url needs --images, and a plain http(s) address", code="usage")
    here = revision.read(session.home())
    with session.workspace() as workspace, session.screen.working("comparing"):
        change = workspace.change(run=run, base=base or here.target or MAIN, commit=here.commit, branch=here.branch)
    drawn = _draw(change, images) if images else {}
    beside = {title: _beside(file, out) for title, file in drawn.items()}
    text = markdown.render(change, images=beside, build=here.url)
    if out:
        _write(out, text)
    _write_others(session, change, junit, sarif, codequality, metrics)
    session.screen.show(change, *(_summary(change) if out else text.rstrip("\n").split("\n")))
    if post:
        seen = {title: f"{image_url.rstrip('/')}/{file.name}" for title, file in drawn.items()} if image_url else {}
        _post(session, change, seen, here.url)
    code = exits.BY_OUTCOME[change.outcome]
    return exits.DONE if fail_on == "stop" and change.outcome == "unproven" else code


def _write_others(
    session: Session,
    change: Change,
    junit: Path | None,
    sarif: Path | None,
    codequality: Path | None,
    metrics: Path | None,
) -> None:
    if junit:
        from stellwerk.governance.change import junit as as_junit

        _write(junit, as_junit.render(change))
    if sarif or codequality:
        from stellwerk.governance.change import codequality as as_codequality
        from stellwerk.governance.change import sarif as as_sarif
        from stellwerk.workspace import definitions

        home = session.home()
        places = definitions.places(home, (step.function for step in change.steps))
        text = as_sarif.render(change, places=places, otherwise=definitions.otherwise(home, PROJECT))
        if sarif:
            _write(sarif, text)
        if codequality:
            _write(codequality, as_codequality.render(text))
    if metrics:
        from stellwerk.governance.change import openmetrics

        _write(metrics, openmetrics.render(change))


def _draw(change: Change, folder: Path) -> dict[str, Path]:
    """Title → file of every picture."""
    from stellwerk.governance.change.pictures import pictures

    found = {}
    for name, (title, svg) in pictures(change).items():
        _write(folder / name, svg)
        found[title] = folder / name
    return found


def _beside(file: Path, out: Path | None) -> str:
    """The way from the report to a picture, as a link."""
    from urllib.parse import quote

    return quote(os.path.relpath(file, out.parent if out else "."))


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    except OSError as cause:
        raise Invalid(f"{str(file)!r} cannot be written: {cause.strerror}", code="cannot-write") from cause


def _post(session: Session, change: Change, images: dict[str, str], build: str) -> None:
    """Say it on the merge request. A build without one, or without a token, is told so and goes on."""
    from stellwerk.governance.change import markdown
    from stellwerk.workspace import forges
    from stellwerk.workspace.posting import open_thread
    from stellwerk.workspace.settings import read

    target = forges.target(os.environ, read().forge_token)
    if target is None:
        session.screen.say(dim("not posted: this is no build of a merge request"))
        return
    if not target.token:
        variable = "GITHUB_TOKEN" if target.forge == "github" else "STELLWERK_FORGE_TOKEN"
        session.screen.say(dim(f"not posted: no token, {variable} is empty"))
        return
    try:
        thread = open_thread(target)
        known = forges.mine(thread, markdown.marker(change))
        shown = forges.Shown(images=images) if images else _gallery(session, change, thread, known)
        text = markdown.render(change, images=shown.images, build=build, hidden=shown.hidden)
        comment, what = forges.post(thread, known, text)
    except StellwerkError as problem:
        session.screen.say(dim("the report is written, only the comment is missing"))
        raise problem
    session.screen.say(f"comment {what}", f" {comment.url}" if comment.url else "")


def _gallery(session: Session, change: Change, thread: Thread, known: Comment | None) -> Shown:
    """The pictures where the forge keeps some; without them the comment says the same in words."""
    from stellwerk.governance.change.pictures import pictures
    from stellwerk.workspace import forges
    from stellwerk.workspace.ports import Gallery

    if not isinstance(thread, Gallery):
        return forges.Shown()
    try:
        return forges.show(thread, pictures(change), known)
    except StellwerkError as problem:
        session.screen.say(dim(f"without pictures: {problem.message}"))
        return forges.Shown()


def _summary(change: Change) -> list[Block]:
    head, base = change.head, change.base
    rows: list[tuple[object, ...]] = [
        (dim("verdict"), (state(change.outcome), f"  {change.why}")),
        (dim("run"), (head.run, dim(f"  {head.branch} {head.commit[:8]}".rstrip()))),
    ]
    rows += [(dim("model"), strong(head.model))] if head.model else []
    rows.append((dim("against"), (base.model or base.run, dim(f"  {base.asked}")) if base else change.no_base))
    judged = [one for one in change.metrics if one.judgement]
    rows += [
        (dim(one.name), f"{words.figure(one.before)} → {words.figure(one.after)}  {one.judgement}") for one in judged
    ]
    rows += [(dim("next"), change.next)] if change.next and change.outcome != "clear" else []
    return [Table(rows=tuple(rows))]  # type: ignore[arg-type]
