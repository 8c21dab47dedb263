"""`prove`, `release`, `renew`, `stop`, `assess`: from proof to signal and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from stellwerk.cli import exits, words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Span, Table, Tone, dim, state, strong
from stellwerk.cli.progress import Phases
from stellwerk.cli.session import PROJECT, Session
from stellwerk.core.digest import short
from stellwerk.core.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stellwerk.monitoring.model import Assessment
    from stellwerk.releases.model import Reason, Release, Verdict
    from stellwerk.workspace.facade import Workspace

SLICE = "slice:"


@click.command(cls=Command)
@click.argument("endpoint")
@click.option("--model", default="", help="name, name@3, name@alias or a digest; the newest of the endpoint's name.")
@click.option("--reason", default="", help="Why: first, improvement, retrain, security, cost.")
@click.option("--all", "every", is_flag=True, help="Every slice, also those that passed.")
@click.pass_obj
def prove(session: Session, endpoint: str, model: str, reason: str, every: bool) -> int:
    """Compute whether a model may run: clear, stop or unproven.

    The plan is frozen in the ledger before the sealed gate set is opened. Exit code 0 is clear, 1 stop, 3 unproven.

    \b
    Example:
      stellwerk prove delay --model delay@3
    """
    screen = session.screen
    with screen.progress() as lines, Phases(lines) as phases, session.workspace(phases) as workspace:
        _say_where(session, phases)
        declare(session, workspace, endpoint)
        verdict = workspace.prove(endpoint, model=model, reason=reason)
        named = _name(workspace, verdict)
        released = any(known.verdict == verdict.id for known in workspace.releases(endpoint))
    screen.show(verdict, *_verdict(verdict, named, every))
    if verdict.outcome == "clear" and not released:
        screen.suggest(f"stellwerk release {endpoint}")
    return exits.BY_OUTCOME[verdict.outcome]


def _say_where(session: Session, phases: Phases) -> None:
    """A server does not say what it is doing; so that at least is said."""
    if session.remote:
        phases("waiting for the server")


def declare(session: Session, workspace: Workspace, endpoint: str) -> None:
    """Make known what the project file says of an endpoint. Raises `NotFound` where nobody says anything."""
    project = session.project()
    known = {one.name for one in workspace.endpoints()}
    if project is not None and (endpoint in project.endpoints or endpoint not in known):
        workspace.declare(project.endpoint(endpoint))
    elif endpoint not in known:
        raise NotFound(
            f"no endpoint {endpoint!r} is declared",
            code="unknown-endpoint",
            hint=f"add [endpoint.{endpoint}] to {PROJECT}",
        )


def _name(workspace: Workspace, verdict: Verdict) -> str:
    found = workspace.models.get(verdict.model)
    return f"{found.name}@{found.version}"


def _verdict(verdict: Verdict, named: str, every: bool) -> list[Block]:
    passed = sum(reason.outcome == "pass" for reason in verdict.reasons)
    head = (
        Span(verdict.outcome.upper(), state(verdict.outcome).tone),
        "  ",
        strong(verdict.endpoint),
        f"  {named}  ",
    )
    facts = f"attempt {verdict.attempt}, {passed} of {words.count(len(verdict.reasons), 'check')} passed"
    blocks: list[Block] = [(*head, dim(facts)), "", reasons(verdict.reasons, every=every)]
    folded = 0 if every else sum(_folded(reason) for reason in verdict.reasons)
    if folded:
        blocks += [dim(f"{words.count(folded, 'slice check')} passed (--all shows them)")]
    if verdict.routed:
        slices = ", ".join(f"{column} = {value}" for column, value in verdict.routed)
        blocks += ["", f"Nothing is proven for {slices}: these cases go to people."]
    if verdict.outcome == "unproven" and verdict.n_needed is not None:
        blocks += ["", f"About {words.count(verdict.n_needed, 'more labelled gate case')} would probably settle it."]
    elif verdict.outcome == "unproven":
        blocks += ["", "More labelled gate cases alone would probably not settle it."]
    elif verdict.outcome == "clear":
        blocks += [
            "",
            dim(f"It holds until {words.moment(verdict.valid_until)} UTC; then its first evidence expires."),
        ]
    return blocks


def reasons(found: Sequence[Reason], *, every: bool = True) -> Table:
    """The reasons of a verdict or a renewal, what did not pass first."""
    order = {"fail": 0, "unproven": 1, "pass": 2}
    shown = [reason for reason in found if every or not _folded(reason)]
    return Table(
        header=("check", "outcome", "finding"),
        rows=tuple(
            (reason.check, state(reason.outcome), reason.text)
            for reason in sorted(shown, key=lambda reason: order[reason.outcome])
        ),
    )


def _folded(reason: Reason) -> bool:
    return reason.outcome == "pass" and reason.check.startswith(SLICE)


@click.command(cls=Command)
@click.argument("endpoint")
@click.pass_obj
def release(session: Session, endpoint: str) -> None:
    """Let what is proven answer callers, for a limited time.

    Needs a clear verdict. The release before it is superseded.

    \b
    Example:
      stellwerk release delay
    """
    with session.screen.progress() as lines, Phases(lines) as phases, session.workspace(phases) as workspace:
        _say_where(session, phases)
        granted = workspace.release(endpoint)
    session.screen.show(granted, *_release(granted))
    session.screen.suggest("stellwerk up")


def _release(granted: Release) -> list[Block]:
    routed = ", ".join(f"{column} = {value}" for column, value in granted.routed)
    facts: list[tuple[Any, ...]] = [
        (dim("release"), (granted.id, "  ", state(granted.status))),
        (dim("model"), (strong(f"{granted.model_name}@{granted.model_version}"), "  ", dim(short(granted.model)))),
        (dim("until"), f"{words.moment(granted.expires_at)} UTC"),
        (dim("lease"), granted.lease_method),
        (dim("audit"), f"{words.share(granted.audit_share)} of answers go to people at random"),
    ]
    facts += [(dim("to people"), routed)] if routed else []
    facts += [(dim("supersedes"), granted.supersedes)] if granted.supersedes else []
    head = (Span("RELEASED", "good"), "  ", strong(granted.endpoint))
    return [head, "", Table(rows=tuple(facts))]


@click.command(cls=Command)
@click.argument("endpoint")
@click.pass_obj
def renew(session: Session, endpoint: str) -> int:
    """Extend a lease if labels prove fitness.

    With no proof the lease simply runs out. Exit code 0 is renewed, 3 not renewed.

    \b
    Example:
      stellwerk renew delay
    """
    with session.workspace() as workspace, session.screen.working("judging production"):
        found = workspace.renew(endpoint)
    renewed = found.decision.renew
    head = Span("RENEWED", "good") if renewed else Span("NOT RENEWED", "warn")
    until = f"the lease {'now ' if renewed else ''}ends {words.moment(found.release.expires_at)} UTC"
    blocks: list[Block] = [(head, "  ", strong(endpoint), "  ", dim(until)), "", reasons(found.decision.reasons)]
    if found.decision.labels_missing:
        blocks += ["", f"About {words.count(found.decision.labels_missing, 'more label')} would probably settle it."]
    session.screen.show(found, *blocks)
    return exits.DONE if renewed else exits.UNPROVEN


@click.command(cls=Command)
@click.argument("endpoint")
@click.option("--why", required=True, metavar="TEXT", help="The reason, for the ledger.")
@click.pass_obj
def stop(session: Session, endpoint: str, why: str) -> None:
    """End an endpoint's release now.

    With the fallback `previous` the release before it takes over while its lease holds.

    \b
    Example:
      stellwerk stop delay --why "wrong weather feed since Monday"
    """
    with session.workspace() as workspace:
        ended = workspace.stop(endpoint, why=why)
        signal = workspace.signal(endpoint)
    head = (Span("STOPPED", "bad"), "  ", strong(endpoint), f"  {ended[0].model_name}@{ended[0].model_version}")
    now = (
        f"{ended[1].model_name}@{ended[1].model_version} runs instead, until {words.moment(ended[1].expires_at)} UTC"
        if len(ended) > 1
        else "nothing runs instead"
    )
    session.screen.show(ended, head, ("signal ", state(signal.signal), f": {now}"))


@click.command(cls=Command)
@click.argument("endpoint")
@click.pass_obj
def assess(session: Session, endpoint: str) -> None:
    """Judge production by its log and its labels.

    Seals the prediction log, joins it with the labels, runs all trackers. A warning sets the signal to caution,
    proven harm to stop.

    \b
    Example:
      stellwerk assess delay
    """
    with session.workspace() as workspace, session.screen.working("judging production"):
        found = workspace.assess(endpoint)
        signal = workspace.signal(endpoint)
    head = (state(signal.signal), "  ", strong(endpoint), "  ", dim(signal.why))
    session.screen.show(found, head, "", *_assessment(found))


def _assessment(found: Assessment) -> list[Block]:
    risk = found.risk
    facts: list[tuple[Any, ...]] = [
        (dim("answers"), f"{found.predictions:,} since {words.moment(found.since)} UTC"),
        (dim("labels"), f"{found.labelled:,} of {found.matured:,} old enough ({words.share(found.coverage)})"),
        (
            dim("mean loss"),
            f"{words.interval(risk.estimate, risk.lower, risk.upper)}, limit {words.figure(risk.limit)}",
        ),
    ]
    facts += [
        (
            dim(item.metric),
            f"{words.interval(item.estimate, item.lower, item.upper)} by {words.count(item.n, 'label')}",
        )
        for item in found.measures
    ]
    moved = [item.column for item in found.drift if item.material]
    facts.append((dim("drift"), Span(", ".join(moved), "warn") if moved else f"none in {len(found.drift)} columns"))
    blocks: list[Block] = [Table(rows=tuple(facts))]
    if found.alarms:
        tones: dict[str, Tone] = {"stop": "bad", "caution": "warn", "note": "plain"}
        blocks += ["", *((Span(alarm.severity, tones[alarm.severity]), f"  {alarm.text}") for alarm in found.alarms)]
    return blocks + [dim(f"not judged: {note}") for note in found.notes]
