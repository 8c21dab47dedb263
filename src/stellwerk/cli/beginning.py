"""`init`: a workspace in a folder."""

from __future__ import annotations

from pathlib import Path

import click

from stellwerk.cli.command import Command
from stellwerk.cli.session import PROJECT, Session
from stellwerk.core.errors import Invalid

EXAMPLE = """\
# One business decision is one endpoint. The numbers belong to the business owner; change all of them.
[project]
name = "example"
pipeline = "pipeline.py"            # the Python file with your @sw.pipeline

[endpoint.example]
purpose = "What is decided, in the words of those whom it concerns?"
owner = "anna"                      # answers for it
deputy = "ben"
risk = "limited"                    # minimal | limited | high
policy = ["base@1"]                 # which evidence a release needs
fallback = "refuse"                 # when the lease ends: previous | human | refuse
label_delay = "1d"                  # after this the truth should be known
traffic_per_day = 1000

[endpoint.example.goal]             # floors, ceilings, and how much worse than today is tolerable
auroc = { floor = 0.70, margin = 0.01 }
latency_p99_ms = { ceiling = 50 }

# [endpoint.example.slices]         # judged one by one; where nothing is proven, people decide
# by = ["region"]
# auroc = { floor = 0.60 }
# unproven = "human"

[endpoint.example.lease]
max = "30d"

[endpoint.example.steering]
audit = "auto"                      # the random share that people see
review = { queue = "review", due = "4h" }
"""


@click.command(cls=Command)
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--name", default="default", show_default=True, help="Name of the workspace.")
@click.option("--example", is_flag=True, help=f"Write a commented {PROJECT} where there is none.")
@click.option(
    "--database",
    metavar="URL",
    help="Keep the book on this PostgreSQL server (postgresql://user@host/name) and not in a file.",
)
@click.option("--blobs", metavar="URL", default="", help="Keep the bytes in this bucket (s3://bucket/prefix).")
@click.pass_obj
def init(session: Session, folder: Path | None, name: str, example: bool, database: str | None, blobs: str) -> None:
    """Make a workspace in a folder.

    The workspace is the subfolder .stellwerk: ledger, store and keys. Whoever may read the folder owns it.

    With --database the ledger is on a PostgreSQL server. Its address may hold a password and is not written down:
    give it to every later command as STELLWERK_DATABASE_URL; `--database postgresql` takes it from there at once.

    With --blobs the bytes lie in a bucket, under a prefix that belongs to this workspace; what was read is kept in a
    cache of bounded size. Credentials come from the environment.

    \b
    Example:
      stellwerk init flights --name flights --example
    """
    from stellwerk.workspace.books import chosen
    from stellwerk.workspace.rooms.making import create
    from stellwerk.workspace.settings import read

    if session.remote:
        raise Invalid("a workspace is made in a folder, not at an address", code="needs-folder", hint="give a folder")
    root = folder or Path(session.place or ".")
    server, settings = chosen(read(), database)
    layout = create(root.resolve(), settings, workspace=name, server=server, bucket=blobs)
    wrote = example and not layout.project.exists()
    if wrote:
        layout.project.write_text(EXAMPLE, "utf-8")
    session.screen.show(
        {
            "root": str(layout.root),
            "workspace": layout.workspace,
            "identity": layout.identity,
            "clock": layout.clock,
            "database": layout.server,
            "blobs": layout.bucket or None,
            "project": str(layout.project) if wrote else None,
        },
        f"workspace {layout.workspace!r} made in {root}" + (f", with {PROJECT}" if wrote else ""),
    )
    session.screen.suggest("stellwerk data add NAME FILE")
