"""`step show`, `step fetch` and `step run`: why a step is what it is, and whether it ends the same way here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stellwerk.cli import exits, words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Table, dim, state, strong
from stellwerk.cli.session import Session
from stellwerk.core.digest import short
from stellwerk.core.errors import NotFound

if TYPE_CHECKING:
    from stellwerk.workspace.steps.again import Again
    from stellwerk.workspace.steps.past import Account, Differences

SUBJECT = click.argument("subject", metavar="RUN|KEY")
SHOWN = 12
"""Runs, parts of code and differences in a list."""


@click.command("show", cls=Command)
@SUBJECT
@click.pass_obj
def show(session: Session, subject: str) -> None:
    """Explain a step key: what went into it.

    With RUN: the step key of that run. The digest of the document that is shown is the key itself.

    \b
    Example:
      stellwerk step show 01kc4v3n0w5x8y2z6q7r9s1t3v
    """
    with session.workspace() as workspace:
        found = workspace.steps.show(subject)
    session.screen.show(found, *_account(found))
    if found.failed is not None and found.done is None:
        session.screen.suggest(f"stellwerk step fetch {found.failed.id}")


@click.command("fetch", cls=Command)
@SUBJECT
@click.option("--into", type=click.Path(path_type=Path), help="A new folder; named after the step by default.")
@click.pass_obj
def fetch(session: Session, subject: str, into: Path | None) -> None:
    """Write a step into a folder, to look at it and to run it.

    Its inputs become ordinary files (Parquet, npy, JSON), beside its parameters, its code, the packages it ran with,
    what it printed, and `rerun.py`, which calls it. A red step of CI or of a pod is fetched like any other.

    \b
    Example:
      stellwerk step fetch 01kc4v3n0w5x8y2z6q7r9s1t3v --into red
    """
    from stellwerk.workspace.steps.fetching import name_of

    with session.workspace() as workspace:
        found = workspace.steps.show(subject)
        fetched = workspace.steps.fetch(found, into or Path(name_of(found)))
    rows = tuple((dim("input"), argument, path, dim(media)) for argument, path, media in fetched.inputs)
    blocks: list[Block] = [(strong(fetched.folder), dim(f"  {words.count(len(fetched.files), 'file')}"))]
    session.screen.show(fetched, *blocks, *([Table(rows=rows)] if rows else []))
    if "rerun.py" in fetched.files:
        session.screen.suggest(f"python {fetched.folder}/rerun.py")


@click.command("run", cls=Command)
@SUBJECT
@click.option(
    "--kept", is_flag=True, help="Use the code that was kept with the step, instead of the code of this folder."
)
@click.pass_obj
def again(session: Session, subject: str, kept: bool) -> int:
    """Run a step again with the inputs it had.

    Says whether it ends the same way, and what of the code and the environment is different here. Nothing is recorded.
    Exit code 0 if it ends the same way, 1 if not.

    \b
    Example:
      stellwerk step run 01kc4v3n0w5x8y2z6q7r9s1t3v
      stellwerk step run 01kc4v3n0w5x8y2z6q7r9s1t3v --kept
    """
    from contextlib import redirect_stdout
    from sys import stderr
    from tempfile import TemporaryDirectory

    screen = session.screen
    with session.workspace() as workspace, TemporaryDirectory(prefix="stellwerk-code-") as name:
        found = workspace.steps.show(subject)
        if kept:
            if not found.sources:
                raise NotFound("no code was kept with this step", code="no-code", hint="leave out --kept")
            folder = workspace.steps.unpack(found, Path(name))
        else:
            folder = session.home()
        with redirect_stdout(stderr):
            other = workspace.steps.differences(found, folder)
            ended = workspace.steps.again(found, folder)
    screen.show({"again": ended, "differences": other, "key": found.key}, *_again(found, ended, other))
    return exits.DONE if ended.same else exits.STOP


def _account(found: Account) -> list[Block]:
    said = found.said
    facts: list[tuple[Any, ...]] = [(dim("step"), (strong(found.task or "?"), dim(f"  {said.kind}")))]
    facts += [(dim("step key"), found.key)]
    facts += [(dim("function"), found.function)] if found.function else []
    facts += [(dim("code"), (f"{words.count(len(found.parts), 'part')}  ", dim(said.code)))]
    facts += [(dim("parameter"), f"{name} = {value!r}") for name, value in said.params.items()]
    for name, value in said.given.items():
        several = value if isinstance(value, tuple) else (value,)
        label = name if not isinstance(value, tuple) else f"{name} (list of {len(several)})"
        facts += [(dim("input"), (f"{label}  ", dim(f"{one.digest}  {one.media}"))) for one in several[:SHOWN]]
    facts += [] if said.seed is None else [(dim("seed"), str(said.seed))]
    facts += [(dim("environment"), (_environment(found), dim(f"  {said.environment}")))]
    facts += [(dim("outputs"), ", ".join(said.outputs))]
    blocks: list[Block] = [Table(rows=tuple(facts))]
    if found.runs:
        rows = tuple(
            (
                dim(run.id),
                state("cached" if run.cached else run.status),
                words.moment(run.started_at),
                _first(run.error),
            )
            for run in found.runs[:SHOWN]
        )
        blocks += ["", Table(header=("run", "status", "started", "error"), rows=rows, firm=(0, 1, 2))]
    return blocks


def _environment(found: Account) -> str:
    named = dict(one.partition("==")[::2] for one in found.packages[:2])
    if not named:
        return "not kept"
    return (
        f"Python {named.get('python')} on {named.get('platform')}, {words.count(len(found.packages) - 2, 'package')}"
    )


def _again(found: Account, ended: Again, other: Differences) -> list[Block]:
    head = "the same outcome" if ended.same else "another outcome"
    blocks: list[Block] = [
        (strong(found.task or short(found.key)), "  ", state("clear" if ended.same else "stop"), f"  {head}")
    ]
    rows: list[tuple[Any, ...]] = []
    rows += [(dim("before"), ended.before)] if ended.before else []
    rows += [(dim("now"), ended.error)] if ended.error else []
    rows += [
        (dim("output"), (f"{name}  ", dim(digest), "  differs" if name in ended.differing else ""))
        for name, digest in ended.outputs.items()
    ]
    rows += [(dim("code"), one) for one in other.code[:SHOWN]]
    rows += [(dim("environment"), one) for one in other.environment[:SHOWN]]
    more = len(other.code[SHOWN:]) + len(other.environment[SHOWN:])
    rows += [(dim("and"), f"{more} more differences")] if more else []
    blocks += [Table(rows=tuple(rows))] if rows else []
    if not other.code and not other.environment:
        blocks.append(dim("code, inputs and environment are those of the step key"))
    return [*blocks, "", dim(ended.traceback)] if ended.traceback else blocks


def _first(error: str) -> str:
    first = error.partition("\n")[0]
    return first if len(first) <= 60 else first[:59] + "…"
