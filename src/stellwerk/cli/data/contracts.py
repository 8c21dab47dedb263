"""`data contract`: what a dataset promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Table, dim, state, strong
from stellwerk.cli.session import Session
from stellwerk.core.errors import NotFound

if TYPE_CHECKING:
    from stellwerk.data.model import ColumnRule, Contract


@click.command(cls=Command)
@click.argument("name")
@click.option("--confirm", is_flag=True, help="Make it binding: tables that break it are refused from now on.")
@click.pass_obj
def contract(session: Session, name: str, confirm: bool) -> None:
    """Show the contract of a dataset, or confirm it.

    \b
    Example:
      stellwerk data contract flights --confirm
    """
    with session.workspace() as workspace:
        found = workspace.data.confirm(name) if confirm else workspace.data.contract(name)
    if found is None:
        raise NotFound(
            f"there is no contract for {name!r}",
            code="no-contract",
            hint=f"`stellwerk data add {name} FILE` drafts one",
        )
    title = (strong(found.name), f"  version {found.version}  ", state(found.status), "  ")
    further = "refused" if found.extra_columns == "refuse" else "allowed"
    facts = f"at least {words.count(found.min_rows, 'row')}, further columns {further}"
    session.screen.show(found, (*title, dim(facts)), "", _rules(found))
    if found.status == "draft":
        session.screen.suggest(f"stellwerk data contract {name} --confirm")


def _rules(found: Contract) -> Table:
    return Table(
        header=("column", "kind", "type", "values", "allowed"),
        firm=(1, 3),
        spare=(2,),
        rows=tuple(
            (strong(rule.name), rule.kind, dim(rule.dtype), _presence(rule), _allowed(rule)) for rule in found.columns
        ),
    )


def _presence(rule: ColumnRule) -> str:
    if not rule.required:
        return "may be missing"
    unique = ", unique" if rule.unique else ""
    if rule.min_fraction <= 0:
        return "may be empty" + unique
    return ("always" if rule.min_fraction >= 1 else f"≥ {rule.min_fraction:.1%} of rows") + unique


def _allowed(rule: ColumnRule) -> str:
    if rule.vocabulary is not None:
        shown = ", ".join(rule.vocabulary[:8])
        return shown + (f", … ({len(rule.vocabulary)} values)" if len(rule.vocabulary) > 8 else "")
    if rule.kind == "time" or (rule.minimum is None and rule.maximum is None):
        return "any"
    if rule.minimum is None:
        return f"up to {words.figure(rule.maximum)}"
    if rule.maximum is None:
        return f"from {words.figure(rule.minimum)}"
    return f"{words.figure(rule.minimum)} to {words.figure(rule.maximum)}"
