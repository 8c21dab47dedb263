"""`erase`: a person's data goes, and the ledger still verifies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stellwerk.cli import exits, words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Span, Table, dim
from stellwerk.cli.session import Session
from stellwerk.core.errors import Invalid

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

if TYPE_CHECKING:
    from stellwerk.workspace.erasing import Erasure


@click.command(cls=Command)
@click.argument("subject", required=False, default="")
@click.option("--why", default="", help="A ticket or a date, never a name: it stays in the ledger for ever.")
@click.option("--yes", is_flag=True, help="Do it. Without this, only what would go is shown.")
@click.option("--dry-run", is_flag=True, help="Only show what would go, whatever else is said.")
@click.option("--again", type=FILE, help="After a restore: a newer export of the ledger.")
@click.pass_obj
def erase(session: Session, subject: str, why: str, yes: bool, dry_run: bool, again: Path | None) -> int:
    """Erase a person's data by destroying their key.

    SUBJECT is the person as callers name them in the column that an endpoint declares as its `subject`. Their inputs in
    the prediction log, and the callers' references, become unreadable for ever. Backups keep the key until they
    are deleted: after a restore, `--again` destroys the keys anew that a newer export of the ledger tells of.

    \b
    Example:
      stellwerk erase customer-4711 --why "request of 2 March, ticket 77" --yes
    """
    if again is not None:
        return _again(session, again)
    if not subject:
        raise Invalid("whom? SUBJECT is missing", code="usage", hint="stellwerk erase SUBJECT --why TEXT")
    really = yes and not dry_run
    with session.workspace() as workspace:
        found = workspace.erase(subject, why=why) if really else workspace.find_subject(subject)
    session.screen.show(found, *_shown(found))
    if not really and found.keys:
        session.screen.suggest(f"stellwerk erase {subject} --why TEXT --yes")
    return exits.DONE


def _again(session: Session, bundle: Path) -> int:
    from stellwerk.workspace.erasing import erase_again

    with session.rooms() as rooms:
        back = erase_again(rooms, bundle)
    session.screen.show(back, (Span("ERASED", "good"), f"  {words.count(len(back), 'key')} had come back"))
    return exits.DONE


def _shown(found: Erasure) -> list[Block]:
    head = Span("ERASED", "good") if found.done else Span("WOULD GO" if found.keys else "NOTHING", "warn")
    blocks: list[Block] = [(head, f"  {words.count(len(found.keys), 'key')}")]
    rows = tuple((name, f"{count:,}") for name, count in found.predictions.items())
    if rows:
        blocks += ["", Table(header=("endpoint", "logged rows"), right=(1,), rows=rows)]
    if found.uncovered:
        names = ", ".join(found.uncovered)
        blocks += ["", dim(f"not encrypted, so not erased: the log of {names}, for which no `subject` is declared")]
    if found.done and not found.scrubbed:
        blocks += ["", dim("what was deleted is overwritten when the database is closed or vacuumed")]
    return blocks
