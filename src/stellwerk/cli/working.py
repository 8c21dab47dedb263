"""`worker`: running steps of executions elsewhere, pulled from the workspace."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command
from stellwerk.cli.output import dim, state, strong
from stellwerk.cli.session import Session

if TYPE_CHECKING:
    from stellwerk.pipelines.model import Offer


@click.command(cls=Command)
@click.option(
    "--on", default="pool", show_default=True, metavar="EXECUTOR", help="How steps run here: pool, pool:4, sandbox."
)
@click.option(
    "--idle", metavar="DURATION", help="End after so long without anything to do, such as 10m; never by default."
)
@click.option(
    "--resource",
    multiple=True,
    metavar="NAME=AMOUNT",
    help="What this machine has, such as licence=2; may be repeated. Else as [resources] of stellwerk.toml says.",
)
@click.pass_obj
def worker(session: Session, on: str, idle: str | None, resource: tuple[str, ...]) -> None:
    """Run steps that executions elsewhere offer.

    `stellwerk run --on workers` offers its steps instead of running them. Each worker on the same workspace, or on its
    address, takes what it has room for. A step that takes a licence, or anything else by a name of your own, goes to a
    worker that says it has it. One that is not heard of for thirty seconds has lost its step, which another one then
    runs.

    \b
    Example:
      stellwerk worker
      stellwerk -w https://stellwerk.example worker --on pool:8 --idle 1h
      stellwerk worker --resource licence=2
    """
    from stellwerk.core.clock import parse_duration
    from stellwerk.pipelines.stock import parse_options
    from stellwerk.workspace.declaring import resources as declared
    from stellwerk.workspace.executing import executor
    from stellwerk.workspace.layout import this_process
    from stellwerk.workspace.workers.working import Worker

    given = parse_options(resource)
    seconds = parse_duration(idle).total_seconds() if idle else None

    def said(offer: Offer, what: str) -> None:
        session.screen.say(strong(offer.attempt), "  ", state(what), dim(f"  of {offer.execution}"))

    with session.workspace() as workspace:
        stock = declared(workspace._caller.home).with_those_of(given)
        working = Worker(workspace._caller, executor(on, stock=stock), name=this_process(), idle=seconds, said=said)
        signal.signal(signal.SIGTERM, lambda *_: working.stop())
        session.screen.say(dim(f"waiting for steps as {this_process()}"))
        done = working.work()
    session.screen.show({"attempts": done}, f"{words.count(done, 'attempt')} brought to an end")
