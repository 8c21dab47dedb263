"""`ship`: from a data file to a governed endpoint in one command."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stellwerk.cli import exits, words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Line, Span, Table, dim, state, strong
from stellwerk.cli.progress import Phases, Steps
from stellwerk.cli.releasing import reasons
from stellwerk.cli.session import Session
from stellwerk.core.errors import Invalid

FAMILIES = {
    "linear": "a linear model",
    "forest": "a random forest",
    "extra": "extremely randomised trees",
    "boosting": "gradient boosting",
}

if TYPE_CHECKING:
    from stellwerk.workspace.shipping import Shipped


@click.command(cls=Command, short_help="data file to governed endpoint in one command")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--target", required=True, help="Column to predict.")
@click.option("--name", default="", help="Name of the endpoint; the file's name by default.")
@click.option("--into", type=click.Path(path_type=Path), help="Folder of the project; one with that name by default.")
@click.option("--time", default="", help="Column that orders rows: the gate set then lies in the future of training.")
@click.option("--entity", multiple=True, help="Column that names what a row is about; kept on one side. Repeatable.")
@click.option("--slice", "slices", multiple=True, help="Column whose values are judged one by one. Repeatable.")
@click.option("--exclude", multiple=True, help="Column that is no input of the model. Repeatable.")
@click.option("--floor", type=float, help="The least the model must reach; a modest number by default.")
@click.option(
    "--automl",
    default="",
    metavar="BUDGET",
    help="Search for a model for so long (10m), or so many trials (200), instead of training two kinds.",
)
@click.option("--owner", default="", help="Who answers for the decision; you by default.")
@click.option("--serve/--no-serve", default=None, help="Go on serving when clear; on a terminal by default.")
@click.pass_context
def ship(
    context: click.Context,
    file: Path,
    target: str,
    name: str,
    into: Path | None,
    time: str,
    entity: tuple[str, ...],
    slices: tuple[str, ...],
    exclude: tuple[str, ...],
    floor: float | None,
    automl: str,
    owner: str,
    serve: bool | None,
) -> int:
    """Ship a table: contract, split, models, proof, and a release if the verdict is clear.

    Leaves a folder with stellwerk.toml and pipeline.py that are yours to change; run it again after changing them.
    Exit code 0 is clear, 1 stop, 3 unproven: then it says how many labelled rows are missing, and releases nothing.

    \b
    Example:
      stellwerk ship flights.csv --target late --time departure --slice carrier
      stellwerk ship flights.csv --target late --automl 10m
    """
    from stellwerk.core.names import slug
    from stellwerk.workspace import shipping
    from stellwerk.workspace.layout import FOLDER
    from stellwerk.workspace.rooms.making import create
    from stellwerk.workspace.settings import read

    session: Session = context.obj
    if session.remote:
        raise Invalid(
            "`ship` makes a project in a folder, not at an address", code="needs-folder", hint="--into FOLDER"
        )
    settings, screen = read(), session.screen
    folder = into or Path(name or slug(file.stem))
    order = shipping.prepare(
        file,
        folder,
        target=target,
        owner=owner or settings.actor,
        name=name,
        time=time,
        entity=entity,
        slices=slices,
        exclude=exclude,
        floor=floor,
        automl=automl.strip(),
    )
    if not (folder / FOLDER / "format.json").exists():
        create(folder.resolve(), settings)
    session.place = str(folder)
    with screen.progress() as lines, Phases(lines) as phases, session.workspace(phases) as workspace:
        shipped = shipping.ship(
            workspace, order, file, folder, say=phases, watch=lambda plan: _steps(plan, lines, phases)
        )
    screen.show(shipped, *_told(shipped))
    if shipped.release is None:
        return exits.BY_OUTCOME[shipped.verdict.outcome]
    if serve if serve is not None else sys.stdout.isatty() and not session.as_json:
        from stellwerk.cli.serving import up

        return int(context.invoke(up, port=0, host="127.0.0.1", browse=False) or 0)
    screen.suggest(f"stellwerk -w {shlex.quote(str(folder))} up")
    return exits.DONE


def _steps(plan: object, lines: object, phases: Phases) -> Steps:
    phases.end()
    return Steps(plan, lines)  # type: ignore[arg-type]


def _told(shipped: Shipped) -> list[Block]:
    verdict = shipped.verdict
    facts = Table(
        rows=(
            (dim("rows"), f"{shipped.rows:,}"),
            (dim("task"), shipped.task),
            (dim("model"), f"{shipped.model.name}@{shipped.model.version}, {_chosen(shipped)}"),
            *_searched(shipped.search),
            (dim("selection"), ", ".join(f"{k} {words.figure(v)}" for k, v in sorted(shipped.metrics.items()))),
            (dim("baseline"), ", ".join(f"{k} {words.figure(v)}" for k, v in sorted(shipped.baseline.items()))),
            (dim("inputs"), f"{len(shipped.inputs)}: {_few(shipped.inputs)}"),
            *(((dim("not used"), _few(shipped.left_out)),) if shipped.left_out else ()),
            (dim("project"), shipped.folder),
        )
    )
    head = (Span(verdict.outcome.upper(), state(verdict.outcome).tone), "  ", strong(shipped.name))
    blocks: list[Block] = [head, "", facts, "", reasons([r for r in verdict.reasons if _shown(r.check, r.outcome)])]
    if verdict.routed:
        slices = _few(tuple(f"{column} = {value}" for column, value in verdict.routed))
        blocks += ["", f"Nothing is proven for {slices}: these cases go to people."]
    if verdict.n_needed is not None:
        blocks += ["", f"About {words.count(verdict.n_needed, 'more labelled gate case')} would probably settle it."]
    if shipped.release is not None:
        share = f"{shipped.release.audit_share:.1%} of answers go to people at random"
        blocks += ["", f"Released until {words.moment(shipped.release.expires_at)} UTC; {share}."]
    blocks += ["", (dim("next  "), shipped.next_step)]
    return blocks


def _chosen(shipped: Shipped) -> str:
    """Which kind of model it is, and what it was compared with."""
    if shipped.search is None:
        return (
            "the linear model, which the boosted one did not beat" if shipped.simpler_chosen else "gradient boosting"
        )
    if shipped.simpler_chosen:
        return "the linear model, which what was found did not beat"
    return f"{FAMILIES.get(family := shipped.search['chosen']['params']['family'], family)}, the best that was found"


def _searched(found: dict[str, Any] | None) -> list[tuple[Line, Line]]:
    """What a search was worth, in losses: what was held out, and what would have been reached without it."""
    if found is None:
        return []
    trials, better, loss = found["trials"], found["better_than_linear"], found["loss"]
    shown = {
        "held out": found["held_out"]["value"],
        "where it was chosen": found["selected"]["value"],
        "linear": found["baselines"]["linear"],
        "constant": found["baselines"]["constant"],
    }
    lower, upper = better["lower"], better["upper"]
    bounds = "no bounds" if lower is None or upper is None else f"{words.figure(lower)} to {words.figure(upper)}"
    proven = lower is not None and lower > 0
    return [
        (dim("searched"), f"{words.count(trials['all'], 'trial')} of {', '.join(found['searched'])}"),
        (dim(loss), ", ".join(f"{what} {words.figure(value)}" for what, value in shown.items())),
        (
            dim("gained"),
            (
                f"{words.figure(better['by'])} over the linear model ({bounds}, each with 95 %): ",
                Span("better", "good") if proven else Span("not shown to be better", "warn"),
            ),
        ),
    ]


def _few(items: tuple[str, ...], most: int = 12) -> str:
    """A list that does not fill the screen."""
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def _shown(check: str, outcome: str) -> bool:
    return outcome != "pass" or not check.startswith("slice:")
