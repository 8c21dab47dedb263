"""`scrub`: reading stored bytes again, a portion at a time."""

from __future__ import annotations

import click

from stellwerk.cli import exits, words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Span, Table, dim
from stellwerk.cli.session import Session


@click.command(cls=Command)
@click.option("--megabytes", type=click.IntRange(1), default=None, help="Read about so much; all of it by default.")
@click.pass_obj
def scrub(session: Session, megabytes: int | None) -> int:
    """Read stored bytes again and compare them with their names.

    Each call goes on where the last one ended. A running server does the same by itself, slowly enough not to disturb
    and fast enough to have read everything within thirty days. Exit code 7 where something is damaged.

    \b
    Example:
      stellwerk scrub --megabytes 1000
    """
    with session.workspace() as workspace, session.screen.working("reading"):
        found = workspace.scrub(budget=None if megabytes is None else megabytes * 1_000_000)
    head = Span("DAMAGED", "bad") if found.damaged else Span("WHOLE", "good")
    blocks: list[Block] = [(head, f"  {words.count(found.blobs, 'blob')}, {words.size(found.bytes)} read"), ""]
    blocks.append(Table(rows=((dim("all of it last read"), words.moment(found.verified_at)),)))
    if found.damaged:
        blocks += ["", Table(header=("damaged",), rows=tuple((digest,) for digest in found.damaged))]
    session.screen.show(found, *blocks)
    if found.damaged:
        session.screen.suggest("stellwerk repair --from PLACE  (from another store that has these bytes)")
    return exits.CORRUPT if found.damaged else exits.DONE
