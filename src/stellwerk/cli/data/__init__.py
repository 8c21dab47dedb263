"""`data`: everything about datasets, one file per group of commands. A command is imported when it is called."""

from __future__ import annotations

import click

from stellwerk.cli.command import Family

COMMANDS = {
    "add": "stellwerk.cli.data.adding:add",
    "status": "stellwerk.cli.data.standing:status",
    "checkout": "stellwerk.cli.data.checking_out:checkout",
    "log": "stellwerk.cli.data.listing:log",
    "ls": "stellwerk.cli.data.listing:list_versions",
    "diff": "stellwerk.cli.data.comparing:diff",
    "get": "stellwerk.cli.data.getting:get",
    "export": "stellwerk.cli.data.getting:export",
    "move": "stellwerk.cli.data.untracking:move",
    "rm": "stellwerk.cli.data.untracking:rm",
    "forget": "stellwerk.cli.data.forgetting:forget",
    "push": "stellwerk.cli.remotes:push",
    "pull": "stellwerk.cli.remotes:pull",
    "refer": "stellwerk.cli.data.sources:refer",
    "verify": "stellwerk.cli.data.sources:verify",
    "import": "stellwerk.cli.data.sources:import_rows",
    "contract": "stellwerk.cli.data.contracts:contract",
    "dvc": "stellwerk.cli.data.dvc:dvc",
}
"""Name to `module:attribute`, in the order of the help."""


@click.group(cls=Family, table=COMMANDS)
def data() -> None:
    """Datasets: tables with their contracts, and files with their versions.

    \b
    Example:
      stellwerk data add images
      stellwerk data status
      stellwerk data add flights 2013-01.csv --partition 2013-01
      stellwerk data contract flights --confirm
    """
