"""`step`: one step of a pipeline by itself. A command is imported when it is called."""

from __future__ import annotations

import click

from stellwerk.cli.command import Family

COMMANDS = {
    "plan": "stellwerk.cli.steps.planning:plan",
    "exec": "stellwerk.cli.steps.executing:execute",
    "show": "stellwerk.cli.steps.looking:show",
    "fetch": "stellwerk.cli.steps.looking:fetch",
    "run": "stellwerk.cli.steps.looking:again",
    "register": "stellwerk.cli.steps.executing:register",
    "close": "stellwerk.cli.steps.executing:close",
}
"""Name to `module:attribute`, in the order of the help."""


@click.group(cls=Family, table=COMMANDS)
def step() -> None:
    """One step of a pipeline: execute it in a pod or a job, or find out why it failed.

    \b
    Example:
      stellwerk step plan --out plan.json
      stellwerk step exec --plan plan.json --node train
      stellwerk step show 01kc4v3n0w5x8y2z6q7r9s1t3v
      stellwerk step fetch 01kc4v3n0w5x8y2z6q7r9s1t3v
      stellwerk step run 01kc4v3n0w5x8y2z6q7r9s1t3v
    """
