"""`mlflow`: what an MLflow tracker kept, taken over and given back."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from stellwerk.cli import words
from stellwerk.cli.command import Group
from stellwerk.cli.output import dim
from stellwerk.cli.progress import Phases
from stellwerk.cli.session import Session
from stellwerk.cli.trackers import counts, imported, problems


@click.group(cls=Group)
def mlflow() -> None:
    """Take over what MLflow keeps, and give it back: experiments, runs, models and their files.

    \b
    Example:
      stellwerk mlflow import mlflow.db
      stellwerk mlflow export mlruns
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
    session.screen.show(done, *imported(done))
    session.screen.suggest("stellwerk runs")


@mlflow.command()
@click.argument("target", metavar="FOLDER|URL")
@click.option("--experiment", default="", metavar="NAME", help="Only this experiment, without registered models.")
@click.pass_obj
def export(session: Session, target: str, experiment: str) -> None:
    """Give experiments, runs, logged and registered models to MLflow: into a folder, or to a running server.

    Into a folder (mlruns) everything comes with the ids, times and numbers that it has here; MLflow opens it by
    `mlflow.set_tracking_uri("file:/…/mlruns")`. A server gives ids of its own; there the tags stellwerk.run_id,
    stellwerk.model_id and stellwerk.version say what something was here, and files go through the server to where it
    keeps artifacts. What is there already is skipped and never changed. What is in the bin stays here.

    \b
    Example:
      stellwerk mlflow export mlruns
      stellwerk mlflow export http://127.0.0.1:5000
      stellwerk mlflow export mlruns --experiment flights
    """
    from stellwerk.workspace.mlflow.exporting import export_tracker
    from stellwerk.workspace.mlflow.exporting_files import export_folder
    from stellwerk.workspace.trackers import is_url, open_target

    with session.rooms() as rooms, session.screen.progress() as lines, Phases(lines) as say:
        if is_url(target):
            with closing(open_target(target)) as opened:
                done = export_tracker(rooms, opened, experiment=experiment, say=say)
        else:
            done = export_folder(rooms, Path(target), experiment=experiment, say=say)
    blocks = counts(done.made, done.known, "new", "there before")
    fact = dim(f"{done.made.get('bytes', 0):,} bytes of artifacts, in {words.took(done.seconds)}")
    session.screen.show(done, *blocks, fact, *problems(done.problems))
