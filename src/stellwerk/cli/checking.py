"""`verify` and `fsck`: the book and the store against independent readers. Nothing is changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stellwerk.cli import exits, words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Span, Table, dim, state
from stellwerk.cli.session import Session
from stellwerk.core.errors import Invalid

if TYPE_CHECKING:
    from stellwerk.ledger.verify_bundle import BundleReport
    from stellwerk.workspace.checking import BookReport

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command)
@click.option("--against", "files", multiple=True, type=FILE, help="A checkpoint that was kept elsewhere.")
@click.option("--bundle", type=FILE, help="Verify this exported ledger instead; needs no workspace.")
@click.option("--key", default="", help="With --bundle: a public key of that ledger, in hex, known beforehand.")
@click.pass_obj
def verify(session: Session, files: tuple[Path, ...], bundle: Path | None, key: str) -> int:
    """Check the ledger by independent code.

    Every entry, the Merkle tree and all signed checkpoints: those in the database, the copies beside it, and those
    that a client, a witness or a repository kept. Exit code 7 where something is wrong.

    \b
    Example:
      stellwerk verify --against kept/checkpoint.txt
    """
    notes = [_note(file) for file in files]
    if bundle is not None:
        return _verify_bundle(session, bundle, tuple(notes), key)
    if key:
        raise Invalid("--key goes with --bundle", code="usage", hint="a workspace's own key is known")
    with session.workspace() as workspace, session.screen.working("verifying the ledger"):
        report = workspace.verify(against=notes)
    facts = ((dim("root"), report.root or "–"), (dim("signed by"), report.key))
    return _show(session, report, facts)


def _verify_bundle(session: Session, bundle: Path, notes: tuple[str, ...], key: str) -> int:
    from stellwerk.workspace.bundling import check, public_key

    with session.screen.working("verifying the bundle"):
        report = check(bundle, notes=notes, key=public_key(key))
    facts = (
        (dim("origin"), report.origin or "–"),
        (dim("first key"), report.first_key),
        (dim("signed by"), report.key),
    )
    return _show(session, report, facts)


def _show(session: Session, report: BookReport | BundleReport, facts: tuple[tuple[Any, ...], ...]) -> int:
    found = words.count(len(report.findings), "finding")
    head = Span("WHOLE", "good") if not report.findings else Span("BROKEN", "bad")
    blocks: list[Block] = [(head, f"  {words.count(report.entries, 'entry', 'entries')}, {found}"), ""]
    blocks.append(Table(rows=facts))
    if report.findings:
        rows = (("–" if item.sequence is None else f"{item.sequence:,}", item.problem) for item in report.findings)
        blocks += ["", Table(header=("entry", "problem"), right=(0,), rows=tuple(rows))]
    session.screen.show(report, *blocks)
    return exits.CORRUPT if report.findings else exits.DONE


def _note(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as cause:
        raise Invalid(f"{file.name} is no checkpoint: it is not UTF-8", code="invalid-checkpoint") from cause


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
