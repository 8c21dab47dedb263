"""`ledger`: the book as one signed file, and what this machine remembers of books it has seen."""

from __future__ import annotations

from pathlib import Path

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command, Group
from stellwerk.cli.output import Span, Table, dim
from stellwerk.cli.session import Session

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
