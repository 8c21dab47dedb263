"""`ci`: what Stellwerk does in somebody's CI, one file per command. A command is imported when it is called."""

from __future__ import annotations

import click

from stellwerk.cli.command import Family

COMMANDS = {
    "init": "stellwerk.cli.ci.writing:init",
    "report": "stellwerk.cli.ci.reporting:report",
    "approve": "stellwerk.cli.ci.approving:approve",
    "import": "stellwerk.cli.ci.taking:import_",
}
"""Name to `module:attribute`, in the order of the help."""


@click.group(cls=Family, table=COMMANDS)
def ci() -> None:
    """Work with GitHub, GitLab, CircleCI and Jenkins.

    \b
    Example:
      stellwerk ci init gitlab
      stellwerk ci import Jenkinsfile
    """
