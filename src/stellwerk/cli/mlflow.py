"""`mlflow`: what an MLflow tracker kept, taken over and given back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stellwerk.cli import words
from stellwerk.cli.command import Group
from stellwerk.cli.output import Block, Span, Table, dim, strong
from stellwerk.cli.progress import Phases
from stellwerk.cli.session import Session

if TYPE_CHECKING:
    from stellwerk.workspace.mlflow.model import MlflowImport, Problem

SHOWN = 20
"""Problems that are listed for people; `--json` has them all."""
_KINDS = ("experiments", "runs", "points", "logged models", "registered models", "versions", "aliases", "files")


@click.group(cls=Group)
def mlflow() -> None:
    """Take over what MLflow keeps, and give it back: experiments, runs, models and their files.

    \b
    Example:
      stellwerk mlflow import mlflow.db
      stellwerk mlflow export http://127.0.0.1:5000
    """


@mlflow.command("import")
@click.argument("source", metavar="FILE|FOLDER|URL")
@click.option(
    "--artifacts",
    type=click.Path(path_type=Path),
    help="Where a server kept artifacts: the folder of its --artifacts-destination.",
)
@click.pass_obj
def import_(session: Session, source: str, artifacts: Path | None) -> None:
    """Take over experiments, runs, logged and registered models from MLflow.

    The source is a database (mlflow.db), a folder (mlruns) or the address of a running server, and is only read. Runs
    keep their ids. What is here already is skipped, so an import that was broken off goes on where it was. What cannot
    be kept is named, and everything else is imported. Traces are left out.

    \b
    Example:
      stellwerk mlflow import mlflow.db
      stellwerk mlflow import mlruns
      stellwerk mlflow import /srv/mlflow/mlflow.db --artifacts /srv/mlflow/mlartifacts
    """
    from stellwerk.workspace.mlflow.importing import import_tracker
    from stellwerk.workspace.trackers import open_source

    with (
        session.rooms() as rooms,
        closing(open_source(source, artifacts)) as opened,
        session.screen.progress() as lines,
        Phases(lines) as say,
    ):
        done = import_tracker(rooms, opened, say=say)
    session.screen.show(done, *_told(done))
    session.screen.suggest("stellwerk runs")


@mlflow.command()
@click.argument("url", metavar="URL")
@click.option("--experiment", default="", metavar="NAME", help="Only this experiment, without registered models.")
@click.pass_obj
def export(session: Session, url: str, experiment: str) -> None:
    """Send experiments, runs, logged and registered models to a running server of MLflow.

    The server gives ids of its own; the tags stellwerk.run_id, stellwerk.model_id and stellwerk.version say what
    something was here. What was sent before is skipped, and files go through the server to where it keeps artifacts.
    What is in the bin stays here.

    \b
    Example:
      stellwerk mlflow export http://127.0.0.1:5000
      stellwerk mlflow export http://127.0.0.1:5000 --experiment flights
    """
    from stellwerk.workspace.mlflow.exporting import export_tracker
    from stellwerk.workspace.trackers import open_target

    with (
        session.rooms() as rooms,
        closing(open_target(url)) as opened,
        session.screen.progress() as lines,
        Phases(lines) as say,
    ):
        done = export_tracker(rooms, opened, experiment=experiment, say=say)
    blocks = _counts(done.made, done.known, "sent", "there before")
    fact = dim(f"{done.made.get('bytes', 0):,} bytes of artifacts, in {words.took(done.seconds)}")
    session.screen.show(done, *blocks, fact, *_problems(done.problems))


def _told(done: MlflowImport) -> list[Block]:
    blocks = _counts(done.made, done.known, "new", "here before")
    facts = [f"{done.made.get('bytes', 0):,} bytes of artifacts, in {words.took(done.seconds)}"]
    facts += [
        f"{words.count(count, what)} with artifacts elsewhere, not copied" for what, count in done.remote.items()
    ]
    facts += [f"{words.count(done.bare, 'run')} without a folder of artifacts"] if done.bare else []
    facts += [f"left out: {', '.join(f'{count:,} {what}' for what, count in done.left_out.items())}"] * bool(
        done.left_out
    )
    return [*blocks, *map(dim, facts), *_problems(done.problems)]


def _counts(made: Mapping[str, int], known: Mapping[str, int], new: str, old: str) -> list[Block]:
    rows = tuple(
        (strong(kind), f"{made.get(kind, 0):,}", f"{known.get(kind, 0):,}")
        for kind in _KINDS
        if made.get(kind) or known.get(kind)
    )
    return [Table(header=("", new, old), right=(1, 2), rows=rows)] if rows else []


def _problems(problems: tuple[Problem, ...]) -> list[Block]:
    if not problems:
        return []
    rows = tuple((Span(one.kind, "warn"), one.where, one.name, one.reason) for one in problems[:SHOWN])
    table = Table(header=("not kept", "of", "name", "reason"), firm=(0,), rows=rows)
    more: list[Block] = [dim(f"and {len(problems) - SHOWN:,} more; --json has them all")]
    return ["", table, *(more if len(problems) > SHOWN else [])]
