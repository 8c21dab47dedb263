"""`trace` and `dossier`: what stands behind an answer, a model or a release."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stellwerk.cli import exits, words
from stellwerk.cli.command import Command
from stellwerk.cli.drawing import tree
from stellwerk.cli.output import Block, Span, Table, dim
from stellwerk.cli.session import Session
from stellwerk.core.errors import Invalid, NotFound, Unavailable

if TYPE_CHECKING:
    from stellwerk.governance.dossier import Dossier
    from stellwerk.governance.model import Trace
    from stellwerk.workspace.facade import Workspace


@click.command(cls=Command)
@click.argument("subject")
@click.option("--down", is_flag=True, help="Everything that was made from it, instead of its causes.")
@click.pass_obj
def trace(session: Session, subject: str, down: bool) -> int:
    """Go from anything back to its causes, re-verifying every digest.

    SUBJECT is a prediction, name@version of a model or dataset, a run, a release or a digest. Each blob on the way is
    read and hashed again. Exit code 7 where one is not what its name says.

    \b
    Example:
      stellwerk trace delay@3
      stellwerk trace flights@1 --down
    """
    with session.workspace() as workspace, session.screen.working("re-reading every digest"):
        found = workspace.trace(subject, down=down)
    session.screen.show(found, *_trace(found))
    return exits.CORRUPT if found.failed else exits.DONE


def _trace(found: Trace) -> list[Block]:
    blocks: list[Block] = []
    if found.facts:
        blocks += [Table(rows=tuple((dim(name), text) for name, text in found.facts)), ""]
    blocks.append(tree(found.graph, down=found.direction == "down"))
    verified = (Span("✓", "good"), f" {words.count(found.verified, 'blob')} read again and verified")
    blocks += ["", verified]
    blocks += [(Span("✗", "bad"), f" {sentence}") for sentence in found.failed]
    blocks += [(Span("?", "warn"), f" {sentence}") for sentence in found.unproven]
    return blocks


@click.command(cls=Command)
@click.argument("release")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder for the files; - writes Markdown to stdout.",
)
@click.pass_obj
def dossier(session: Session, release: str, out: Path) -> None:
    """Write everything behind a release, as a document.

    RELEASE is its id, or the name of an endpoint for its newest release. Markdown and HTML are written.

    \b
    Example:
      stellwerk dossier delay --out dossiers
    """
    from stellwerk.governance.dossier import markdown

    with session.workspace() as workspace:
        document = _find(workspace, release)
    if str(out) == "-":
        session.screen.show(document, markdown(document).rstrip("\n"))
        return
    files = _write(document, markdown(document), out)
    shown = {"dossier": document, "files": [str(file) for file in files]}
    session.screen.show(shown, *(str(file) for file in files))


def _find(workspace: Workspace, release: str) -> Dossier:
    known = {endpoint.name for endpoint in workspace.endpoints()}
    if release in known:
        history = workspace.releases(release)
        if not history:
            raise NotFound(
                f"endpoint {release!r} has no release yet", code="no-release", hint=f"`stellwerk prove {release}`"
            )
        release = history[-1].id
    return workspace.dossier(release)


def _write(document: Dossier, text: str, folder: Path) -> list[Path]:
    """Write the files whole or not at all."""
    contents = {f"dossier-{document.release}.md": text}
    page = _page(document)
    if page is not None:
        contents[f"dossier-{document.release}.html"] = page
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            waiting = folder / f".{name}.{os.getpid()}.new"
            waiting.write_text(content, "utf-8")
            waiting.replace(folder / name)
    except (FileExistsError, NotADirectoryError) as cause:
        raise Invalid(f"{str(folder)!r} is no folder", code="not-a-folder", hint="--out FOLDER") from cause
    except OSError as cause:
        raise Unavailable(
            f"the dossier cannot be written: {cause.strerror}", code="not-writable", hint="--out FOLDER"
        ) from cause
    return [folder / name for name in contents]


def _page(document: Dossier) -> str | None:
    """The dossier as a page, where the pages are installed (`stellwerk[server]`)."""
    try:
        from stellwerk.web.ui import render
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("stellwerk"):
            raise
        return None
    draw = getattr(render, "render_dossier", None)
    return None if draw is None else str(draw(document))
