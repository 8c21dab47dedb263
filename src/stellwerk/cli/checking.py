"""`verify` and `fsck`: the book and the store against independent readers. Nothing is changed."""

from __future__ import annotations

import click

from stellwerk.cli import exits, words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Span, Table, dim, state
from stellwerk.cli.session import Session


@click.command(cls=Command)
@click.pass_obj
def verify(session: Session) -> int:
    """Check the ledger by independent code.

    Every entry, the Merkle tree and all signed checkpoints. Exit code 7 where something is wrong.

    \b
    Example:
      stellwerk verify
    """
    with session.workspace() as workspace, session.screen.working("verifying the ledger"):
        report = workspace.verify()
    found = words.count(len(report.findings), "finding")
    head = Span("WHOLE", "good") if not report.findings else Span("BROKEN", "bad")
    blocks: list[Block] = [(head, f"  {words.count(report.entries, 'entry', 'entries')}, {found}"), ""]
    blocks.append(Table(rows=((dim("root"), report.root or "–"), (dim("signed by"), report.key))))
    if report.findings:
        rows = (("–" if item.sequence is None else f"{item.sequence:,}", item.problem) for item in report.findings)
        blocks += ["", Table(header=("entry", "problem"), right=(0,), rows=tuple(rows))]
    session.screen.show(report, *blocks)
    return exits.CORRUPT if report.findings else exits.DONE


@click.command(cls=Command)
@click.pass_obj
def fsck(session: Session) -> int:
    """Check every stored byte by independent code.

    Every blob, and every digest that the ledger names. Nothing is changed. Exit code 7 where something is damaged.

    \b
    Example:
      stellwerk fsck --json
    """
    with session.workspace() as workspace, session.screen.working("reading every blob"):
        damages = workspace.fsck()
    errors = sum(damage.severity == "error" for damage in damages)
    head = Span("WHOLE", "good") if not errors else Span("DAMAGED", "bad")
    notes = words.count(len(damages) - errors, "note")
    blocks: list[Block] = [(head, f"  {words.count(errors, 'error')}, {notes}")]
    if damages:
        rows = tuple((state(damage.severity), damage.where, damage.problem) for damage in damages)
        blocks += ["", Table(header=("severity", "where", "problem"), rows=rows)]
    session.screen.show(damages, *blocks)
    return exits.CORRUPT if errors else exits.DONE
