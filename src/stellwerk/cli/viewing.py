"""`board` and `next`: how everything stands, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from stellwerk.cli import words
from stellwerk.cli.command import Command
from stellwerk.cli.output import TONES, Block, Line, Span, Table, dim, state, strong
from stellwerk.cli.session import Session
from stellwerk.core.errors import NotFound

if TYPE_CHECKING:
    from stellwerk.governance.model import Board, EndpointCard, EventLine, RunLine
    from stellwerk.releases.declaration import Project
    from stellwerk.workspace.facade import Workspace

BAR = 24
URGENCY = {"stop": 0, "caution": 1, "clear": 2}


@click.command(cls=Command)
@click.option("--events", type=click.IntRange(0, 25), default=6, show_default=True, help="How many events to show.")
@click.pass_obj
def board(session: Session, events: int) -> None:
    """Show every endpoint with its signal, lease and quality.

    \b
    Example:
      stellwerk board
      watch -n 60 stellwerk board
    """
    with session.workspace() as workspace:
        found = workspace.board()
    session.screen.show(found, *_board(found, events))


def _board(found: Board, events: int) -> list[Block]:
    time = f"{words.moment(found.now)} UTC" + (" (simulated)" if found.simulated else "")
    entries = words.count(found.entries, "ledger entry", "ledger entries")
    facts = f"{words.count(len(found.endpoints), 'endpoint')}, {entries}"
    blocks: list[Block] = [(strong(found.workspace), dim(f"  {facts}  {time}"))]
    if not found.endpoints:
        blocks += ["", dim("no endpoint is declared yet: `stellwerk next` says how to begin")]
    for card in found.endpoints:
        blocks += ["", *_card(card)]
    if found.runs:
        blocks += ["", strong("Runs"), _runs(found.runs[:4])]
    if events and found.events:
        blocks += ["", strong("Events"), _events(found.events[:events])]
    return blocks


def _card(card: EndpointCard) -> list[Block]:
    tone = TONES[card.signal]
    head: Line = (Span(f"● {card.signal}", tone), "  ", strong(card.name), f"  {card.purpose}")
    facts: list[tuple[Line, ...]] = [(dim("why"), card.why)]
    if card.release is not None:
        until = f"until {words.moment(card.release.expires_at)}, {words.left(card.lease_left_days)}"
        facts.append((dim("release"), (strong(card.release.model), f"  granted by {card.release.granted_by}")))
        facts.append((dim("lease"), (*_bar(card.lease_used or 0.0), f"  {until}")))
    if card.quality is not None:
        facts.append((dim(f"{card.quality.metric}"), _quality(card)))
    if card.risk is not None:
        risk = card.risk
        text = f"{words.interval(risk.estimate, risk.lower, risk.upper)}, limit {words.figure(risk.limit)}"
        facts.append((dim("mean loss"), Span(text, "bad" if risk.alarm else "plain")))
    moved = [line.column for line in card.drift if line.material]
    facts += [(dim("drift"), Span(", ".join(moved), "warn"))] if moved else []
    facts.append((dim("traffic"), _traffic(card)))
    facts += [(dim("to people"), ", ".join(card.routed))] if card.routed else []
    facts += [(dim("alarm"), Span(alarm.text, TONES.get(alarm.tone, "plain"))) for alarm in card.alarms]
    facts.append((dim("next"), (card.next_step, *((strong(f"  {card.next_command}"),) if card.next_command else ()))))
    return [head, Table(rows=tuple(("", *fact) for fact in facts), firm=(1,))]


def _bar(used: float) -> tuple[Span, Span]:
    """What of a lease is used up."""
    filled = round(BAR * min(1.0, max(0.0, used)))
    return Span("━" * (BAR - filled), "warn" if used >= 0.8 else "good"), dim("╌" * filled)


def _quality(card: EndpointCard) -> str:
    series = card.quality
    if series is None:
        return "–"
    floor = "" if series.floor is None else f", floor {words.figure(series.floor)}"
    if series.points:
        last = series.points[-1]
        measured = f"{words.interval(last.estimate, last.lower, last.upper)} by {words.count(last.labelled, 'label')}"
        return f"{measured}, {words.moment(last.start)[:10]} to {words.moment(last.end)[:10]}{floor}"
    if series.at_release:
        _, _, estimate, lower, upper = series.at_release[-1]
        return f"{words.interval(estimate, lower, upper)} at release{floor}"
    return f"not measured yet{floor}"


def _traffic(card: EndpointCard) -> str:
    parts = [words.count(card.predictions, "answer")]
    parts += [f"{words.share(card.label_coverage)} labelled"] if card.label_coverage is not None else []
    parts += [f"{words.share(card.audit_share)} audited"] if card.audit_share is not None else []
    return ", ".join([*parts, words.count(card.open_cases, "open case"), f"owner {card.owner}"])


def _runs(lines: tuple[RunLine, ...]) -> Table:
    return Table(
        rows=tuple(
            (
                "",
                dim(words.moment(line.started_at)),
                line.name,
                state("cached" if line.cached else line.status),
                words.took(line.seconds),
                dim(words.pairs(line.metrics)),
            )
            for line in lines
        ),
        right=(4,),
        firm=(1, 3),
    )


def _events(lines: tuple[EventLine, ...]) -> Table:
    return Table(
        rows=tuple(
            ("", dim(words.moment(line.at)), line.subject, Span(line.text, TONES.get(line.tone, "plain")))
            for line in lines
        ),
        firm=(1,),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to do next. An empty command means: nothing."""

    endpoint: str | None
    step: str
    command: str


@click.command("next", cls=Command)
@click.pass_obj
def next_step(session: Session) -> None:
    """Show the one sensible next step.

    Over all endpoints the most urgent one; in an empty project, how to begin.

    \b
    Example:
      stellwerk next
    """
    found = _next(session)
    line: Line = ((strong(found.endpoint), "  ") if found.endpoint else ()) + (found.step,)
    session.screen.show(found, line, *((("  ", strong(found.command)),) if found.command else ()))


def _next(session: Session) -> Step:
    try:
        with session.workspace() as workspace:
            cards = workspace.board().endpoints
            return urgent(cards) if cards else begin(session, workspace)
    except NotFound as missing:
        if missing.code != "no-workspace":
            raise
        return Step(endpoint=None, step="There is no workspace here yet: make one.", command="stellwerk init")


def urgent(cards: tuple[EndpointCard, ...]) -> Step:
    """The step of the endpoint that needs one most: at stop before caution before clear, nothing to do last."""
    card = min(cards, key=lambda one: (not one.next_command, URGENCY[one.signal], one.lease_left_days or 0.0))
    return Step(endpoint=card.name, step=card.next_step, command=card.next_command)


def begin(session: Session, workspace: Workspace) -> Step:
    """How to go on where no endpoint is declared yet."""
    project = session.project()
    file = project.pipeline if project is not None else "pipeline.py"
    if not workspace.data.list():
        return Step(endpoint=None, step="There is no data yet: add a table.", command="stellwerk data add NAME FILE")
    if not (session.home() / file).is_file():
        return Step(endpoint=None, step=f"There is no pipeline yet: write one in {file}.", command="stellwerk run")
    known = {model.name for model in workspace.models.list()}
    if not known:
        return Step(endpoint=None, step="No model was trained yet: execute the pipeline.", command="stellwerk run")
    return _declare(project, known)


def _declare(project: Project | None, known: set[str]) -> Step:
    ready = sorted(known & set(project.endpoints if project is not None else ()))
    if ready:
        return Step(
            endpoint=ready[0],
            step="Nothing has been proven yet: prove the model.",
            command=f"stellwerk prove {ready[0]}",
        )
    name = min(known)
    return Step(
        endpoint=None,
        step=f"Model {name!r} serves no decision yet: declare [endpoint.{name}] in stellwerk.toml.",
        command=f"stellwerk prove {name}",
    )
