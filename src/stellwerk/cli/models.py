"""`models` and `alias`: registered model versions, by name and by alias."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Table, dim, strong
from stellwerk.cli.session import Session
from stellwerk.cli.times import as_of
from stellwerk.core.digest import short
from stellwerk.core.errors import Invalid, NotFound

if TYPE_CHECKING:
    from stellwerk.evidence.model import Evidence
    from stellwerk.models.model import Alias, AliasMove, ModelVersion


COLUMNS = ("model", "aliases", "task", "target", "inputs", "seed", "made", "run", "digest")
SAID = (2, 3, 4, 5)
"""Columns that only versions have whose files say something about inputs and answers."""


@click.command(cls=Command)
@click.argument("model", required=False, default="")
@as_of
@click.option("--protect", metavar="ALIAS", default="", help="Let this alias move only to what is released.")
@click.option("--unprotect", metavar="ALIAS", default="", help="Let this alias move freely again.")
@click.pass_obj
def models(session: Session, model: str, as_of: datetime | None, protect: str, unprotect: str) -> None:
    """List registered model versions, or show one model.

    MODEL is a name, which shows its versions and who moved which alias when; or name@3, name@alias or a digest, which
    shows that version. With --as-of: what it meant then.

    \b
    Example:
      stellwerk models delay
      stellwerk models delay@champion --as-of 2026-05-01
      stellwerk models --protect production
    """
    if protect or unprotect:
        _protect(session, protect, unprotect, model)
        return
    with session.workspace() as workspace:
        if model and ("@" in model or ":" in model or as_of is not None):
            found = workspace.models.get(model, as_of=as_of)
            drills = workspace.models.rebuilds(f"{found.name}@{found.version}") if found.digest else ()
            session.screen.show(found, _one(found, drills))
            return
        aliases = workspace.models.aliases(model or None)
        versions = tuple(one for one in workspace.models.list() if model in ("", one.name))
        moves = workspace.models.history(model) if model else ()
    if model and not versions:
        raise NotFound(f"no model {model!r}", hint="`stellwerk models` lists them")
    if not model:
        session.screen.show(versions, _versions(versions, aliases) if versions else dim("no model yet"))
        if not versions:
            session.screen.suggest("stellwerk run")
        return
    blocks: list[Block] = [_versions(versions, aliases)]
    if moves:
        blocks += ["", strong("Aliases"), _moves(moves)]
    session.screen.show({"versions": versions, "aliases": aliases, "history": moves}, *blocks)


def _protect(session: Session, protect: str, unprotect: str, model: str) -> None:
    if model or (protect and unprotect):
        raise Invalid(
            "an alias is protected in all models, and one at a time",
            code="usage",
            hint=f"stellwerk models --protect {protect}",
        )
    with session.workspace() as workspace:
        found = workspace.models.protect(protect) if protect else workspace.models.unprotect(unprotect)
    said = "moves only to what is released" if protect else "moves freely"
    session.screen.show(found, (strong(found.alias), f"  {said}"))


def _versions(found: Sequence[ModelVersion], aliases: Sequence[Alias]) -> Table:
    named: dict[tuple[str, int], list[str]] = {}
    for one in aliases:
        named.setdefault((one.name, one.version), []).append(one.alias)
    rows = tuple(
        (
            strong(f"{model.name}@{model.version}"),
            " ".join(named.get((model.name, model.version), [])),
            *_asked(model),
            "–" if model.seed is None else str(model.seed),
            words.moment(model.created_at),
            dim(model.run_id),
            dim(short(model.digest) if model.digest else "elsewhere"),
        )
        for model in found
    )
    if all(row[place] == "–" for row in rows for place in SAID):  # as of all that MLflow's client registered
        left = tuple(place for place in range(len(COLUMNS)) if place not in SAID)
        kept = tuple(tuple(row[place] for place in left) for row in rows)
        return Table(header=tuple(COLUMNS[place] for place in left), firm=(0, 2, 3, 4), spare=(2,), rows=kept)
    return Table(header=COLUMNS, right=(4, 5), firm=(0, 1, 6, 7, 8), spare=(5, 6, 8, 2, 4), rows=rows)


def _asked(model: ModelVersion) -> tuple[str, str, str]:
    """Task, target and number of inputs, where they are known."""
    signature = model.signature
    return (signature.task, signature.target, str(len(signature.inputs))) if signature else ("–", "–", "–")


def _moves(found: Sequence[AliasMove]) -> Table:
    return Table(
        header=("when", "alias", "from", "to", "who"),
        rows=tuple(
            (
                words.moment(move.at),
                strong(move.alias),
                "–" if move.before is None else str(move.before),
                "–" if move.version is None else str(move.version),
                move.by,
            )
            for move in reversed(found)
        ),
    )


def _one(model: ModelVersion, drills: Sequence[Evidence]) -> Table:
    signature = model.signature
    facts = {
        "model": f"{model.name}@{model.version}",
        "made": words.moment(model.created_at),
        "task": f"{signature.task} of {signature.target}" if signature else "",
        "inputs": ", ".join(column.name for column in signature.inputs) if signature else "",
        "format": model.format,
        "run": model.run_id,
        "source": model.source,
        "digest": model.digest or "its files are not in the store",
        "rebuilt": _rebuilt(drills),
        "stage": "" if model.stage == "None" else model.stage,
        "about": model.description,
        "tags": ", ".join(f"{key} = {value}" for key, value in sorted(model.tags.items())),
    }
    return Table(rows=tuple((dim(what), value) for what, value in facts.items() if value))


def _rebuilt(drills: Sequence[Evidence]) -> str:
    if not drills:
        return ""
    newest = drills[-1]
    times = f", {len(drills)} times in all" if len(drills) > 1 else ""
    return f"level {newest.facts['level']}, {words.moment(newest.observed_at)}{times}"


@click.command(cls=Command)
@click.argument("model")
@click.argument("alias", required=False, default="")
@click.option("--remove", is_flag=True, help="Take an alias away instead.")
@click.pass_obj
def alias(session: Session, model: str, alias: str, remove: bool) -> None:
    """Point an alias at a model version, or take it away.

    MODEL is name@3, name@alias or a name, which means its newest version. With --remove: name@alias, and no ALIAS.

    \b
    Example:
      stellwerk alias delay@2 champion
      stellwerk alias delay@champion --remove
    """
    name, _, which = model.partition("@")
    if remove and (alias or not which):
        raise Invalid(
            "--remove needs one alias, as name@alias", code="usage", hint=f"stellwerk alias {name}@champion --remove"
        )
    if not remove and not alias:
        raise Invalid("which alias is missing", code="usage", hint=f"stellwerk alias {model} champion")
    with session.workspace() as workspace:
        if remove:
            moved = workspace.models.unalias(name, which)
        else:
            found = workspace.models.get(model)
            moved = workspace.models.alias(found.name, alias, found.version)
    said = f"no longer means {moved.name}@{moved.version}" if remove else f"means {moved.name}@{moved.version}"
    session.screen.show(moved, (strong(f"{moved.name}@{moved.alias}"), f"  {said}"))
