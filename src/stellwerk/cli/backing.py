"""`backup` and `restore`: a whole workspace as one file."""

from __future__ import annotations

from pathlib import Path

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command
from stellwerk.cli.session import Session

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(cls=Command)
@click.argument("file", type=FILE)
@click.option(
    "--with-keys", is_flag=True, help="Put the private keys into the file too. Whoever has it can sign then."
)
@click.pass_obj
def backup(session: Session, file: Path, with_keys: bool) -> None:
    """Write the whole workspace into one tar file.

    Ledger and tables are those of one moment, whether they lie in a file or on PostgreSQL; others may go on working.
    Private keys are left out, unless --with-keys is given: keep them apart, for without them a restored workspace can
    be read and verified, but nothing can be signed.

    \b
    Example:
      stellwerk backup monday.tar
    """
    from stellwerk.workspace.backing import backup as write

    with session.rooms() as rooms, session.screen.working("writing the backup"):
        done = write(rooms, file, with_keys=with_keys)
    facts = (
        words.count(done.entries, "entry", "entries"), words.count(done.rows, "row"), words.count(done.blobs, "blob"),
    )  # fmt: skip
    session.screen.show(done, f"{file}: {', '.join(facts)}")
    if not done.keys:
        session.screen.say("without the private keys: keep a copy of .stellwerk/keys in a safe place of its own")


@click.command(cls=Command)
@click.argument("file", type=FILE)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--database", metavar="URL", help="Put ledger and tables on this empty PostgreSQL database.")
@click.option("--key", default="", help="A public key of the ledger, in hex, known beforehand.")
@click.pass_obj
def restore(session: Session, file: Path, folder: Path, database: str | None, key: str) -> None:
    """Make the workspace of a backup in a new folder.

    Every entry, the Merkle tree, the checkpoints, every blob and every reference is checked before the folder is a
    workspace; where anything does not fit, it is none. A folder that holds a workspace is left alone.

    \b
    Example:
      stellwerk restore monday.tar recovered
    """
    from stellwerk.workspace.backing import restore as make
    from stellwerk.workspace.books import chosen
    from stellwerk.workspace.bundling import public_key
    from stellwerk.workspace.settings import read

    server, settings = chosen(read(), database)
    with session.screen.working("restoring and checking"):
        done = make(
            file,
            folder.resolve(),
            settings,
            server=server,
            public_key=public_key(key),
        )
    facts = (
        words.count(done.entries, "entry", "entries"), words.count(done.rows, "row"), words.count(done.blobs, "blob"),
    )  # fmt: skip
    session.screen.show(done, f"{folder}: {', '.join(facts)}, all verified")
    if not done.keys:
        session.screen.say("the backup has no private keys: put them into .stellwerk/keys to go on signing")
