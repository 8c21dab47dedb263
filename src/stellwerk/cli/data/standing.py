"""`data status`: how files compare with the versions that their pointers name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stellwerk.cli import exits, words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Line, Span, dim, strong
from stellwerk.cli.session import Session

if TYPE_CHECKING:
    from stellwerk.workspace.copies import Copies, CopyStatus, FileChange

SHOWN = 20
"""Changes that people see; all are counted, and `--json` has a thousand."""


@click.command(cls=Command)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--dvcignore", is_flag=True, help="Obey .dvcignore as well as .stellwerkignore.")
@click.pass_obj
def status(session: Session, paths: tuple[Path, ...], dvcignore: bool) -> int:
    """Show what changed since the version that a pointer names.

    PATHS are tracked files or folders, their pointers, or folders with pointers in them; everything in the project by
    default. Exit code 0 where all is as it was kept, 1 where something differs.

    \b
    Example:
      stellwerk data status
      stellwerk data status images --json
    """
    with session.screen.counting("looking") as progress:
        found = [
            (copies.status(one, dvc_ignore=dvcignore, progress=progress))
            for copies in _copies(session)
            for one in copies.find(paths)
        ]
    if session.as_json:
        session.screen.show(found)
    else:
        blocks = [block for one in found for block in _lines(one)]
        session.screen.show(None, *(blocks or [dim("nothing is tracked here")]))
        _suggest(session, found)
    return exits.DONE if all(one.state == "same" for one in found) else exits.STOP


def _copies(session: Session) -> list[Copies]:
    """The working copies, without opening the database: a status needs bytes and pointers only."""
    if session.remote:
        from stellwerk.workspace.facade import connect

        return [connect(session.place).data.copies]
    from stellwerk.workspace.copies import of_folder

    return [of_folder(session.layout())]


def _lines(one: CopyStatus) -> list[Block]:
    if one.state == "missing":
        return [(strong(one.path), "  ", Span("missing", "warn"))]
    if one.state == "unknown":
        return [(strong(one.path), "  ", Span("its version is not in the store", "bad"))]
    if one.state == "same":
        blocks: list[Block] = [(strong(one.path), f"  {words.count(one.files, 'file')}  ", Span("unchanged", "good"))]
    else:
        parts = [
            words.count(number, what, what)
            for number, what in (
                (one.changed, "changed"),
                (one.added, "added"),
                (one.deleted, "deleted"),
                (one.renamed, "renamed"),
            )
            if number
        ]
        blocks = [(strong(one.path), f"  {words.count(one.files, 'file')}  ", Span(", ".join(parts), "warn"))]
        blocks += changes(one.changes)
        total = one.changed + one.added + one.deleted + one.renamed
        if total > SHOWN:
            blocks.append(dim(f"  … and {total - SHOWN:,} more"))
    if one.skipped:
        blocks.append(
            dim(f"  {words.count(len(one.skipped), 'link, pipe or device', 'links, pipes or devices')} left out")
        )
    return blocks


def changes(found: tuple[FileChange, ...]) -> list[Line]:
    """A line for each of the first changes."""
    signs = {
        "added": Span("+", "good"),
        "deleted": Span("-", "bad"),
        "changed": Span("~", "warn"),
        "renamed": Span(">"),
    }
    return [("  ", signs[change.change], f" {_name(change)}  ", dim(_sizes(change))) for change in found[:SHOWN]]


def _name(change: FileChange) -> str:
    return f"{change.old_path} → {change.path}" if change.old_path else change.path


def _sizes(change: FileChange) -> str:
    sizes = [words.size(size) for size in (change.old_size, change.new_size) if size is not None]
    return " → ".join(dict.fromkeys(sizes))


def _suggest(session: Session, found: list[CopyStatus]) -> None:
    one = next((one for one in found if one.state != "same"), None)
    if one is None:
        return
    if one.state == "unknown":
        session.screen.suggest("stellwerk data pull")
    elif one.state == "missing":
        session.screen.suggest(f"stellwerk data checkout {one.path}")
    else:
        session.screen.suggest(f"stellwerk data add {one.path}  (keeps it; checkout takes it back)")
