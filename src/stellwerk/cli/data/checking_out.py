"""`data checkout`: files as a version says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, dim, strong
from stellwerk.cli.session import Session

if TYPE_CHECKING:
    from stellwerk.store.working.model import CheckedOut, Link


@click.command(cls=Command)
@click.argument("what", nargs=-1)
@click.option("--to", type=click.Path(path_type=Path), help="Another place for a dataset; it gets a pointer there.")
@click.option(
    "--link",
    type=click.Choice(["auto", "reflink", "hardlink", "copy"]),
    default="auto",
    show_default=True,
    help="How large files come out of the store; auto is reflink where the file system can, else copy.",
)
@click.option("--force", is_flag=True, help="Overwrite changes that are kept nowhere else.")
@click.pass_obj
def checkout(session: Session, what: tuple[str, ...], to: Path | None, link: Link, force: bool) -> None:
    """Bring files to their places, changing only what differs.

    WHAT is a tracked path, its pointer, or NAME@VERSION of a dataset; everything that the project's pointers name by
    default. Files that the version does not have are deleted. Changes whose bytes the store does not hold are never
    overwritten without --force. Hard-linked files are read-only: they are the store's own.

    \b
    Example:
      stellwerk data checkout
      stellwerk data checkout images@2
      stellwerk data checkout images@1 --to before
    """
    done: list[tuple[str, CheckedOut]] = []
    with session.workspace() as workspace, session.screen.counting("checking out") as progress:
        data = workspace.data
        for one in what or ("",):
            if one and ("@" in one or to is not None) and data.copies.tracked(Path(one)) is None:
                path, result = data.checkout_version(one, to, link=link, force=force, progress=progress)
                done.append((str(path), result))
            else:
                paths = (one,) if one else ()
                done += data.checkout(*paths, link=link, force=force, progress=progress).items()
    answer = [{"path": path, **_fields(result)} for path, result in done]
    session.screen.show(answer, *([_line(path, result) for path, result in done] or [dim("nothing is tracked here")]))


def _fields(done: CheckedOut) -> dict[str, int]:
    return {
        "written": done.written,
        "deleted": done.deleted,
        "kept": done.kept,
        "bytes": done.bytes,
        "copied": done.copied,
    }


def _line(path: str, done: CheckedOut) -> Block:
    if not done.written and not done.deleted:
        return (strong(Path(path).name), f"  {words.count(done.kept, 'file')}  ", dim("nothing to do"))
    parts = [f"{words.count(done.written, 'file')} written ({words.size(done.bytes)})"]
    parts += [f"{done.deleted:,} deleted"] if done.deleted else []
    parts += [f"{done.kept:,} kept"] if done.kept else []
    parts += [f"{done.copied:,} copied instead of linked"] if done.copied else []
    return (strong(Path(path).name), "  ", ", ".join(parts))
