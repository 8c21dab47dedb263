"""`ledger`: the book as one signed file, and what this machine remembers of books it has seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command, Group
from stellwerk.cli.output import Span, Table, dim
from stellwerk.cli.session import Session
from stellwerk.core.errors import Invalid

if TYPE_CHECKING:
    from stellwerk.workspace.remembering import Memory

FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(cls=Group)
def ledger() -> None:
    """The ledger as one file.

    \b
    Example:
      stellwerk ledger export book.jsonl
    """


@ledger.command("export", cls=Command)
@click.argument("file", type=FILE)
@click.pass_obj
def export_ledger(session: Session, file: Path) -> None:
    """Write the whole ledger into one signed file.

    All entries up to the newest checkpoint, all checkpoints, and with them all keys. Whoever has the file verifies it
    with `stellwerk verify --bundle`, without this workspace.

    \b
    Example:
      stellwerk ledger export book.jsonl
    """
    with session.workspace() as workspace, session.screen.working("writing the ledger"):
        made = workspace.ledger.export(file)
    entries = words.count(made.entries, "entry", "entries")
    head = f"  {entries}, {words.count(made.checkpoints, 'checkpoint')}"
    session.screen.show(made, (Span("EXPORTED", "good"), head), "", Table(rows=((dim("origin"), made.origin),)))
    session.screen.suggest(f"stellwerk verify --bundle {file}")


@ledger.command(cls=Command)
@click.pass_obj
def remembered(session: Session) -> None:
    """List the ledgers that this machine remembers.

    The last checkpoint of each that was seen, by address or folder. A ledger that does not go on from there is refused.

    \b
    Example:
      stellwerk ledger remembered
    """
    found = _memory().all()
    table = Table(
        header=("place", "entries", "origin", "key"),
        right=(1,),
        spare=(3, 2),
        rows=tuple((item.place, f"{item.size:,}", item.origin, dim(item.key)) for item in found),
    )
    session.screen.show(found, table if found else dim("no ledger is remembered yet"))


@ledger.command(cls=Command)
@click.argument("place")
@click.pass_obj
def forget(session: Session, place: str) -> None:
    """Forget the ledgers of a place, deliberately.

    PLACE is an address or a folder, as `remembered` lists it. The next contact is a first one: what it shows is
    believed. Notes of ledgers that contradicted each other stay in the state folder.

    \b
    Example:
      stellwerk ledger forget http://127.0.0.1:7700
    """
    gone = _memory().forget(place)
    session.screen.show(gone, (Span("FORGOTTEN", "warn"), f"  {words.count(len(gone), 'ledger')}"))


def _memory() -> Memory:
    from stellwerk.workspace.remembering import Memory
    from stellwerk.workspace.settings import read

    state = read().state
    if not state:
        raise Invalid("there is no state folder", code="no-state-folder", hint="set STELLWERK_STATE")
    return Memory(Path(state))


@ledger.command("import", cls=Command)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--key", default="", help="A public key of that ledger, in hex, known beforehand.")
@click.pass_obj
def import_ledger(session: Session, file: Path, key: str) -> None:
    """Keep a verified copy of another workspace's ledger, as a witness.

    The copy is read-only: nothing of it becomes state of this workspace. When a newer export of the same ledger is
    imported, it must begin with what was witnessed; another history is refused, and both are kept.

    \b
    Example:
      stellwerk ledger import book.jsonl
    """
    from stellwerk.workspace.bundling import public_key, witness

    with session.rooms() as rooms, session.screen.working("verifying the ledger"):
        report = witness(rooms, file, key=public_key(key))
    entries = words.count(report.entries, "entry", "entries")
    rows = ((dim("origin"), report.origin), (dim("first key"), report.first_key), (dim("signed by"), report.key))
    session.screen.show(report, (Span("WITNESSED", "good"), f"  {entries}"), "", Table(rows=rows))
