"""`keys`: the keys that sign the ledger, and their rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command, Group
from stellwerk.cli.output import Span, Table, dim, strong
from stellwerk.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stellwerk.ledger.model import KeyLink


@click.group(cls=Group)
def keys() -> None:
    """The keys that sign the ledger, evidence and releases.

    \b
    Example:
      stellwerk keys list
    """


@keys.command("list", cls=Command)
@click.pass_obj
def list_keys(session: Session) -> None:
    """List all signing keys, oldest first; the last one signs now.

    \b
    Example:
      stellwerk keys list --json
    """
    with session.workspace() as workspace:
        found = workspace.ledger.keys()
    session.screen.show(found, _table(found))


@keys.command(cls=Command)
@click.option("--why", required=True, help="The reason, for the ledger.")
@click.option("--compromised", is_flag=True, help="The old key is in wrong hands: nothing it signs counts any more.")
@click.pass_obj
def rotate(session: Session, why: str, compromised: bool) -> None:
    """Replace the signing key by a new one, which the old one announces.

    What the old key signed stays verifiable. Without --compromised, lease tokens and evidence that it signed up to an
    hour after the rotation still count, so that work under way is completed.

    \b
    Example:
      stellwerk keys rotate --why "yearly rotation"
    """
    with session.workspace() as workspace:
        new = workspace.ledger.rotate(why=why, compromised=compromised)
        found = workspace.ledger.keys()
    session.screen.show(new, (Span("ROTATED", "good"), f"  key {new.number} signs from now on"), "", _table(found))


def _table(found: Sequence[KeyLink]) -> Table:
    return Table(
        header=("key", "signs from", "announced", "public key"),
        right=(0, 1),
        firm=(3,),
        rows=tuple(
            (
                strong(str(link.number)),
                f"{link.since:,}",
                words.moment(link.at),
                dim(link.key) if link.number < len(found) - 1 else link.key,
            )
            for link in found
        ),
    )
